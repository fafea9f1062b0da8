"""The only code that changes the machine: files, processes, accounts, the hostname.

`machine.System` is the entry point. Every operation compares first, records a `Change`, and then acts
unless it is a dry run. Nothing here knows Azure.
"""
