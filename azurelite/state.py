"""What azurelite remembers between boots: which VM was provisioned, which handlers are through, what was written.

All of it lies below /var/lib/azurelite, which only root can look into. A dry run remembers nothing.
"""

from __future__ import annotations

import json
import logging
from typing import Callable, Optional

from azurelite import layout, quick
from azurelite.clock import Clock, iso_utc
from azurelite.config import Frequency
from azurelite.errors import FileError
from azurelite.system.changes import Change
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)


class State:
    """The memory of one guest about one VM id.

    A state that cannot be written (read-only file system) is said once and does not fail the run: the next
    boot then does the work again.

    Args:
        system: the guest.
        vm_id: whose memory.
        clock: for time stamps.
    """

    def __init__(self, system: System, vm_id: str, clock: Clock) -> None:
        self._system = system
        self._clock = clock
        self._vm_id = quick.provisioned_as(system.root, vm_id) or vm_id
        self._writable = not system.dry_run

    def is_provisioned(self) -> bool:
        """Azure has accepted Ready for this VM, and the run that reported it came to its end."""
        return quick.provisioned_as(self._system.root, self._vm_id) is not None

    def is_finished(self, handler: str, frequency: Frequency) -> bool:
        """The handler has done its work, for this VM or, with frequency "once", on this machine."""
        record = self._record(handler, frequency)
        return record is not None and self._system.root.stat(record) is not None

    def finish(self, handler: str, frequency: Frequency) -> None:
        """Remember that the handler has done its work."""
        record = self._record(handler, frequency)
        if record is not None:
            text = json.dumps({"handler": handler, "finished": iso_utc(self._clock.now())})
            self._keep(lambda: self._put(record, text + "\n"))

    def mark_provisioned(self, *, config_file: Optional[str], every_boot: bool) -> None:
        """Remember that this VM is done. Only after Azure has accepted Ready."""
        text = quick.marker_text(self._system.root, config_file=config_file, every_boot=every_boot)
        path = quick.marker(self._vm_id)
        if self._system.files.read(path) != text.encode():
            self._keep(lambda: self._put(path, text))

    def note_change(self, change: Change) -> None:
        """Write a change into the manifest, so that it can be undone before the image is captured."""
        row = {"vm_id": self._vm_id, "kind": change.kind, "target": change.target, "detail": change.detail}

        def append() -> None:
            self._system.files.make_own_folder(layout.STATE_DIR, mode=0o700)
            self._system.files.append_line(layout.MANIFEST, json.dumps(row))

        self._keep(append)

    def _record(self, handler: str, frequency: Frequency) -> Optional[str]:
        if frequency == "boot":
            return None
        folder = layout.ONCE_DIR if frequency == "once" else f"{layout.VMS_DIR}/{self._vm_id}/handlers"
        return f"{folder}/{handler}"

    def _put(self, path: str, text: str) -> None:
        self._system.files.make_own_folder(layout.STATE_DIR, mode=0o700)
        self._system.files.make_own_folder(path.rpartition("/")[0], mode=0o700)
        self._system.files.put(path, text.encode(), mode=0o600, owner=None)

    def _keep(self, write: Callable[[], None]) -> None:
        if not self._writable:
            return
        try:
            write()
        except FileError as error:
            self._writable = False
            LOG.warning("nothing can be remembered, the next boot will do this again: %s", error)
