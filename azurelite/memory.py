"""What handlers remember from run to run about this VM, beside that they are through: small texts by name.

It lies below /var/lib/azurelite, which only root can look into. A dry run remembers nothing beyond its end.
"""

from __future__ import annotations

import logging
from typing import Optional

from azurelite import layout
from azurelite.errors import FileError
from azurelite.system.explain import explained
from azurelite.system.files import Files

LOG = logging.getLogger(__name__)


class Memory:
    """The memory of one guest about one VM.

    Args:
        files: the guest's files.
        vm_id: whose memory.

    Attributes:
        vm_folder: guest path of all that is remembered about this VM.
    """

    def __init__(self, files: Files, vm_id: str) -> None:
        self._files = files
        self.vm_folder = layout.vm_folder(vm_id)
        self._folder = f"{self.vm_folder}/memory"

    def recall(self, name: str) -> Optional[str]:
        """The text remembered under that name (letters, digits, `_`, `-`), or None."""
        try:
            data = self._files.read(f"{self._folder}/{name}")
        except FileError as error:
            LOG.debug("%s", error)
            return None
        return None if data is None else data.decode(errors="replace")

    def remember(self, name: str, text: str) -> bool:
        """Keep a text under a name; once this returns it outlasts a power cut.

        Returns:
            False when it cannot be kept (read-only file system), which is said and no failure of its own.
        """
        if self.recall(name) == text:
            return True
        try:
            self._files.make_own_folder(layout.STATE_DIR, mode=0o700)
            self._files.make_own_folder(self._folder, mode=0o700)
            if self._files.dry_run:
                self._files.expect_file(f"{self._folder}/{name}", text.encode())
                return True
            self._files.durability.settle()  # what is remembered is often that something else is done
            self._files.put(f"{self._folder}/{name}", text.encode(), mode=0o600, owner=None)
            sync_folders(self._files, f"{self._folder}/{name}", below=layout.STATE_DIR)
            self._files.durability.settle()
        except FileError as error:
            LOG.warning("%s cannot be remembered: %s", name, error)
            return False
        return True


def sync_folders(files: Files, path: str, *, below: str) -> None:
    """Let the names of the folders from `below` down to this file outlast a power cut. Raises FileError."""
    while path.startswith(below):
        with explained("sync", path), files.parent(path) as (folder, _):
            files.durability.note(folder)
        path = path.rpartition("/")[0]
