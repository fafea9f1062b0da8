"""The only code that changes the machine: files, processes, accounts, the hostname.

`machine.System` is the one door. Every verb compares before it acts, records a `Change`, and acts
unless the run is dry. Nothing here knows Azure.
"""
