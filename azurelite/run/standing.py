"""What the calls of this boot came to: which steps failed, and whether Azure accepted Ready.

Functions and verbs can be called one by one, also in several processes. None of them may report Ready after another
has failed; so each notes its failures in a file of /run, which is gone at the next boot.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Collection, Mapping, Optional, Sequence

from azurelite import layout
from azurelite.config.load import REPORT_READY
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
        done: the steps that were done by this process.
    """

    def __init__(self, files: Files, vm_id: Optional[str]) -> None:
        self._files = files
        self._vm_id = vm_id
        self.done: set[str] = set()
        self._failed: dict[str, AzureliteError] = {}
        self._ready = False
        self._stored = True  # else only this process knows it

    @property
    def failed(self) -> Mapping[str, AzureliteError]:
        """Step -> why it failed; a step that was done since is not in it. Other processes may have changed it."""
        self._read()
        return self._failed

    @property
    def ready(self) -> bool:
        """Whether Azure accepted Ready."""
        self._read()
        return self._ready

    def add(self, results: Sequence[StepResult], *, optional: Collection[str] = ()) -> None:
        """Note the results of steps. A report that failed does not hold the next one back.

        Args:
            results: in order.
            optional: steps without which the VM may be Ready.
        """
        self._read()
        self._merge(results, optional)
        self._write()

    def _merge(self, results: Sequence[StepResult], optional: Collection[str]) -> None:
        for result in results:
            if result.status == "done":
                self.done.add(result.name)
                self._failed.pop(result.name, None)
            elif result.status == "failed" and result.required and result.name not in {REPORT_READY, *optional}:
                self.done.discard(result.name)
                self._failed[result.name] = result.error or AzureliteError(f"{result.name} failed")

    def replace(self, results: Sequence[StepResult]) -> None:
        """Note the results of a whole run, which leaves nothing of what was before it."""
        self._failed, self._ready = {}, False  # the record of the VM says whether it is Ready
        self._merge(results, ())
        self._write()

    def fail(self, step: str, cause: AzureliteError) -> None:
        """Note a failure."""
        self._read()
        self._failed[step] = cause
        self._write()

    def forgive(self, *steps: str) -> None:
        """Note that failures do not count any more."""
        self._read()
        if [step for step in steps if self._failed.pop(step, None) is not None]:
            self._write()

    def accept(self) -> None:
        """Note that Azure has accepted Ready."""
        self._failed, self._ready = {}, True
        self._write()

    def _read(self) -> None:
        if not self._stored:
            return
        try:
            told = json.loads(self._files.read(layout.STANDING) or b"{}")
        except FileError as error:  # it may name a failure: what cannot be read holds Ready back
            self._failed, self._ready = {"standing": error}, False
            return
        except (ValueError, RecursionError) as error:
            LOG.warning("standing: %s is damaged and not used: %s", layout.STANDING, error)
            told = {}
        own = isinstance(told, dict) and told.get("vm_id") == self._vm_id
        failed = told.get("failed") if own else None
        self._ready = own and told.get("ready") is True
        self._failed = {}
        for name, one in failed.items() if isinstance(failed, dict) else ():
            with contextlib.suppress(ValueError):
                self._failed[str(name)] = AzureliteError.read(one)

    def _write(self) -> None:
        """Write the file; remove it where nothing is to be told."""
        failed = {name: error.as_dict() for name, error in self._failed.items()}
        text = json.dumps({"vm_id": self._vm_id, "ready": self._ready, "failed": failed}) + "\n"
        try:
            if not failed and not self._ready:
                self._files.remove(layout.STANDING)
            elif self._files.read(layout.STANDING) != text.encode():
                self._files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
                self._files.put(layout.STANDING, text.encode(), mode=0o600, owner=None, lasting=False)
        except FileError as error:  # this process knows it, others do not
            self._stored = False
            LOG.warning("standing: other calls of this boot will not know what failed: %s", error)
