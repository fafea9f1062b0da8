"""Reboot, power off or halt the machine after this process has ended.

Otherwise azurelite would be killed before it has written its last records. A small shell in the background waits for
this process to end, and then runs the command. Under systemd it is a separate unit: systemd kills the processes that
remain of a unit.
"""

from __future__ import annotations

import atexit
import logging
import os
from typing import Callable, Optional, Sequence

from azurelite.errors import CommandError
from azurelite.system.changes import Change
from azurelite.system.machine import System
from azurelite.system.services import detect

LOG = logging.getLogger(__name__)

_PATIENCE = 120  # seconds to wait for the process; a program that imports azurelite may never end
_START = 30.0  # seconds to start the shell
# $1: the process to wait for, $2: for how many seconds, $3: seconds of delay, the rest: the command.
_WAIT = """i=0
while kill -0 "$1" 2>/dev/null && [ "$i" -lt "$2" ]; do sleep 1; i=$((i+1)); done
sleep "$3"
shift 3
exec "$@"
"""
# Options that the `shutdown` of systemd and that of sysvinit both know.
_SHUTDOWN = {"reboot": ("-r",), "poweroff": ("-h", "-P"), "halt": ("-h", "-H")}


def switch(
    system: System,
    mode: str,
    *,
    minutes: int = 0,
    message: Optional[str] = None,
    only_if: Optional[Callable[[], bool]] = None,
) -> None:
    """Reboot, power off or halt the running system after this process has ended, and record it.

    Args:
        system: the guest; its root is the running system's. A dry run only records the change.
        mode: "reboot", "poweroff" or "halt".
        minutes: to wait after that; the `shutdown` program warns users, and `shutdown -c` cancels it.
        message: for users who are logged in.
        only_if: tells whether Azure has accepted Ready; called when this process ends. None: it has.

    Raises:
        CommandError: no program for it is installed.
    """
    commands = system.commands
    if commands.find("shutdown") is not None:
        when = f"+{minutes}" if minutes else "now"
        words, delay = ["shutdown", *_SHUTDOWN[mode], when, *([message] if message else [])], 0
    elif commands.find(mode) is not None:  # BusyBox
        words, delay = [mode], 60 * minutes
    else:
        raise CommandError(f"neither shutdown nor {mode} is installed: add one to the image")
    arguments = ["azurelite-power", str(os.getpid()), str(_PATIENCE), str(delay), *words]
    if detect.running(system) == "systemd" and commands.find("systemd-run") is not None:
        arguments = [word.replace("$", "$$") for word in arguments]  # otherwise systemd expands variables
        argv = ["systemd-run", "--quiet", "--no-block", "--collect", "/bin/sh", "-c", _WAIT, *arguments]
    else:
        # The first shell ends at once; the second one has no terminal, no pipe and no waiting parent.
        argv = ["/bin/sh", "-c", f"({_WAIT}) </dev/null >/dev/null 2>&1 &", *arguments]
    said = f"{minutes} min after the run" if minutes else "after the run"
    if only_if is None:
        system.perform(Change("power", mode, said), argv, timeout=_START)
        return
    system.journal.record(Change("power", mode, f"{said}, if Azure has accepted Ready by then"))
    if not system.dry_run:
        atexit.register(_at_the_end, system, mode, argv, only_if)


def _at_the_end(system: System, mode: str, argv: Sequence[str], only_if: Callable[[], bool]) -> None:
    if not only_if():
        LOG.warning("power: %s skipped: Azure has not accepted Ready", mode)
        return
    try:
        system.commands.run(argv, timeout=_START)
    except CommandError as error:
        LOG.error("power: %s failed: %s", mode, error)
