"""`custom_data`: as `user_data`, for the custom data given at creation, and for nothing else."""

from __future__ import annotations

from typing import Optional

from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.handlers.user_data import Action, check, use
from azurelite.record import Record

SUMMARY = "keep custom data and run it, as user_data does"
NEEDS: tuple[str, ...] = ()
USES = ("custom_data",)
FREQUENCY: Frequency = "instance"
REQUIRED = False


class Options(Record):
    """Options of `custom_data`.

    Attributes:
        action: "run": keep it, unpack it, run its scripts and apply its #cloud-config; "save": only keep it, below
            /var/lib/azurelite/vms, where root alone can look; "ignore": neither. A script is begun once per VM, even
            if it fails or reboots the machine; removing ID/memory/*-scripts there lets all of them run again.
        save: a second place to keep it at (mode 0600), as /var/lib/waagent/CustomData for programs that look there.
        timeout: seconds that each script has; it is killed then. While Azure waits for Ready (the entry stands ahead
            of `report_ready`), `datasource.deadline` ends it earlier.
    """

    action: Action = "run"
    save: Optional[str] = None
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        check(self.save, self.timeout)


def apply(ctx: Context, options: Options) -> None:
    """Keep and do what is there. Raises HandlerError, which names everything that failed."""
    use(ctx, ("custom_data",), action=options.action, save=options.save, timeout=options.timeout)
