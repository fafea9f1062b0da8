"""`python -m azurelite`."""

import sys

from azurelite.cli import main

sys.exit(main())
