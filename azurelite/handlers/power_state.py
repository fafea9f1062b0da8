"""`power_state`: reboot, power off or halt after azurelite has finished and Azure has accepted Ready.

The position of the entry in the list does not matter: the machine goes down after azurelite's process has ended and
its records are written. If `report_ready` comes later in the list, it goes down only if Azure has accepted Ready by
then. An Azure VM that is powered off from inside is "stopped", not deallocated, and is still billed.
"""

from __future__ import annotations

from typing import Literal, Optional, Union

from azurelite import layout
from azurelite.config.load import Frequency
from azurelite.errors import HandlerError, SkippedError
from azurelite.handlers import Context
from azurelite.handlers.support.ready import report_pending, reported, why_wait
from azurelite.record import Record
from azurelite.system.scripts import Scripts
from azurelite.system.services.power import switch

SUMMARY = "reboot, power off or halt after azurelite has finished"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_LOG = f"{layout.STATE_DIR}/logs/power_state-condition.log"
_LONGEST = 60 * 24 * 7  # minutes


class Options(Record):
    """Options of `power_state`.

    Attributes:
        mode: "reboot", "poweroff" or "halt".
        delay: "now", or the minutes to wait after azurelite has finished, for example 5 or "+5".
        message: text shown to users who are logged in.
        condition: false: do nothing. A program with arguments as a list, or a command for /bin/sh as text: reboot or
            power off only if it exits with status 0.
        timeout: seconds that the program of `condition` may run.
    """

    mode: Literal["reboot", "poweroff", "halt"] = "reboot"
    delay: Union[int, str] = "now"
    message: Optional[str] = None
    condition: Union[bool, str, tuple[str, ...]] = True
    timeout: float = 60.0

    def __post_init__(self) -> None:
        self.minutes()
        if self.message is not None and not (self.message.isprintable() and not self.message.startswith("-")):
            raise ValueError("message must be one line of text that does not begin with `-`")
        if self.condition in ("", ()) or (not isinstance(self.condition, bool) and "\0" in "".join(self.condition)):
            raise ValueError("condition must be true, false, a list of a program and arguments, or a shell command")
        if self.timeout <= 0:
            raise ValueError("timeout must be more than 0 seconds")

    def minutes(self) -> int:
        """The delay in minutes. Raises ValueError."""
        text = "0" if self.delay == "now" else str(self.delay).lstrip("+")
        if not (text.isascii() and text.isdigit() and int(text[:9]) <= _LONGEST):
            raise ValueError(f'delay must be "now" or a number of minutes, at most {_LONGEST}')
        return int(text)


def apply(ctx: Context, options: Options) -> None:
    """Schedule the reboot or shutdown for the end of the run, if the condition holds.

    Raises:
        SkippedError: the root is not the running system.
        HandlerError: the run has failed, or Azure has not accepted Ready. Azure treats a VM that goes down before it
            has reported as failed.
        CommandError: no program for it was found, or the program of `condition` did not finish in time.
    """
    if options.condition is False:
        return
    if not ctx.system.root.is_host:
        raise SkippedError(f"{options.mode} needs the running system")
    wait = report_pending(ctx)
    why = None if wait else why_wait(ctx)
    if why is not None:
        raise HandlerError(f"{options.mode} refused: {why}")
    if not isinstance(options.condition, bool):
        shell = isinstance(options.condition, str)
        argv = ("/bin/sh", "-c", str(options.condition)) if shell else tuple(options.condition)
        scripts = Scripts(ctx.system)
        status = scripts.run(argv, name="the condition of power_state", timeout=options.timeout, log=_LOG)
        if status:
            ctx.note(f"{options.mode} skipped: `condition` exited with status {status}")
            return
    only_if = (lambda: reported(ctx)) if wait else None
    switch(ctx.system, options.mode, minutes=options.minutes(), message=options.message, only_if=only_if)
