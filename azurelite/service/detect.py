"""Which init system a guest has, beyond what `system/services.py` knows: finit, FreeBSD's, and BusyBox's by any name.

A guest may be entered and not booted, as images are built in a chroot or a container: what runs is then not its own.
"""

from __future__ import annotations

import os

from azurelite.service.layouts import S6_SCANNED
from azurelite.system.machine import System
from azurelite.system.services import find_init

_FIRST = ("systemd", "init", "openrc-init", "runit", "runit-init", "dinit", "s6-svscan", "finit", "busybox")


def detect(system: System) -> str:
    """The init system: one of those that can be installed for, or "none". Raises FileError."""
    if system.root.is_host and is_booted(system):
        return _named(system, (system.root.link_target("/proc/1/exe") or "").rpartition("/")[2])
    # What runs is another machine's: as a foreign root is known by what lies in it.
    guest = System(system.root.path, dry_run=True)
    guest.root.is_host = False
    return _named(guest, (system.root.link_target("/sbin/init") or "").rpartition("/")[2])


def is_booted(system: System) -> bool:
    """Process 1 is an init and has this very root: no shell of a container, and not the machine around a chroot."""
    program = (system.root.link_target("/proc/1/exe") or "").rpartition("/")[2]
    try:
        first, here = os.stat(f"{system.root.path}/proc/1/root/"), os.stat(system.root.path)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (here.st_dev, here.st_ino) and program in _FIRST


def _named(system: System, program: str) -> str:
    there = system.files.exists
    if program == "finit" or (not there("/sbin/init") and there("/etc/finit.conf")):
        return "finit"
    if program.startswith("busybox") and not there("/etc/runlevels"):
        return "busybox"
    if there("/etc/rc.subr") and there("/etc/defaults/rc.conf"):
        return "freebsd"
    found = find_init(system)
    if found == "sysvinit" and not there("/etc/inittab"):
        # Its links come with many packages, but without an inittab it cannot boot; s6 has hand-made first processes.
        return "s6" if any(system.files.is_dir(folder) for folder in S6_SCANNED) else found
    return found
