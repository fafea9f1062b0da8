"""The services of a guest: which init system has them, telling a running one of a change, keeping one from starting.

The init system is recognised by what is there, never by a distribution's name. How its programs are called is in
`service_control.py`, which files say that a service starts at boot is in `service_files.py`. A service is never
started here.
"""

from __future__ import annotations

from typing import Optional

from azurelite.system.changes import Change
from azurelite.system.machine import System
from azurelite.system.services.service_control import is_running, words
from azurelite.system.services.service_files import disable, is_enabled

# What says that an init system runs now. OpenRC runs under any first process, the others are found by that as well.
_RUNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("systemd", ("/run/systemd/system",)),
    ("openrc", ("/run/openrc/softlevel",)),
    ("dinit", ("/run/dinitctl",)),
    ("s6", ("/run/s6-rc", "/run/s6", "/run/service/.s6-svscan")),
    ("runit", ("/run/runit",)),
)
# The first process, or what /sbin/init leads to, by a part of its name.
_PROGRAMS = ("systemd", "openrc", "dinit", "s6", "runit", "busybox")
# What says that one is installed. The first ones may be so on a machine that another one boots.
_GUESTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("systemd", ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")),
    ("dinit", ("/etc/dinit.d",)),
    ("s6", ("/etc/s6", "/etc/s6-overlay", "/etc/s6-linux-init")),
    ("runit", ("/etc/runit/runsvdir", "/etc/runit/2")),
)
_HOSTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sysvinit", ("/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc3.d", "/etc/init.d/functions", "/lib/lsb/init-functions")),
    ("busybox", ("/etc/inittab", "/etc/init.d/rcS")),
)


class Services:
    """The services of one guest.

    Args:
        system: the guest.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._init: Optional[str] = None

    @property
    def init(self) -> str:
        """The init system: "systemd", "openrc", "sysvinit", "runit", "s6", "dinit", "busybox" or "none"."""
        if self._init is None:
            self._init = find_init(self._system)
        return self._init

    def running(self, *names: str) -> Optional[str]:
        """The first of these services that runs now, or None. Nothing runs in a foreign root.

        Args:
            names: as ("sshd", "ssh"): one service that is named differently here and there.
        """
        if not self._system.root.is_host:
            return None
        return next((name for name in names if is_running(self._system, self.init, name)), None)

    def reload(self, *names: str) -> bool:
        """Tell the first of these services that runs to read its configuration again; none is started.

        Returns:
            False when none of them runs.

        Raises:
            CommandError: the service could not do it; it may be gone.
        """
        return self._tell("reload", names)

    def restart(self, *names: str) -> bool:
        """Restart the first of these services that runs; none is started that does not run.

        Returns:
            False when none of them runs.

        Raises:
            CommandError: it did not come back.
        """
        return self._tell("restart", names)

    def enabled(self, name: str) -> Optional[bool]:
        """The service starts at boot; None where there is no such service. Raises FileError."""
        return is_enabled(self._system, self.init, name)

    def disable(self, name: str) -> bool:
        """See to it that the service does not start at the next boots; one that runs goes on.

        By files alone, so in a foreign root as on the running system.

        Returns:
            True when something had to change.

        Raises:
            FileError: the files cannot be changed.
            MachineError: what starts it is not to be changed by files.
        """
        return self.enabled(name) is True and disable(self._system, self.init, name)

    def _tell(self, verb: str, names: tuple[str, ...]) -> bool:
        name = self.running(*names)
        argv = words(self._system, self.init, verb, name) if name is not None else None
        if name is None or argv is None:
            return False
        self._system.perform(Change("service", name, verb), argv)
        return True


def find_init(system: System) -> str:
    """The init system of a guest, by what is there: what runs, then what starts it, then what is installed."""
    if system.root.is_host:
        found = _first(system, _RUNS) or _named((system.files.read("/proc/1/comm") or b"").decode(errors="replace"))
        return found or _first(system, _HOSTS) or "none"
    found = _named((system.root.link_target("/sbin/init") or "").rpartition("/")[2])
    if found is None and not system.files.exists("/sbin/init"):
        found = _first(system, _GUESTS)
    if found in (None, "busybox") and system.files.exists("/etc/runlevels"):  # OpenRC has other first processes
        return "openrc"
    return found or _first(system, _HOSTS) or "none"


def _named(program: str) -> Optional[str]:
    return next((name for name in _PROGRAMS if name in program), None)


def _first(system: System, marks: tuple[tuple[str, tuple[str, ...]], ...]) -> Optional[str]:
    return next((name for name, paths in marks if any(system.files.exists(path) for path in paths)), None)
