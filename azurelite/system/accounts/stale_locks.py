"""Locks and temporary files that a crash left beside the account files.

shadow-utils hold `/etc/passwd.lock` and its like, each with the number of the process, and `/etc/.pwd.lock` as the C
library does. After a power cut the files stay, perhaps empty, and after the next boot another process may have the
number: then useradd would refuse to work for ever. The C library's lock ends with its process, so whoever holds that
one knows that no other program is at work.
"""

from __future__ import annotations

import logging
import os

from azurelite.clock import Clock
from azurelite.system.files import Files
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)
_TABLES = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")


def stale_files(root: Root, clock: Clock) -> list[str]:
    """The locks and temporary files that no running program needs. The caller holds /etc/.pwd.lock.

    A lock counts as stale if it is older than this boot, if its process does not run, or if that process started after
    the lock was made.

    Args:
        root: the guest, with its `/proc`.
        clock: what the times of files are compared with.

    Raises:
        OSError: /etc cannot be read.
    """
    found = []
    uptime = root.text("/proc/uptime").split()
    if not uptime:  # without /proc, no process would seem to run
        return []
    booted = clock.now() - float(uptime[0])
    for name in root.names("/etc"):
        path = f"/etc/{name}"
        table, dot, end = name.partition(".")
        if table in _TABLES and dot and (end == "lock" or end.isdigit()):
            if _is_stale(root, path, booted, owner="" if end == "lock" else end):
                found.append(path)
        elif name.endswith("+") and name[:-1] in _TABLES:
            found.append(path)
    return found


def locks(root: Root) -> list[str]:
    """The locks of shadow-utils that are there, stale or not."""
    paths = (f"/etc/{table}.lock" for table in _TABLES)
    return [path for path in paths if root.stat(path, beneath=path) is not None]


def remove_stale_files(files: Files, clock: Clock) -> None:
    """Remove them and record that; the caller holds /etc/.pwd.lock, or it is a dry run. Raises FileError."""
    for path in stale_files(files.root, clock):
        files.delete(path)


def _is_stale(root: Root, path: str, booted: float, *, owner: str) -> bool:
    found = root.stat(path, beneath=path)
    if found is None:
        return False
    number = owner or root.text(path).strip("\0 \n")
    if found.st_mtime < booted - 1 or not (number.isascii() and number.isdigit()):
        return True
    started = root.text(f"/proc/{number}/stat").rpartition(")")[2].split()
    if len(started) < 20:  # it does not run
        return True
    return booted + int(started[19]) / os.sysconf("SC_CLK_TCK") > found.st_mtime + 1
