"""`eject_media`: eject the provisioning disc after Azure has accepted Ready.

The disc holds what was typed in the portal, including the password. Ejecting is a system call; no program is needed.
"""

from __future__ import annotations

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.ready import why_wait
from azurelite.record import Record
from azurelite.system.disks.eject import eject_disc

SUMMARY = "eject the provisioning disc"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False


class Options(Record):
    """Options of `eject_media`: none."""


def apply(ctx: Context, options: Options) -> None:
    """Eject the disc that this run has read, if it read one.

    Raises:
        HandlerError: Azure has not accepted Ready yet.
        MachineError: the drive does not exist, or a program still uses it.
    """
    del options
    if ctx.media_device is None or not ctx.system.root.is_host:
        return
    why = why_wait(ctx)
    if why is not None:
        raise HandlerError(f"the disc is not ejected: {why}")
    eject_disc(ctx.system, ctx.media_device)
