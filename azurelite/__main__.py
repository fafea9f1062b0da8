"""`python -m azurelite`."""

from azurelite.cli import command

command()
