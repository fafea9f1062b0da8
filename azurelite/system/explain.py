"""The system's errors in words, and the calls that everything which writes needs."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Callable, Iterator

from azurelite.clock import Deadline
from azurelite.errors import FileError


@contextlib.contextmanager
def explained(verb: str, path: str) -> Iterator[None]:
    """Turn the system's error into a FileError that names the guest path."""
    try:
        yield
    except OSError as error:
        hint = ": run as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
        raise FileError(f"cannot {verb} {path}: {error.strerror or error}{hint}") from error


def instead_of(wanted: str, found: os.stat_result) -> str:
    """What there is in the place of a file or folder, for a sentence."""
    return "a symbolic link, which is not followed" if stat.S_ISLNK(found.st_mode) else f"not a {wanted}"


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however little the system takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def lock(attempt: Callable[[], None], wait: Deadline) -> None:
    """Try for a lock until it is had. Raises BlockingIOError (EAGAIN) when the wait is over."""
    while True:
        try:
            return attempt()
        except (BlockingIOError, PermissionError):
            if wait.remaining() <= 0:
                raise OSError(errno.EAGAIN, "another program holds its lock") from None
            wait.clock.sleep(0.1)


def beside(name: str) -> str:
    """The temporary name of a file in the same folder, which takes the place of `name` when it is whole."""
    return f".{name}.azurelite"


def open_beside(folder: int, name: str, *, flags: int = os.O_WRONLY) -> int:
    """A descriptor of a new file (0600) of the temporary name, in place of one that was left there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside(name), dir_fd=folder)
    return os.open(beside(name), flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


@contextlib.contextmanager
def replacing(folder: int, name: str, *, flags: int = os.O_WRONLY) -> Iterator[int]:
    """A descriptor of a new file (0600) that takes the place of `name` at the end; on an error nothing is left of it.

    Raises:
        OSError: what the system says.
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
