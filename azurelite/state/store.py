"""What azurelite remembers between boots: which VM is provisioned, which handlers are done, what was changed.

It is stored in /var/lib/azurelite, which only root can read. A dry run stores nothing.
"""

from __future__ import annotations

import json
import logging
from typing import Callable, Mapping, Optional

from azurelite import layout
from azurelite.clock import Clock, iso_utc
from azurelite.config.load import Frequency
from azurelite.errors import FileError
from azurelite.state import manifest, marker
from azurelite.system.changes import Change
from azurelite.system.explain import explained
from azurelite.system.files import Files
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)
KEPT_PASSWORD = "user-password"  # noqa: S105  # name in the memory: the first boot is over, keep the password


class State:
    """What one guest remembers about one VM.

    If it cannot be written (read-only file system), that is logged once and does not fail the run: the next boot then
    does the work again.

    Args:
        system: the guest.
        vm_id: the VM; None if it is unknown: then only the manifest is kept.
        clock: for time stamps.

    Attributes:
        memory: what handlers remember about this VM.
        step: the handler that runs now, for the manifest.
    """

    def __init__(self, system: System, vm_id: Optional[str], clock: Clock) -> None:
        self._system = system
        self._clock = clock
        self._vm_id = vm_id and (marker.provisioned_as(system.root, vm_id) or vm_id)
        self._writable = not system.dry_run
        self.memory = Memory(system.files, self._vm_id)
        self.step = ""

    def is_provisioned(self, *, reporting: bool) -> bool:
        """Whether this VM is done.

        Args:
            reporting: whether `report_ready` is configured; if so, Azure must also have accepted Ready.
        """
        root, vm_id = self._system.root, self._vm_id
        if vm_id is None:
            return False
        return marker.reported(root, vm_id) if reporting else marker.provisioned_as(root, vm_id) is not None

    def is_finished(self, handler: str, frequency: Frequency, *, inputs: Optional[str]) -> bool:
        """Whether the handler is done for this VM or, with frequency "once", on this machine.

        Args:
            handler: its name.
            frequency: how often it runs.
            inputs: a digest of its options and metadata now; None if unknown. A handler that was done with other
                inputs is not done.
        """
        path = self._record(handler, frequency)
        try:
            record = json.loads(self._system.files.read(path) or b"null") if path is not None else None
        except (FileError, ValueError):
            return False
        if not isinstance(record, dict):
            return False
        return frequency == "once" or inputs is None or record.get("inputs") == inputs

    def finish(self, handler: str, frequency: Frequency, *, inputs: Optional[str], lasting: bool) -> None:
        """Remember that the handler is done with these inputs.

        Args:
            handler: its name.
            frequency: how often it runs.
            inputs: a digest of its options and metadata.
            lasting: keep the record across a power cut. Most handlers can run again without harm.
        """
        record = self._record(handler, frequency)
        if record is not None:
            text = json.dumps({"handler": handler, "finished": iso_utc(self._clock.now()), "inputs": inputs})
            self._keep(lambda: self._put(record, text + "\n", lasting=lasting or frequency == "once"))

    def reopen(self, handler: str, frequency: Frequency) -> None:
        """Forget that the handler is done."""
        record = self._record(handler, frequency)
        if record is not None and not self._system.dry_run:
            self._keep(lambda: self._system.files.remove(record))

    def forget(self) -> None:
        """Forget that this VM and its handlers are done, so that everything runs again."""
        if self._vm_id is None:
            return
        folder, path = f"{layout.vm_folder(self._vm_id)}/handlers", marker.marker_path(self._vm_id)
        if self._writable and marker.provisioned_as(self._system.root, self._vm_id) is not None:
            self.memory.remember(KEPT_PASSWORD, "kept\n")  # the administrator may have changed it since

        def remove() -> None:
            self._system.files.remove(path)
            for name in self._system.files.names(folder):
                self._system.files.remove(f"{folder}/{name}")
            memory = self.memory.vm_folder + "/memory"
            for name in self._system.files.names(memory):
                if name.endswith("-scripts"):  # which of the user's scripts were started
                    self._system.files.remove(f"{memory}/{name}")

        self._keep(remove)

    def heal(self) -> None:
        """Remove the marker that an older release kept for a VM whose id was unknown, as an image may bring it."""
        path = marker.marker_path(layout.NO_VM_ID)
        if self._writable and marker.exists(self._system.root, path, unsure=False):
            LOG.warning("state: %s is of no VM: it came with the image and is removed", path)
            self._keep(lambda: self._system.files.remove(path))

    def mark_provisioned(self, *, config_file: Optional[str], every_boot: bool, unreported: bool) -> None:
        """Remember that this VM is done: after Azure has accepted Ready, or if `report_ready` is not configured."""
        text = marker.marker_text(
            self._system.root, config_file=config_file, every_boot=every_boot, unreported=unreported
        )
        if self._vm_id is None:
            return
        path = marker.marker_path(self._vm_id)

        def write() -> None:
            if self._system.files.read(path) != text.encode():
                self._put(path, text)

        self._keep(write)

    def owed(self) -> dict[str, int]:
        """The steps to retry at a later boot -> the number of retries so far."""
        try:
            record = json.loads(self._system.files.read(self._owed_file()) or b"{}")
        except (FileError, ValueError):
            return {}
        return (
            {key: tries for key, tries in record.items() if isinstance(tries, int)} if isinstance(record, dict) else {}
        )

    def owe(self, tries: Mapping[str, int]) -> None:
        """Remember the steps to retry at a later boot -> the number of retries so far."""
        if dict(tries) == self.owed():
            return
        path = self._owed_file()
        self._keep(
            lambda: self._put(path, json.dumps(dict(tries)) + "\n") if tries else self._system.files.remove(path)
        )

    def _owed_file(self) -> str:
        return f"{layout.vm_folder(self._vm_id)}/owed"

    def keep_media(self, document: bytes) -> None:
        """Keep a copy of ovf-env.xml without its secrets, because the disc exists at the first boot only."""
        if self._vm_id is not None:
            path = layout.saved_media(self._vm_id)
            self._keep(lambda: self._put(path, document.decode(errors="replace")))

    def note_change(self, change: Change) -> None:
        """Add a change to the manifest, so that it can be undone before an image is captured."""
        row = manifest.row_text(self._vm_id, self.step, change)

        def append() -> None:
            files = self._system.files
            if change.kind == manifest.ACCOUNT and manifest.knows_account(files, change):
                return  # a second run finds the account that the first one made or adopted
            files.make_own_folder(layout.STATE_DIR, lasting=False)
            files.append_line(layout.MANIFEST, row)

        self._keep(append)

    def _record(self, handler: str, frequency: Frequency) -> Optional[str]:
        if frequency == "boot":
            return None
        folder = layout.ONCE_DIR if frequency == "once" else f"{layout.vm_folder(self._vm_id)}/handlers"
        return f"{folder}/{handler}"

    def _put(self, path: str, text: str, *, lasting: bool = True) -> None:
        files = self._system.files
        with files.durability.together():
            files.make_own_folder(path.rpartition("/")[0], lasting=lasting)
            files.put(path, text.encode(), mode=0o600, owner=None, lasting=lasting)
            if lasting:  # an earlier record may have made the folders without a sync
                sync_folders(files, path, below=layout.STATE_DIR)

    def _keep(self, write: Callable[[], None]) -> None:
        if not self._writable:
            return
        try:
            write()
        except FileError as error:
            self._writable = False
            LOG.warning("state: %s; the next boot will provision again", error)


