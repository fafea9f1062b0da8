"""Interfaces, leases, routes, host names and firewall of a guest."""
