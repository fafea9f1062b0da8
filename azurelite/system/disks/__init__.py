"""Disks, file systems, mounts and swap of a guest."""
