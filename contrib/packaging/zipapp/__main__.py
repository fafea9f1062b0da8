"""What a Python that is given azurelite.pyz runs."""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - an older one is the very thing that is to be told
    sys.exit("azurelite: needs Python 3.9 or newer, this is {}.{}".format(*sys.version_info))

from azurelite.cli import command

command()
