"""Names that outlast a power cut: a folder is synced after its entries changed, and once for many of them.

A file's own content is synced by whoever writes it, ahead of the rename. On a disk of the cloud each sync costs
milliseconds, and making one user changes /etc a handful of times.
"""

from __future__ import annotations

import contextlib
import os
from typing import Iterator, Optional

from azurelite.errors import FileError
from azurelite.system.explain import explained


class Durability:
    """The folders of one guest that are yet to be synced."""

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
        """Sync each folder once, at the end of this, however it ends. Raises FileError.

        A process that was forked in between has a `together` of its own: what it changes is synced at its end.
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
        """Sync what has changed up to now. Raises FileError."""
        trouble: Optional[FileError] = None
        while self._open:
            folder = self._open.pop(next(iter(self._open)))  # in the order in which they changed
            try:
                with explained("sync", "a folder"):
                    os.fsync(folder)
            except FileError as error:  # the others are synced all the same
                trouble = trouble or error
            finally:
                os.close(folder)
        if trouble is not None:
            raise trouble
