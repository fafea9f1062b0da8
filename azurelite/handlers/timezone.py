"""`timezone`: set the system's time zone, in /etc/localtime and in the other files where this system stores it.

The zone must exist in the guest; the distribution's package for time zones installs them.
"""

from __future__ import annotations

import logging
import re

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.zones import LOCALTIME, ZONEINFO, set_zone, similar_zone, zone_data

LOG = logging.getLogger(__name__)

SUMMARY = "set the time zone"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_NAME = r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*"
_UTC = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")


class Options(Record):
    """Options of `timezone`.

    Attributes:
        zone: the name of a file in /usr/share/zoneinfo, for example "Europe/Berlin".
    """

    zone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.zone) > 64 or not re.fullmatch(_NAME, self.zone):
            raise ValueError("zone must be a name such as Europe/Berlin or UTC")
        if self.zone.rpartition("/")[2] == "localtime":  # Debian has it in zoneinfo, as a link to /etc/localtime
            raise ValueError(
                "zone must not be localtime, the link to the current zone: write for example Europe/Berlin"
            )


def apply(ctx: Context, options: Options) -> None:
    """Set the time zone.

    Raises:
        HandlerError: the zone does not exist on this system.
        FileError: one of the files cannot be written.
    """
    files = ctx.system.files
    data = zone_data(files, options.zone)
    if data is not None:
        set_zone(files, options.zone, data)
    elif files.is_dir(ZONEINFO):
        similar = similar_zone(files, options.zone)
        remedy = f"did you mean {similar}?" if similar else f"choose a name from {ZONEINFO}"
        raise HandlerError(f"the time zone {options.zone} does not exist: {remedy}")
    elif options.zone in _UTC and files.root.link_target(LOCALTIME) is None and not files.exists(LOCALTIME):
        LOG.info("timezone: skipped: no time zones are installed, so the system uses UTC")
    else:
        raise HandlerError(f"{ZONEINFO} does not exist: install the package tzdata (`timezone-data`, `zoneinfo`)")
