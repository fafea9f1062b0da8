"""Public keys as values: OpenSSH lines and X.509 certificates. No files, no sources."""
