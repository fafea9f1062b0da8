"""`time_sync`: the program that keeps the clock reads the host's clock, and the servers that are wanted.

Hyper-V shows a VM the host's clock as a PTP device, which needs no network. chrony alone reads it. The program that
is installed is used (chrony, ntpd, ntpsec, OpenNTPD, systemd-timesyncd, BusyBox's ntpd); one that runs is restarted,
none is started.
"""

from __future__ import annotations

import logging
import re
from typing import Literal, Optional, Union

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.services.services import Services
from azurelite.system.timekeeping import TimeKeeper, configure, find_time_keeper, hyperv_clock

LOG = logging.getLogger(__name__)

SUMMARY = "keep the clock by the host's clock and by time servers"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_NAME = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?"
_ADDRESS = r"[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
_USUAL_CLOCK = "/dev/ptp_hyperv"


class Options(Record):
    """Options of `time_sync`.

    Attributes:
        ptp: "auto": chrony reads the host's clock where there is one; true: it must be there, and chrony (an image
            that is not running gets the setting in any case); false: it is not used.
        servers: time servers, names or addresses; they and `pools` take the place of those that are set.
        pools: names that stand for several servers each, as "pool.ntp.org".
    """

    ptp: Union[bool, Literal["auto"]] = "auto"
    servers: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, names in (("servers", self.servers), ("pools", self.pools)):
            for name in names:
                if len(name) > 253 or not (re.fullmatch(_NAME, name) or re.fullmatch(_ADDRESS, name)):
                    raise ValueError(f"{key} must be names or addresses of hosts")


def apply(ctx: Context, options: Options) -> None:
    """Set the sources of the time.

    Raises:
        HandlerError: nothing is installed that could use what is asked for, or there is no such clock.
        MachineError: a file cannot be written, or the service did not come back.
    """
    keeper = find_time_keeper(ctx.system)
    clock = _clock(ctx, keeper, options)
    if keeper is None:
        if options.servers or options.pools:
            raise HandlerError("no program is installed that keeps the clock: add chrony to the image")
        LOG.info("no program is installed that keeps the clock")
        return
    if configure(ctx.system.files, keeper, clock=clock, servers=options.servers, pools=options.pools):
        Services(ctx.system).restart(*keeper.services)


def _clock(ctx: Context, keeper: Optional[TimeKeeper], options: Options) -> Optional[str]:
    """The device of the host's clock, where it is to be used."""
    if options.ptp is False:
        return None
    chrony = keeper is not None and keeper.name == "chrony"
    clock = hyperv_clock(ctx.system.files)
    if options.ptp == "auto":
        if clock is not None and not chrony:
            LOG.info("the host's clock %s is not used: chrony alone reads it", clock)
        return clock if chrony else None
    if not chrony:
        raise HandlerError("the host's clock is read by chrony alone: add it to the image, or set `ptp: auto`")
    if clock is None and ctx.system.root.is_host:  # chrony does not start with a device that is not there
        raise HandlerError("there is no Hyper-V clock (/dev/ptp_hyperv): load the module hv_utils, or set `ptp: auto`")
    return clock or _USUAL_CLOCK
