"""Errors of the operating system as messages, and helpers for writing files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Callable, Iterator

from azurelite.clock import Deadline
from azurelite.errors import FileError

_FULL = ": free space there, or give the VM a larger disk"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: ": mount it writable before azurelite starts",
}


@contextlib.contextmanager
def explained(verb: str, path: str) -> Iterator[None]:
    """Convert an OSError to a FileError that names the guest path."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            hint = ": run as root"
        raise FileError(f"cannot {verb} {path}: {error.strerror or error}{hint}") from error


def instead_of(wanted: str, found: os.stat_result) -> str:
    """What was found instead of a file or folder, as the end of a sentence."""
    return "a symbolic link, which is not followed" if stat.S_ISLNK(found.st_mode) else f"not a {wanted}"


def write_all(descriptor: int, data: bytes) -> None:
    """Write all data, also after partial writes. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def lock(attempt: Callable[[], None], wait: Deadline, *, waiting: Callable[[], object] = lambda: None) -> None:
    """Retry to take a lock every 0.1 s. Raises BlockingIOError (EAGAIN) at the deadline.

    `waiting` is called before each retry.
    """
    while True:
        try:
            return attempt()
        except (BlockingIOError, PermissionError):
            if wait.remaining() <= 0:
                raise OSError(errno.EAGAIN, "another program holds the lock") from None
            waiting()
            wait.clock.sleep(0.1)


def beside(name: str) -> str:
    """The temporary name of a file, in the same folder, that replaces `name` when it is complete."""
    return f".{name}.azurelite"


def open_beside(folder: int, name: str, *, flags: int = os.O_WRONLY) -> int:
    """Create a file (0600) with the temporary name, after removing an old one; its descriptor. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside(name), dir_fd=folder)
    return os.open(beside(name), flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


@contextlib.contextmanager
def replacing(folder: int, name: str, *, flags: int = os.O_WRONLY) -> Iterator[int]:
    """A descriptor of a new file (0600) that replaces `name` at the end; on an error it is removed.

    Raises:
        OSError: a system call failed.
    """
    descriptor = open_beside(folder, name, flags=flags)
    done = False
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        os.rename(beside(name), name, src_dir_fd=folder, dst_dir_fd=folder)
        done = True
    finally:
        if not done:
            with contextlib.suppress(OSError):
                os.unlink(beside(name), dir_fd=folder)
