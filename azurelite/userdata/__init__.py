"""User data: parse it and translate it into scripts and options of handlers.

All functions are pure: they take bytes and text and return frozen values, without the machine and without `Context`.
"""
