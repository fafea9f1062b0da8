"""The services of a guest: whether one runs, reload or restart it, disable it.

`detect.py` tells which init system there is. This file knows how the programs of each one are called; which files say
that a service starts at boot is in `enabling.py`. A service that does not run is never started here.
"""

from __future__ import annotations

import contextlib
import re
from typing import Callable, Optional

from azurelite.errors import CommandError, FileError
from azurelite.system.changes import Change
from azurelite.system.machine import System
from azurelite.system.services import detect, enabling

_ASK = 20.0  # seconds that a question may take
# Where the supervisors of runit and s6 look for the folders of services.
_RUNIT_FOLDERS = ("/var/service", "/etc/service", "/run/runit/service", "/service")
_S6_FOLDERS = ("/run/service", "/run/s6-rc/servicedirs")


class Services:
    """The services of one guest.

    Args:
        system: the guest.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._init: Optional[str] = None
        self._running_init: Optional[str] = None

    @property
    def init(self) -> str:
        """The init system that starts services at boot, as `detect.installed` names it. Raises FileError."""
        if self._init is None:
            self._init = detect.installed(self._system)
        return self._init

    @property
    def running_init(self) -> str:
        """The init system that runs here, as `detect.running` names it. Raises FileError."""
        if self._running_init is None:
            self._running_init = detect.running(self._system)
        return self._running_init

    def running(self, *names: str) -> Optional[str]:
        """Return the first of these services that runs now, or None. Without a running init system there is none.

        Args:
            names: as ("sshd", "ssh"): one service that has different names in different distributions.
        """
        if not self._system.root.is_host:
            return None
        return next((name for name in names if is_running(self._system, self.running_init, name)), None)

    def reload(self, *names: str) -> bool:
        """Have the first of these services that runs read its configuration again; none is started.

        Returns:
            False when none of them runs.

        Raises:
            CommandError: the service could not do it; it may be gone.
        """
        return self._tell("reload", names)

    def restart(self, *names: str) -> bool:
        """Restart the first of these services that runs; a service that does not run is not started.

        Returns:
            False when none of them runs.

        Raises:
            CommandError: it did not start again.
        """
        return self._tell("restart", names)

    def enabled(self, name: str) -> Optional[bool]:
        """Tell whether the service starts at boot; None where there is no such service. Raises FileError."""
        return enabling.is_enabled(self._system, self.init, name)

    def disable(self, name: str) -> bool:
        """Keep the service from starting at the next boots; a running one is not stopped.

        Only files are changed, so this works in a foreign root as on the running system.

        Returns:
            True when something had to change.

        Raises:
            FileError: the files cannot be changed.
            MachineError: what starts it cannot be changed by files.
        """
        return self.enabled(name) is True and enabling.disable(self._system, self.init, name)

    def _tell(self, verb: str, names: tuple[str, ...]) -> bool:
        name = self.running(*names)
        argv = command(self._system, self.running_init, verb, name) if name is not None else None
        if name is None or argv is None:
            return False
        self._system.perform(Change("service", name, verb), argv)
        return True


def reload_systemd(system: System, detail: str) -> None:
    """Have systemd read its units again, where it runs.

    Args:
        system: the guest.
        detail: what it reads and why, for the record of changes.

    Raises:
        CommandError, FileError: it did not; it will read them at the next boot anyway.
    """
    if detect.running(system) == "systemd":
        system.perform(Change("service", "systemd", detail), ["systemctl", "daemon-reload"])


def is_running(system: System, init: str, name: str) -> bool:
    """Tell whether the service runs now. False when it cannot be asked."""
    with contextlib.suppress(CommandError, FileError):
        return init in _RUNNING and _RUNNING[init](system, name)
    return False


def command(system: System, init: str, verb: str, name: str) -> Optional[list[str]]:
    """Return the program and its arguments for "reload" or "restart" of a running service; None where there is none."""
    again = verb == "restart"
    if init in ("runit", "s6"):
        folder = (_runit_folder if init == "runit" else _s6_folder)(system, name) or name
        return ["sv", verb, folder] if init == "runit" else ["s6-svc", "-r" if again else "-h", folder]
    commands = {
        # Without dependencies: a unit that is ordered after azurelite's would wait for azurelite to end.
        "systemd": ["systemctl", "--job-mode=ignore-dependencies", verb, f"{name}.service"],
        "openrc": ["rc-service", name, verb],
        "dinit": ["dinitctl", "restart", name] if again else ["dinitctl", "signal", "HUP", name],
        "freebsd": ["service", name, f"one{verb}"],  # also where rc.conf does not enable it
    }
    if init in commands:
        return commands[init]
    if init == "finit" and again:
        return ["initctl", "restart", name]  # `initctl reload NAME` reads finit's own configuration in older releases
    script = _script(system, name) if init != "finit" else None
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
    system.commands.run(["dinitctl", "is-started", name], timeout=_ASK)  # exits with 1 when it is not
    return True


def _runit(system: System, name: str) -> bool:
    folder = _runit_folder(system, name)
    return folder is not None and system.commands.run(["sv", "status", folder], timeout=_ASK).startswith("run:")


def _s6(system: System, name: str) -> bool:
    folder = _s6_folder(system, name)
    return folder is not None and system.commands.run(["s6-svstat", "-u", folder], timeout=_ASK).strip() == "true"


def _freebsd(system: System, name: str) -> bool:
    system.commands.run(["service", name, "onestatus"], timeout=_ASK)  # exits with 1 when it does not run
    return True


def _by_process(system: System, name: str) -> bool:
    return _process(system, name) is not None


def _by_script(system: System, name: str) -> bool:
    script = _script(system, name)
    if script is None or re.fullmatch(r".*/S\d\d[^/]*", script):  # such small scripts seldom know `status`
        return _by_process(system, name)
    system.commands.run([script, "status"], timeout=_ASK)  # exits with another status than 0 when it does not run
    return True


_RUNNING: dict[str, Callable[[System, str], bool]] = {
    "systemd": _systemd,
    "openrc": _openrc,
    "dinit": _dinit,
    "runit": _runit,
    "s6": _s6,
    "finit": _by_process,  # it keeps a PID file for each service that has none of its own
    "freebsd": _freebsd,
    "sysvinit": _by_script,
    "busybox": _by_script,
    "unknown": _by_script,
}


def _runit_folder(system: System, name: str) -> Optional[str]:
    folders = (f"{folder}/{name}" for folder in _RUNIT_FOLDERS)
    return next((folder for folder in folders if system.files.exists(f"{folder}/supervise")), None)


def _s6_folder(system: System, name: str) -> Optional[str]:
    # Distributions that have a second service for the log of each one call the first one NAME-srv.
    folders = (f"{folder}/{own}" for folder in _S6_FOLDERS for own in (name, f"{name}-srv"))
    return next((folder for folder in folders if system.files.exists(f"{folder}/supervise")), None)


def _script(system: System, name: str) -> Optional[str]:
    """Return the script in /etc/init.d that starts the service: NAME, or S50NAME where BusyBox's init runs them."""
    numbered = [entry for entry in system.files.names("/etc/init.d") if re.fullmatch(rf"S\d\d{re.escape(name)}", entry)]
    paths = [f"/etc/init.d/{entry}" for entry in (name, *numbered)]
    return next((path for path in paths if system.files.is_executable(path)), None)


def _process(system: System, name: str) -> Optional[int]:
    """Return the number of the process that NAME.pid names, if it still is that program."""
    for folder in ("/run", "/var/run"):
        text = (system.files.read(f"{folder}/{name}.pid") or b"").strip()
        if text.isdigit() and len(text) < 10:
            program = system.root.text(f"/proc/{int(text)}/comm").strip()
            if program and name.startswith(program):  # the kernel cuts names at 15 bytes
                return int(text)
    return None
