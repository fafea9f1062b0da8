"""Locks of package managers: whether another program holds one, and which program that is.

A distribution's own timers install updates at a first boot. Some managers then wait, others fail at once, and apt waits
for only one of its locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
from typing import Callable, Literal, Optional, Sequence

from azurelite.clock import Deadline
from azurelite.errors import CommandError
from azurelite.record import Record
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)
_PAUSE = 0.5  # seconds between two looks
_FLOCK = "hhqqi4x"  # Linux's `struct flock`: type, whence, start, length, pid


class PackageLock(Record):
    """A lock file of a package manager.

    Attributes:
        path: guest path.
        kind: how it shows that it is held: by a lock of the kernel on the file, by the number of a running process in
            it, or by its existence.
        programs: who creates it, for a file that counts by its existence: without them it is left from a crash.
    """

    path: str
    kind: Literal["kernel", "pid", "file"] = "kernel"
    programs: tuple[str, ...] = ()

    def holder(self, root: Root) -> Optional[str]:
        """Who holds it, in words; None if it is free, absent or cannot be read."""
        if self.kind == "pid":
            number = root.text(self.path).strip()
            known = number.isascii() and number.isdigit() and _name(root, int(number)) != ""
            return _named(root, int(number)) if known else None
        if self.kind == "file":
            with contextlib.suppress(OSError):
                if root.stat(self.path) is not None:
                    return _first_running(root, self.programs)
            return None
        pid = _kernel_holder(root, self.path)
        return None if pid is None else _named(root, pid)


# Where each manager has its locks. dnf, yum, emerge and pkg wait themselves.
_RPM = (PackageLock("/var/lib/rpm/.rpm.lock"), PackageLock("/usr/lib/sysimage/rpm/.rpm.lock"))
LOCKS = {
    "apt-get": (
        PackageLock("/var/lib/dpkg/lock-frontend"),
        PackageLock("/var/lib/dpkg/lock"),
        PackageLock("/var/lib/apt/lists/lock"),
        PackageLock("/var/cache/apt/archives/lock"),
    ),
    "dnf5": _RPM,
    "dnf": _RPM,
    "tdnf": (*_RPM, PackageLock("/var/run/.tdnf-instance-lockfile")),
    "microdnf": _RPM,
    "yum": (*_RPM, PackageLock("/var/run/yum.pid", "pid")),
    "zypper": (*_RPM, PackageLock("/run/zypp.pid", "pid")),
    "apk": (PackageLock("/lib/apk/db/lock"), PackageLock("/usr/lib/apk/db/lock")),
    "pacman": (PackageLock("/var/lib/pacman/db.lck", "file", ("pacman", "packagekitd", "pamac", "yay", "paru")),),
    "xbps-install": (PackageLock("/var/db/xbps/lock"), PackageLock("/var/db/xbps/pkgdb-0.38.plist")),
    "opkg": (PackageLock("/var/lock/opkg.lock"), PackageLock("/run/opkg.lock")),
}


def wait_for_locks(
    root: Root, manager: str, wait: Deadline, *, waiting: Optional[Callable[[str], None]] = None
) -> None:
    """Wait until no other program holds a lock of this manager; the log says what is waited for.

    Args:
        root: the running system.
        manager: the manager's program.
        wait: the longest wait.
        waiting: called now and then during the wait, with what is waited for.

    Raises:
        CommandError: a lock is still held at the deadline.
    """
    told = ""
    while True:
        held = held_lock(root, LOCKS.get(manager, ()))
        if held is None:
            return
        if held != told:
            LOG.info("packages: %s waits: %s", manager, held)
            told = held
        if wait.remaining() <= 0:
            raise CommandError(f"{manager} was not run: {held}: let that end, or stop it")
        if waiting is not None:
            waiting(f"{manager}: {held}")
        wait.clock.sleep(_PAUSE)


def held_lock(root: Root, locks: Sequence[PackageLock]) -> Optional[str]:
    """A sentence that names the first of these locks that is held and who holds it, or None."""
    for lock in locks:
        who = lock.holder(root)
        if who is not None:
            return f"{who} holds {lock.path}"
    return None


def _kernel_holder(root: Root, path: str) -> Optional[int]:
    """The process that holds a lock on the file (0: the kernel does not say which); None if there is none."""
    try:
        folder, name = root.open_parent(path)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        if kind != fcntl.F_UNLCK:
            return max(int(pid), 0)  # -1: a lock of an open file, not of a process
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return 0 if error.errno in (errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(descriptor)
    return None


def _first_running(root: Root, programs: Sequence[str]) -> Optional[str]:
    for pid in sorted(int(name) for name in root.names("/proc") if name.isdigit()):
        if _name(root, pid) in programs:
            return _named(root, pid)
    return None


def _name(root: Root, pid: int) -> str:
    return root.text(f"/proc/{pid}/comm").strip()


def _named(root: Root, pid: int) -> str:
    name = _name(root, pid) if pid else ""
    return f"{name} (process {pid})" if name else "another program"
