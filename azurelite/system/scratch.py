"""Temporary folders (0700) and files (0600) that only root can use, for input and output of programs."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Iterator, Sequence

from azurelite.errors import FileError
from azurelite.system.explain import explained, write_all

LOG = logging.getLogger(__name__)

_MEMORY = "/run"  # a tmpfs: its content never reaches a disk


@contextlib.contextmanager
def scratch_folder(
    within: Sequence[str] = (), *, executable: bool = False, holds: str = "temporary files"
) -> Iterator[str]:
    """The host path of a new folder, which is removed with its content; a failure to remove it is logged.

    Args:
        within: host paths of possible parent folders, the first usable one counts; by default /run, else /tmp.
        executable: programs will be run from there: many systems mount /run or /tmp noexec.
        holds: its content, for the log.

    Raises:
        FileError: it cannot be created in any of them.
    """
    import shutil

    path = new_folder(within or ([_MEMORY] if os.access(_MEMORY, os.W_OK) else [_tmp()]), executable=executable)
    try:
        yield path
    finally:
        try:
            shutil.rmtree(path)
        except OSError as error:
            LOG.warning("cannot remove %s: %s: remove it yourself, it contains %s", path, error.strerror, holds)


def put_private(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file in such a folder; an existing file keeps its mode. Raises FileError."""
    with explained("write", path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)


def new_folder(within: Sequence[str], *, executable: bool = False) -> str:
    """The host path of a new folder that the caller removes; see `scratch_folder`. Raises FileError."""
    import tempfile

    why = ""
    for parent in within:
        try:
            if executable and os.statvfs(parent).f_flag & os.ST_NOEXEC:
                why = "it is mounted noexec"
                continue
            return tempfile.mkdtemp(prefix="azurelite-", dir=parent)
        except OSError as error:
            why = error.strerror or str(error)
    raise FileError(f"cannot create a folder in {', '.join(within)}: {why}")


def _tmp() -> str:
    import tempfile

    return tempfile.gettempdir()
