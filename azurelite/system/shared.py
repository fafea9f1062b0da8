"""Files that another program writes as well: changed in place, under both kinds of lock."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Callable

from azurelite.clock import Deadline
from azurelite.system.explain import explained, lock, write_all
from azurelite.system.files import READ_LIMIT, Files


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
