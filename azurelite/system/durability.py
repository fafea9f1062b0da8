"""Syncing folders so that new names survive a power cut: once for many changed entries. Also files that grow by lines.

The writer of a file syncs its content before the rename. On a cloud disk each sync takes milliseconds, and creating one
user changes /etc several times.
"""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, Optional

from azurelite.errors import FileError
from azurelite.system.explain import explained


class Durability:
    """The folders of one guest, and files that were appended to, that still have to be synced."""

    def __init__(self) -> None:
        self._later = False
        self._open: dict[tuple[int, int], int] = {}

    def note(self, folder: int) -> None:
        """An entry of this open folder has changed: sync it, now or at the end of `together`. Raises OSError."""
        if not self._later:
            os.fsync(folder)
            return
        found = os.fstat(folder)
        place = (found.st_dev, found.st_ino)
        if place not in self._open:
            self._open[place] = os.dup(folder)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Sync each folder once at the end of the block, also after an error. Raises FileError.

        A process forked inside the block has its own `together`, which syncs its changes.
        """
        outside = self._later, self._open
        self._later, self._open = True, {}
        try:
            yield
        finally:
            try:
                self.settle()
            finally:
                self._later, self._open = outside

    def settle(self) -> None:
        """Sync the folders that have changed so far. Raises FileError."""
        trouble: Optional[FileError] = None
        while self._open:
            folder = self._open.pop(next(iter(self._open)))  # in the order of their changes
            try:
                with explained("sync", "a folder"):
                    os.fsync(folder)
            except FileError as error:  # continue with the other folders
                trouble = trouble or error
            finally:
                os.close(folder)
        if trouble is not None:
            raise trouble
