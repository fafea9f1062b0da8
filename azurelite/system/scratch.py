"""A folder that is root's alone and gone afterwards, for what programs want to read from or write to a file."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator

from azurelite.system.explain import explained

_MEMORY = "/run"  # of the running system: what lies there never reaches a disk


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """The host path of a new folder (0700), removed with all that is in it. Raises FileError: there is no room."""
    import tempfile

    folder = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with explained("make a folder in", folder or "/tmp"):  # noqa: S108 (only a word)
        scratch = tempfile.TemporaryDirectory(prefix="azurelite-", dir=folder)
    with scratch as path:
        yield path
