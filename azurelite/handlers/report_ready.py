"""`report_ready`: tell Azure that the VM is ready. Its place in the list decides when."""

from __future__ import annotations

from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.record import Record

SUMMARY = "tell Azure that the VM is ready"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = True


class Options(Record):
    """There is nothing to choose."""


def apply(ctx: Context, options: Options) -> None:
    """Report Ready. Raises FabricError when Azure does not accept it; in a dry run nothing is sent."""
    del options
    if not ctx.system.dry_run:
        ctx.report_ready()
