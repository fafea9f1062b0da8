"""The system's errors in words, and the two calls that everything which writes needs."""

from __future__ import annotations

import contextlib
import errno
import os
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
