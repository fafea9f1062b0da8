"""What the calls of this boot came to: which steps failed, and whether Azure accepted Ready.

Functions and verbs can be called one by one, also in several processes. None of them may report Ready after another
has failed; so each notes its failures in a file of /run, which is gone at the next boot.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Callable, Collection, Optional, Sequence

from azurelite import layout
from azurelite.errors import AzureliteError, FileError
from azurelite.outcome import StepResult
from azurelite.system.files import Files

LOG = logging.getLogger(__name__)


class Standing:
    """What stands between this VM and Ready.

    Args:
        files: the guest's files.
        vm_id: the VM; the notes of another VM do not count.

    Attributes:
        failed: step -> why it failed; a step that was done since is not in it.
        ready: whether Azure accepted Ready.
        done: the steps that were done by this process.
    """

    def __init__(self, files: Files, vm_id: Optional[str]) -> None:
        self._files = files
        self._vm_id = vm_id
        self.failed: dict[str, AzureliteError] = {}
        self.ready = False
        self.done: set[str] = set()
        self._read()

    def add(self, results: Sequence[StepResult], *, optional: Collection[str] = ()) -> None:
        """Note the results of steps.

        Args:
            results: in order.
            optional: steps without which the VM may be Ready.
        """
        for result in results:
            if result.status == "done":
                self.done.add(result.name)
                self.failed.pop(result.name, None)
            elif result.status == "failed" and result.required and result.name not in optional:
                self.done.discard(result.name)
                self.failed[result.name] = result.error or AzureliteError(f"{result.name} failed")
        self._write()

    def replace(self, results: Sequence[StepResult]) -> None:
        """Note the results of a whole run, which leaves nothing of what was before it."""
        self.failed, self.ready = {}, False  # the record of the VM says whether it is Ready
        self.add(results)

    def fail(self, step: str, cause: AzureliteError) -> None:
        """Note a failure."""
        self.failed[step] = cause
        self._write()

    def forgive(self, step: str) -> None:
        """Note that a failure does not count any more."""
        if self.failed.pop(step, None) is not None:
            self._write()

    def accept(self) -> None:
        """Note that Azure has accepted Ready."""
        self.failed, self.ready = {}, True
        self._write()

    def _read(self) -> None:
        told = self._guarded(lambda: json.loads(self._files.read(layout.STANDING) or b"{}"))
        if not isinstance(told, dict) or told.get("vm_id") != self._vm_id:
            return
        self.ready = told.get("ready") is True
        failed = told.get("failed")
        if isinstance(failed, dict):
            found = self._guarded(lambda: {str(name): AzureliteError.read(one) for name, one in failed.items()})
            self.failed = found or {}

    def _write(self) -> None:
        """Write the file; remove it where nothing is to be told."""
        if self._files.dry_run:
            return
        failed = {name: error.as_dict() for name, error in self.failed.items()}
        text = json.dumps({"vm_id": self._vm_id, "ready": self.ready, "failed": failed}) + "\n"
        try:
            if not failed and not self.ready:
                self._files.remove(layout.STANDING)
            elif self._files.read(layout.STANDING) != text.encode():
                self._files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
                self._files.put(layout.STANDING, text.encode(), mode=0o600, owner=None, lasting=False)
        except FileError as error:  # this process knows it, others do not
            LOG.debug("standing: %s", error)

    def _guarded(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (FileError, ValueError) as error:
            LOG.debug("standing: %s", error)
            return None
