"""Makes the reference pages, the man pages and the completions from azurelite's code."""