class Memory:
    """Texts that handlers remember about one VM.

    Args:
        files: the guest's files.
        vm_id: the VM; None if it is unknown: then they are forgotten at the end.

    Attributes:
        vm_id: as given.
        vm_folder: guest path of the records of this VM.
    """

    def __init__(self, files: Files, vm_id: Optional[str]) -> None:
        self._files = files
        self._unknown: dict[str, str] = {}
        self.vm_id = vm_id
        self.vm_folder = layout.vm_folder(vm_id)
        self._folder = f"{self.vm_folder}/memory"

    def recall(self, name: str) -> Optional[str]:
        """The text with that name (letters, digits, `_`, `-`); None if there is none."""
        if self.vm_id is None:
            return self._unknown.get(name)
        try:
            return self._files.text(f"{self._folder}/{name}")
        except FileError as error:
            LOG.debug("state: %s", error)
            return None

    def remember(self, name: str, text: str) -> bool:
        """Store a text under a name, so that it survives a power cut.

        Returns:
            False if it cannot be stored (read-only file system), which is logged.
        """
        if self.recall(name) == text:
            return True
        if self.vm_id is None:
            self._unknown[name] = text
            return True
        try:
            self._files.make_own_folder(self._folder)
            if self._files.dry_run:
                self._files.expect_file(f"{self._folder}/{name}", text.encode())
                return True
            self._files.durability.settle()  # the text may say that other writes are done: sync them first
            self._files.put(f"{self._folder}/{name}", text.encode(), mode=0o600, owner=None)
            sync_folders(self._files, f"{self._folder}/{name}", below=layout.STATE_DIR)
            self._files.durability.settle()
        except FileError as error:
            LOG.warning("state: cannot remember %s: %s", name, error)
            return False
        return True


def sync_folders(files: Files, path: str, *, below: str) -> None:
    """Sync the folders from `below` down to this file, so that their names survive a power cut. Raises FileError."""
    while path.startswith(below):
        with explained("sync", path), files.parent(path) as (folder, _):
            files.durability.note(folder)
        path = path.rpartition("/")[0]
