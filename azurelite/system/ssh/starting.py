"""Whether sshd starts with its configuration: `sshd -t` on the running system.

sshd reads its whole configuration before it looks for host keys and for its run-time folder, which on a first boot may
not exist yet. So an error in the configuration is certain, whatever else is missing.
"""

from __future__ import annotations

import os
import re
from typing import Optional, Sequence

from azurelite.errors import CommandError, FileError
from azurelite.system.explain import explained
from azurelite.system.machine import System
from azurelite.system.scratch import scratch_folder
from azurelite.system.ssh import hostkeys
from azurelite.system.ssh.access import Obstacle
from azurelite.system.ssh.arguments import PROGRAMS, read_arguments
from azurelite.system.ssh.sshd_config import SshdConfig

_TIMEOUT = 20.0  # seconds
_SHOWN = 300  # characters
_MOST = 64 * 1024  # bytes of its messages
# Its last message before it gives up, if the reason is in the configuration and in nothing else.
_FATAL = (
    r"terminating, \d+ bad configuration option",
    r" line \d+: (?!Deprecated |Unsupported option|ignoring )",
    r"^Invalid Match .* at line \d+",
    r"^Authorized(Keys|Principals)Command set without Authorized(Keys|Principals)CommandUser",
    r"^AuthenticationMethods cannot be satisfied by enabled authentication methods",
)
_SUMMARY = "terminating, "  # the messages before it are the reason
_HARMLESS = r"Deprecated option|Unsupported option|ignoring "
_RUN_TIME = ("Missing privilege separation directory", "Privilege separation user ")
_NO_KEYS = "no hostkeys available"


Way = tuple[str, Optional[str]]  # a program, and the configuration that it is given


def ways_to_start(system: System, config: SshdConfig) -> list[Way]:
    """How sshd may be started: each installed sshd, with its own configuration or with one that an argument names.

    Args:
        system: the machine.
        config: sshd's configuration.
    """
    arguments = read_arguments(system.files)
    paths = [path for path in arguments.files if path != config.path]
    named = [f"{folder}/sshd" for folder in system.commands.search_path.split(":")]
    programs: dict[str, str] = {}
    for program in (*named, *PROGRAMS[1:], *arguments.programs):
        if system.files.is_executable(program):
            programs.setdefault(system.root.host_path(program), program)
    return [(program, path) for program in programs.values() for path in (None, *paths)]


def start_obstacle(system: System, ways: Sequence[Way]) -> Optional[Obstacle]:
    """Why sshd does not start, or may not; None if it starts as far as its configuration goes.

    Args:
        system: the running system.
        ways: how it may be started. Only if all are in vain, it certainly does not start.
    """
    answers = [_tested(system, program, path) for program, path in ways]
    found = [answer for answer in answers if answer is not None]
    if not found:
        return None
    certain = all(answer is not None and answer.certain for answer in answers)
    words = found[0].text
    if certain and _is_running(system):
        return Obstacle(f"sshd runs, but will not start again: correct its configuration (sshd says: {words})", False)
    if certain:
        return Obstacle(f"sshd does not start: correct its configuration (sshd says: {words})")
    return Obstacle(f"sshd may not start: check it by `sshd -t` (sshd says: {words})", certain=False)


def _tested(system: System, program: str, path: Optional[str]) -> Optional[Obstacle]:
    """sshd's answer about a configuration; None: sshd's own. None if it starts, or will once it has host keys."""
    limit = system.commands.limit
    if limit is not None and limit.remaining() <= 0:  # sshd is not to blame
        return None
    given = [] if path is None else ["-f", path]
    with scratch_folder() as folder:
        log = os.path.join(folder, "log")
        try:
            system.commands.run([program, "-t", "-E", log, *given], timeout=_TIMEOUT)
        except CommandError as error:
            lines = _lines(log)
            if not lines:  # it was killed, or does not know these options
                return Obstacle(error.message[-_SHOWN:], certain=False)
        else:
            return None
    if any(re.search(pattern, lines[-1]) for pattern in _FATAL):
        return Obstacle(_reason(lines)[:_SHOWN])
    if lines[-1].startswith(_RUN_TIME) or (_NO_KEYS in lines[-1] and not _has_host_keys(system)):
        return None
    return Obstacle(" ".join(lines[-2:])[:_SHOWN], certain=False)


def _lines(path: str) -> list[str]:
    if not os.path.exists(path):
        return []
    with explained("read", path), open(path, encoding="utf-8", errors="replace") as file:
        return [line.strip() for line in file.read(_MOST).split("\n") if line.strip()]


def _reason(lines: list[str]) -> str:
    """The first message that is an error. The last one only counts them, or is what several lines lead to."""
    reasons = [line for line in lines if not re.search(_HARMLESS, line)]
    return reasons[0] if _SUMMARY in lines[-1] else " ".join(reasons[-2:])


def _has_host_keys(system: System) -> bool:
    """Whether there are host keys, so that sshd cannot use them."""
    return bool(hostkeys.existing(system, "openssh"))


def _is_running(system: System) -> bool:
    """Whether a process of this system is sshd. It goes on with the configuration that it has read."""
    top = system.root.path
    for number in system.files.names("/proc"):
        if not number.isdigit():
            continue
        try:
            named = (system.files.text(f"/proc/{number}/comm") or "").strip() == "sshd"
            if named and os.path.samefile(os.path.join(top, "proc", number, "root"), top):  # not one of a container
                return True
        except (FileError, OSError):  # it has ended
            continue
    return False
