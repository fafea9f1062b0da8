"""Hyper-V KVP (key-value pairs): a second way to report to the host, through a file and without a network.

A pool file is a sequence of records: 512 bytes of key and 2048 bytes of value, UTF-8, padded with NULs. The host reads
fewer bytes than fit, and only until provisioning ends. So the record is written before the health report.
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
VALUE_LIMIT = 1022  # bytes; the driver passes on no more


def write_report(files: Files, value: str, *, clock: Clock) -> None:
    """Write the provisioning report for the host, where this machine has a KVP pool.

    A failure is only logged, because the health report is the one that counts.

    Args:
        files: the guest's files; in a dry run nothing is written.
        value: the report's text; cut to 1022 bytes.
        clock: for the wait (at most 1 s) while another program has locked the pool.
    """
    pool_folder = layout.KVP_POOL.rpartition("/")[0]
    try:
        if files.dry_run or not files.is_dir(pool_folder):
            return
        wait = Deadline(clock, _LOCK_WAIT)
        rewrite_shared(files, layout.KVP_POOL, lambda pool: upsert(pool, REPORT_KEY, value), wait=wait)
    except FileError as error:
        LOG.warning("kvp: report not written: %s", error)


def upsert(pool: bytes, key: str, value: str) -> bytes:
    """The pool with this key set: its last record of that key replaced, or a new one appended.

    All older records of the key are removed: a captured image brings those of another VM, and a host that reads the
    first one would show that VM's failure.
    """
    usable = len(pool) - len(pool) % _RECORD_SIZE  # an incomplete record at the end is overwritten
    record = key.encode().ljust(_KEY_SIZE, b"\0") + _cut(value).ljust(_VALUE_SIZE, b"\0")
    records = [pool[start : start + _RECORD_SIZE] for start in range(0, usable, _RECORD_SIZE)]
    own = [place for place, old in enumerate(records) if old[:_KEY_SIZE].rstrip(b"\0") == key.encode()]
    if not own:
        return b"".join([*records, record])
    kept = (record if place == own[-1] else old for place, old in enumerate(records) if place not in own[:-1])
    return b"".join(kept)


def _cut(value: str) -> bytes:
    """The value as UTF-8, cut to VALUE_LIMIT between two characters."""
    return value.encode(errors="replace")[:VALUE_LIMIT].decode(errors="ignore").encode()


def rewrite_shared(files: Files, path: str, transform: Callable[[bytes], bytes], *, wait: Deadline) -> None:
    """Change a file in place under both kinds of lock (mode 0600 if it is new); no Change is recorded.

    Args:
        files: the guest's files.
        path: guest path.
        transform: returns the new content for the old one.
        wait: the deadline for getting the locks.

    Raises:
        FileError: an error of the system, or another program held a lock until the deadline.
    """
    with explained("write", path), open(files.open_shared(path), "r+b", buffering=0) as shared:
        if not stat.S_ISREG(os.fstat(shared.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        lock(lambda: fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # cloud-init's kind
        lock(lambda: fcntl.lockf(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # the Hyper-V daemon's
        before = shared.read(READ_LIMIT) or b""
        after = transform(before)
        shared.seek(0)
        write_all(shared.fileno(), after)
        shared.truncate(len(after))
