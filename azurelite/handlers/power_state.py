"""`power_state`: reboot, power off or halt, once azurelite has ended and Azure knows that the VM is ready.

It comes after everything else, wherever the entry stands: the machine goes down when azurelite's process has ended and
its records are written; where `report_ready` was still to come, only if Azure has accepted Ready by then. Powered off
from inside, an Azure VM is "stopped" and still paid for.
"""

from __future__ import annotations

from typing import Literal, Optional, Union

from azurelite import layout
from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.ready import ahead, reported, too_early
from azurelite.record import Record
from azurelite.system.scripts import Scripts
from azurelite.system.services.power import switch

SUMMARY = "reboot or switch off when all is done"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_LOG = f"{layout.STATE_DIR}/logs/power_state-condition.log"
_LONGEST = 60 * 24 * 7  # minutes


class Options(Record):
    """Options of `power_state`.

    Attributes:
        mode: "reboot", "poweroff" or "halt".
        delay: "now", or the minutes to wait after azurelite has ended, as 5 or "+5".
        message: what users who are logged in are told.
        condition: false: do nothing; a program as a list, or text for /bin/sh: do it only if that ends with status 0.
        timeout: seconds that the condition's program may take.
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
            raise ValueError("condition must be true, false, a program with its arguments, or text for a shell")
        if self.timeout <= 0:
            raise ValueError("timeout must be more than 0 seconds")

    def minutes(self) -> int:
        """The delay in minutes. Raises ValueError."""
        text = "0" if self.delay == "now" else str(self.delay).lstrip("+")
        if not (text.isascii() and text.isdigit() and int(text[:9]) <= _LONGEST):
            raise ValueError(f'delay must be "now" or a number of minutes, at most {_LONGEST}')
        return int(text)


def apply(ctx: Context, options: Options) -> None:
    """Have the machine go down after the run, if the condition holds.

    Raises:
        HandlerError: the run has failed, or Azure has not accepted Ready: a VM that goes down unreported is taken
            for failed.
        CommandError: no program does it, or the condition's did not end in time.
    """
    if options.condition is False:
        return
    if not ctx.system.root.is_host:
        ctx.note(f"no {options.mode}: this is not the running system")
        return
    wait = ahead(ctx)
    why = None if wait else too_early(ctx)
    if why is not None:
        raise HandlerError(f"no {options.mode}: {why}")
    if not isinstance(options.condition, bool):
        shell = isinstance(options.condition, str)
        argv = ("/bin/sh", "-c", str(options.condition)) if shell else tuple(options.condition)
        scripts = Scripts(ctx.system)
        status = scripts.run(argv, name="the condition of power_state", timeout=options.timeout, log=_LOG)
        if status:
            ctx.note(f"no {options.mode}: its condition ended with status {status}")
            return
    only_if = (lambda: reported(ctx)) if wait else None
    switch(ctx.system, options.mode, minutes=options.minutes(), message=options.message, only_if=only_if)
