"""`time_sync`: set the time sources: the host's clock, and time servers.

Hyper-V gives a VM the host's clock as a PTP device, which needs no network. Only chrony can use it. The installed
time program is configured (chrony, ntpd, ntpsec, OpenNTPD, systemd-timesyncd, BusyBox's ntpd). It is restarted if it
is running, and not started otherwise.
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
from azurelite.system.timekeeping import HYPERV_CLOCK, TimeKeeper, configure, find_time_keeper, hyperv_clock

LOG = logging.getLogger(__name__)

SUMMARY = "synchronize the clock with the host's clock and time servers"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_NAME = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?"
_ADDRESS = r"[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"


class Options(Record):
    """Options of `time_sync`.

    Attributes:
        ptp: "auto": chrony uses the host's clock if there is one; true: the host's clock and chrony are required (an
            image that is not running gets the setting in any case); false: the host's clock is not used.
        servers: time servers, names or addresses; together with `pools` they replace the configured ones.
        pools: names that resolve to several servers each, for example "pool.ntp.org".
    """

    ptp: Union[bool, Literal["auto"]] = "auto"
    servers: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, names in (("servers", self.servers), ("pools", self.pools)):
            for name in names:
                if len(name) > 253 or not (re.fullmatch(_NAME, name) or re.fullmatch(_ADDRESS, name)):
                    raise ValueError(f"{key} must be host names or addresses")


def apply(ctx: Context, options: Options) -> None:
    """Set the time sources.

    Raises:
        HandlerError: no installed program can use the sources, or the host's clock does not exist.
        MachineError: a file cannot be written, or the service could not be restarted.
    """
    keeper = find_time_keeper(ctx.system)
    clock = _clock(ctx, keeper, options)
    if keeper is None:
        if options.servers or options.pools:
            raise HandlerError("no time program is installed: add chrony to the image")
        LOG.info("time_sync: skipped: no time program is installed")
        return
    if configure(ctx.system.files, keeper, clock=clock, servers=options.servers, pools=options.pools):
        Services(ctx.system).restart(*keeper.services)


def _clock(ctx: Context, keeper: Optional[TimeKeeper], options: Options) -> Optional[str]:
    """The device of the host's clock, or None if it is not to be used."""
    if options.ptp is False:
        return None
    chrony = keeper is not None and keeper.name == "chrony"
    clock = hyperv_clock(ctx.system.files)
    if options.ptp == "auto":
        if clock is not None and not chrony:
            LOG.info("time_sync: the host's clock %s is not used: only chrony can read it", clock)
        return clock if chrony else None
    if not chrony:
        raise HandlerError("`ptp: true` requires chrony: add it to the image, or set `ptp: auto`")
    if clock is None and ctx.system.root.is_host:  # chrony does not start if the device does not exist
        raise HandlerError("/dev/ptp_hyperv does not exist: load the module hv_utils, or set `ptp: auto`")
    return clock or HYPERV_CLOCK
