"""`report_ready`: tell Azure that the VM is ready. Its position in the list determines when."""

from __future__ import annotations

from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.record import Record

SUMMARY = "tell Azure that the VM is ready"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = True


class Options(Record):
    """Options of `report_ready`: none."""


def apply(ctx: Context, options: Options) -> None:
    """Report Ready; a dry run sends nothing. Raises FabricError if Azure does not accept it."""
    del options
    if not ctx.system.dry_run:
        ctx.report_ready()
