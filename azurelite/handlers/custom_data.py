"""`custom_data`: store and run the custom data given at creation, as `user_data` does, and no other data."""

from __future__ import annotations

from typing import Optional

from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.handlers.user_data import Action, Rerun, check, use
from azurelite.record import Record

SUMMARY = "store and run custom data, as user_data does"
NEEDS: tuple[str, ...] = ()
USES = ("custom_data",)
FREQUENCY: Frequency = "instance"
REQUIRED = False


class Options(Record):
    """Options of `custom_data`.

    Attributes:
        action: "run": store it, unpack it, run its scripts and apply its #cloud-config; "save": only store it, in
            /var/lib/azurelite/vms, readable by root only; "ignore": do nothing. A script is started once per VM, even
            if it fails or reboots the machine; to run all scripts again, remove ID/memory/*-scripts there.
        save: also store it in this file (mode 0600), for example /var/lib/waagent/CustomData for programs that
            read it there.
        timeout: seconds that each script may run before it is killed. In an entry before `report_ready`,
            `datasource.deadline` may end it earlier.
        rerun: a script that was started and interrupted, for example by a power cut or by its own `reboot`: "never":
            it counts as run, and is named; "interrupted": it is run again, so it must stand that.
    """

    action: Action = "run"
    save: Optional[str] = None
    timeout: float = 3600.0
    rerun: Rerun = "never"

    def __post_init__(self) -> None:
        check(self.save, self.timeout)


def apply(ctx: Context, options: Options) -> None:
    """Store the data and run it. Raises HandlerError, which lists everything that failed."""
    use(ctx, ("custom_data",), action=options.action, save=options.save, timeout=options.timeout, rerun=options.rerun)
