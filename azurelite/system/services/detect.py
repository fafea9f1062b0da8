"""Which init system a guest has: by what runs as process 1, by what /sbin/init is, by the programs that are there.

Folders alone prove nothing: other packages bring /etc/sv, /etc/runit and /etc/rc2.d into images that have no init yet,
or another one. A guest may be entered and not booted, as images are built in a chroot or a container: what runs is then
not its own.
"""

from __future__ import annotations

import os
import re
from typing import Optional

from azurelite.errors import FileError
from azurelite.system.machine import System

_FIRST = ("systemd", "init", "openrc-init", "runit", "runit-init", "dinit", "s6-svscan", "finit", "busybox")
# Names of first processes, and what they belong to: a whole word of a path or of a script.
_NAMES = (
    ("systemd", r"systemd"),
    ("openrc", r"openrc(-init)?"),
    ("finit", r"finit"),
    ("dinit", r"dinit"),
    ("runit", r"runit(-init)?|runsvdir"),
    ("s6", r"s6-(svscan|linux-init|rc|rc-init)"),
    ("busybox", r"busybox[\w.-]*"),
)
_FOLDERS = ("/sbin", "/usr/sbin", "/bin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin")
_SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
# Programs that are nothing but first processes, or never there without one, and what they start from.
_PROGRAMS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("openrc", ("openrc-init", "openrc"), ("/etc/runlevels",)),
    ("finit", ("finit",), ()),
    ("dinit", ("dinit",), ("/etc/dinit.d",)),
    ("runit", ("runit-init",), ("/etc/runit/2",)),
    ("s6", ("s6-svscan", "s6-linux-init"), ("/etc/s6", "/etc/s6-linux-init")),
)
LOOKED_FOR = (
    "what runs as process 1, what /sbin/init is or leads to, and the programs of systemd (/usr/lib/systemd/systemd), "
    "OpenRC (openrc, with /etc/runlevels), finit, dinit (with /etc/dinit.d), runit (runit-init, with /etc/runit/2), s6 "
    "(s6-svscan, with /etc/s6 or /etc/s6-linux-init), sysvinit (/sbin/init, with /etc/inittab and /etc/rc2.d or "
    "/etc/rc3.d), and FreeBSD's /etc/rc.subr"
)
_INIT = "/sbin/init"
_LINKS = 8  # from /sbin/init on
_SCRIPT_LIMIT = 65536  # bytes


def detect(system: System) -> str:
    """The init system: one of those that can be installed for, or "none". Raises FileError."""
    if system.root.is_host and is_booted(system):
        program = (system.root.link_target("/proc/1/exe") or "").rpartition("/")[2]
        if system.files.exists("/run/systemd/system"):
            return "systemd"
        if system.files.exists("/run/openrc/softlevel"):
            return "openrc"
        found = _named(program)
        if found is not None:
            return _openrc_or(system, found)
    # What runs is another machine's, or is called init and no more: the guest is known by what lies in it.
    return _installed(System(system.root.path, dry_run=True))


def is_booted(system: System) -> bool:
    """Process 1 is an init and has this very root: no shell of a container, and not the machine around a chroot."""
    program = (system.root.link_target("/proc/1/exe") or "").rpartition("/")[2]
    try:
        first, here = os.stat(f"{system.root.path}/proc/1/root/"), os.stat(system.root.path)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (here.st_dev, here.st_ino) and program in _FIRST


def _installed(guest: System) -> str:
    there = guest.files.exists
    if there("/etc/rc.subr") and there("/etc/defaults/rc.conf"):
        return "freebsd"
    found = _by_link(guest) or _by_script(guest) or _by_file(guest)
    if found is not None:
        return _openrc_or(guest, found)
    if not there(_INIT) and any(there(path) for path in _SYSTEMD):
        return "systemd"
    found = next((init for init, names, places in _PROGRAMS if _has(guest, names) and _holds(guest, places)), None)
    if found is not None:
        return found
    # Its links come with many packages, but without an inittab it cannot boot.
    levels = ("/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc3.d")
    return "sysvinit" if there(_INIT) and there("/etc/inittab") and any(there(path) for path in levels) else "none"


def _by_link(guest: System) -> Optional[str]:
    """What /sbin/init leads to, over however many links."""
    path = _INIT
    for _ in range(_LINKS):
        target = guest.root.link_target(path)
        if target is None:
            return None
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        found = _named(os.path.basename(path)) or ("s6" if path.startswith("/etc/s6-linux-init/") else None)
        if found is not None:
            return found
    return None


def _by_script(guest: System) -> Optional[str]:
    """What /sbin/init starts, where it is a script: s6-linux-init's is one, and those of systems made by hand."""
    try:
        data = guest.root.read(_INIT, limit=_SCRIPT_LIMIT) or b""
    except OSError:
        return None
    if not data.startswith(b"#!"):
        return None
    lines = data.decode(errors="replace").splitlines()[1:]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    # BusyBox last: the small programs of a script are its own, whatever is started in the end.
    return next((init for init, name in _NAMES if re.search(rf"(?<![\w.-])({name})(?![\w-])", text)), None)


def _by_file(guest: System) -> Optional[str]:
    """Another name of a first process: /sbin/init is the same file."""
    here = guest.files.stat(_INIT)
    if here is None:
        return None
    programs = [(init, name) for init, names, _ in _PROGRAMS for name in names] + [("busybox", "busybox")]
    for init, name in programs:
        for folder in _FOLDERS:
            other = guest.files.stat(f"{folder}/{name}")
            if other is not None and (other.st_dev, other.st_ino) == (here.st_dev, here.st_ino):
                return init
    return None


def _named(program: str) -> Optional[str]:
    return next((init for init, name in _NAMES if re.fullmatch(name, program)), None)


def _openrc_or(guest: System, found: str) -> str:
    """OpenRC has other first processes, BusyBox's above all."""
    openrc = found == "busybox" and _has(guest, ("openrc",)) and guest.files.exists("/etc/runlevels")
    return "openrc" if openrc else found


def _has(guest: System, names: tuple[str, ...]) -> bool:
    try:
        return any(guest.files.exists(f"{folder}/{name}") for folder in _FOLDERS for name in names)
    except FileError:  # links in a circle: there is no program there
        return False


def _holds(guest: System, places: tuple[str, ...]) -> bool:
    return not places or any(guest.files.exists(place) for place in places)
