"""`eject_media`: put out the provisioning disc, when Azure has accepted Ready.

The disc holds what was typed at the portal, the password among it. Ejecting is a system call, no program is needed.
"""

from __future__ import annotations

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.ready import too_early
from azurelite.record import Record
from azurelite.system.disks.eject import eject_disc

SUMMARY = "eject the provisioning disc"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False


class Options(Record):
    """There is nothing to choose."""


def apply(ctx: Context, options: Options) -> None:
    """Eject the disc that this run has read, if it read one.

    Raises:
        HandlerError: Azure has not accepted Ready yet.
        MachineError: in the system's words: no such drive, or somebody still uses it.
    """
    del options
    if ctx.media_device is None or not ctx.system.root.is_host:
        return
    why = too_early(ctx)
    if why is not None:
        raise HandlerError(f"the disc stays in: {why}")
    eject_disc(ctx.system, ctx.media_device)
