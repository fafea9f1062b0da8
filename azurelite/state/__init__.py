"""Records on disk: what is remembered between boots, and what other programs may read."""
