"""User data: what the owner of a VM hands to it, taken apart into scripts and wishes for handlers.

Pure: bytes and text in, frozen values out. It touches no machine and knows no `Context`.
"""
