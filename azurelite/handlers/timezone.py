"""`timezone`: the zone of the system's clock, in /etc/localtime and wherever else this system keeps it.

The zone must be one of the guest's own; its files come with the distribution's package of time zones.
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
        zone: its name below /usr/share/zoneinfo, as "Europe/Berlin".
    """

    zone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.zone) > 64 or not re.fullmatch(_NAME, self.zone):
            raise ValueError("zone must be a name as Europe/Berlin or UTC")
        if self.zone.rpartition("/")[2] == "localtime":  # Debian has it there, as a link to /etc/localtime
            raise ValueError("zone must be a zone by its own name, and localtime is whichever holds")


def apply(ctx: Context, options: Options) -> None:
    """Set the time zone.

    Raises:
        HandlerError: there is no such zone on this system.
        FileError: a place that names the zone cannot be written.
    """
    files = ctx.system.files
    data = zone_data(files, options.zone)
    if data is not None:
        set_zone(files, options.zone, data)
    elif files.is_dir(ZONEINFO):
        similar = similar_zone(files, options.zone)
        remedy = f"did you mean {similar}?" if similar else f"the folders of {ZONEINFO} show the names"
        raise HandlerError(f"there is no time zone {options.zone}: {remedy}")
    elif options.zone in _UTC and files.root.link_target(LOCALTIME) is None and not files.exists(LOCALTIME):
        LOG.info("no time zones are installed, and without any the clock shows UTC")
    else:
        raise HandlerError(f"there is no {ZONEINFO}: install the package tzdata (`timezone-data`, `zoneinfo`)")
