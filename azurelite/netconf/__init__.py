"""From IMDS's `network` object to configuration files of the program that configures the guest's network.

`nics` parses the object into values; one module per network program renders them as text. Pure: nothing here reads the
machine, writes a file or knows which network program a guest has.
"""
