"""Folders (0700) and files (0600) of root's alone that are gone afterwards, for what programs read or write."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Iterator, Sequence

from azurelite.errors import FileError
from azurelite.system.explain import explained, write_all

LOG = logging.getLogger(__name__)

_MEMORY = "/run"  # of the running system: what is written there never reaches a disk


@contextlib.contextmanager
def scratch_folder(
    within: Sequence[str] = (), *, executable: bool = False, holds: str = "temporary files"
) -> Iterator[str]:
    """The host path of a new folder, removed with all that is in it; that it cannot be removed is logged.

    Args:
        within: host paths of the folders to make it in, the first that is fit; /run or else /tmp when left out.
        executable: programs are to be run from there: many systems mount /run or /tmp noexec.
        holds: what is in it, for the log.

    Raises:
        FileError: it cannot be made in any of them.
    """
    import shutil

    path = _make(within or ([_MEMORY] if os.access(_MEMORY, os.W_OK) else [_tmp()]), executable=executable)
    try:
        yield path
    finally:
        try:
            shutil.rmtree(path)
        except OSError as error:
            LOG.warning("%s holds %s and cannot be removed: %s", path, holds, error.strerror)


def put_private(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file in such a folder; what is there already keeps its mode. Raises FileError."""
    with explained("write", path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)


def _make(within: Sequence[str], *, executable: bool) -> str:
    import tempfile

    why = ""
    for parent in within:
        try:
            if executable and os.statvfs(parent).f_flag & os.ST_NOEXEC:
                why = "nothing may be executed there"
                continue
            return tempfile.mkdtemp(prefix="azurelite-", dir=parent)
        except OSError as error:
            why = error.strerror or str(error)
    raise FileError(f"cannot make a folder in {', '.join(within)}: {why}")


def _tmp() -> str:
    import tempfile

    return tempfile.gettempdir()
