"""Requests to Azure: addresses, bytes, raw documents. Does not know what a VM does with the answers."""
