"""Hyper-V KVP: the second way to tell the host something, through a file and without any network.

A pool is a row of records, 512 bytes of key and 2048 of value, UTF-8, padded with NULs. The host reads fewer
bytes of each than fit, and reads them only while provisioning goes on, so the record is written ahead of the
health report.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from typing import Callable

from azurelite import layout
from azurelite.clock import Clock, Deadline
from azurelite.errors import FileError
from azurelite.system.explain import explained, lock, write_all
from azurelite.system.files import READ_LIMIT, Files

LOG = logging.getLogger(__name__)

REPORT_KEY = "PROVISIONING_REPORT"
_KEY_SIZE = 512
_VALUE_SIZE = 2048
_RECORD_SIZE = _KEY_SIZE + _VALUE_SIZE
_LOCK_WAIT = 1.0  # seconds
_VALUE_LIMIT = 1022  # bytes; the host's driver passes no more on


def write_report(files: Files, value: str, *, clock: Clock) -> None:
    """Write the provisioning report for the host, where this machine has a KVP pool at all.

    A failure is logged and nothing more: the health report is what counts.

    Args:
        files: the guest's files; in a dry run nothing is written.
        value: the report's text; cut to what the host reads.
        clock: for the wait while another program holds the pool.
    """
    pool_folder = layout.KVP_POOL.rpartition("/")[0]
    try:
        if files.dry_run or not files.is_dir(pool_folder):
            return
        wait = Deadline(clock, _LOCK_WAIT)
        rewrite_shared(files, layout.KVP_POOL, lambda pool: upsert(pool, REPORT_KEY, value), wait=wait)
    except FileError as error:
        LOG.warning("no report to the host through KVP: %s", error)


def upsert(pool: bytes, key: str, value: str) -> bytes:
    """The pool with one record of that key: the last of its records replaced, or a new one at the end."""
    usable = len(pool) - len(pool) % _RECORD_SIZE  # a torn record at the end is overwritten
    record = key.encode().ljust(_KEY_SIZE, b"\0") + _cut(value).ljust(_VALUE_SIZE, b"\0")
    for start in range(usable - _RECORD_SIZE, -1, -_RECORD_SIZE):
        if pool[start : start + _KEY_SIZE].rstrip(b"\0") == key.encode():
            return pool[:start] + record + pool[start + _RECORD_SIZE : usable]
    return pool[:usable] + record


def _cut(value: str) -> bytes:
    """UTF-8 bytes, cut between two characters."""
    return value.encode(errors="replace")[:_VALUE_LIMIT].decode(errors="ignore").encode()


def rewrite_shared(files: Files, path: str, transform: Callable[[bytes], bytes], *, wait: Deadline) -> None:
    """Change a file in place under both kinds of lock (0600 if it is new); with no record.

    Args:
        files: the guest's files.
        path: guest path.
        transform: from the old content to the new.
        wait: how long another program may hold the locks.

    Raises:
        FileError: the system refused, or the locks were held for too long.
    """
    with explained("write", path), files.parent(path) as (folder, name):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        with open(descriptor, "r+b", buffering=0) as shared:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            lock(lambda: fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # cloud-init's kind
            lock(lambda: fcntl.lockf(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # the Hyper-V daemon's
            before = shared.read(READ_LIMIT) or b""
            after = transform(before)
            shared.seek(0)
            write_all(shared.fileno(), after)
            shared.truncate(len(after))
