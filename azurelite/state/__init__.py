"""What is remembered between boots, and what other programs may read. Not how it came about."""
