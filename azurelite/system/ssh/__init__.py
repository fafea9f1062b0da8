"""sshd's configuration, host keys and authorized_keys of a guest."""
