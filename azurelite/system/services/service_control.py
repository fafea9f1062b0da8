"""Asking and telling running services, by the programs of each init system.

This file only knows the words. Whether they may be said (not in a foreign root, not in a dry run) is `services.py`'s.
"""

from __future__ import annotations

import contextlib
import re
from typing import Callable, Optional

from azurelite.errors import CommandError, FileError
from azurelite.system.machine import System

_ASK = 20.0  # seconds that a question may take
# Where runit's and s6's supervisors look for the folders of services.
_RUNIT_FOLDERS = ("/var/service", "/etc/service", "/run/runit/service", "/service")
_S6_FOLDERS = ("/run/service", "/run/s6-rc/servicedirs")


def is_running(system: System, init: str, name: str) -> bool:
    """The service runs now. A question that cannot be asked counts as no."""
    with contextlib.suppress(CommandError, FileError):
        return _RUNNING[init](system, name)
    return False


def words(system: System, init: str, verb: str, name: str) -> Optional[list[str]]:
    """The program and its arguments for "reload" or "restart" of a running service; None where there is no way."""
    again = verb == "restart"
    if init in ("runit", "s6"):
        folder = (_runit_folder if init == "runit" else _s6_folder)(system, name) or name
        return ["sv", verb, folder] if init == "runit" else ["s6-svc", "-r" if again else "-h", folder]
    ways = {
        # Without dependencies: a unit that is ordered behind azurelite's would wait for azurelite to end.
        "systemd": ["systemctl", "--job-mode=ignore-dependencies", verb, f"{name}.service"],
        "openrc": ["rc-service", name, verb],
        "dinit": ["dinitctl", "restart", name] if again else ["dinitctl", "signal", "HUP", name],
    }
    if init in ways:
        return ways[init]
    script = _script(system, name)
    if script is not None:
        return [script, verb]
    process = _process(system, name)
    return ["kill", "-HUP", str(process)] if process is not None and not again else None


def _systemd(system: System, name: str) -> bool:
    state = system.commands.run(
        ["systemctl", "show", "--property=ActiveState", "--value", f"{name}.service"], timeout=_ASK
    )
    return state.strip() in ("active", "reloading")


def _openrc(system: System, name: str) -> bool:
    return any(system.files.exists(f"{folder}/started/{name}") for folder in ("/run/openrc", "/lib/rc/init.d"))


def _dinit(system: System, name: str) -> bool:
    system.commands.run(["dinitctl", "is-started", name], timeout=_ASK)  # 1 when it is not
    return True


def _runit(system: System, name: str) -> bool:
    folder = _runit_folder(system, name)
    return folder is not None and system.commands.run(["sv", "status", folder], timeout=_ASK).startswith("run:")


def _s6(system: System, name: str) -> bool:
    folder = _s6_folder(system, name)
    return folder is not None and system.commands.run(["s6-svstat", "-u", folder], timeout=_ASK).strip() == "true"


def _by_script(system: System, name: str) -> bool:
    script = _script(system, name)
    if script is None or re.fullmatch(r".*/S\d\d[^/]*", script):  # such small scripts seldom know `status`
        return _process(system, name) is not None
    system.commands.run([script, "status"], timeout=_ASK)  # not 0 when it does not run
    return True


_RUNNING: dict[str, Callable[[System, str], bool]] = {
    "systemd": _systemd,
    "openrc": _openrc,
    "dinit": _dinit,
    "runit": _runit,
    "s6": _s6,
    "sysvinit": _by_script,
    "busybox": _by_script,
    "none": _by_script,
}


def _runit_folder(system: System, name: str) -> Optional[str]:
    folders = (f"{folder}/{name}" for folder in _RUNIT_FOLDERS)
    return next((folder for folder in folders if system.files.exists(f"{folder}/supervise")), None)


def _s6_folder(system: System, name: str) -> Optional[str]:
    # Distributions that log each service by a second one call the first NAME-srv.
    folders = (f"{folder}/{own}" for folder in _S6_FOLDERS for own in (name, f"{name}-srv"))
    return next((folder for folder in folders if system.files.exists(f"{folder}/supervise")), None)


def _script(system: System, name: str) -> Optional[str]:
    """The script in /etc/init.d that starts the service: by its name, or as S50NAME where BusyBox's init runs them."""
    numbered = [entry for entry in system.files.names("/etc/init.d") if re.fullmatch(rf"S\d\d{re.escape(name)}", entry)]
    paths = [f"/etc/init.d/{entry}" for entry in (name, *numbered)]
    return next((path for path in paths if system.files.is_executable(path)), None)


def _process(system: System, name: str) -> Optional[int]:
    """The number of the process that NAME.pid tells of, when it still is that program."""
    for folder in ("/run", "/var/run"):
        text = (system.files.read(f"{folder}/{name}.pid") or b"").strip()
        if text.isdigit() and len(text) < 10:
            program = (system.files.read(f"/proc/{int(text)}/comm") or b"").strip().decode(errors="replace")
            if program and name.startswith(program):  # the kernel cuts names at 15 bytes
                return int(text)
    return None
