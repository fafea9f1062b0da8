"""From IMDS's `network` object to the files of the program that configures a guest's network.

`nics` turns the object into values, one module per renderer turns the values into text. Pure: nothing here reads the
machine, writes a file or knows which renderer a guest has.
"""
