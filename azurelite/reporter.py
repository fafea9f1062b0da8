"""Telling Azure: the KVP record first, which the host reads only until the health report comes, then the report."""

from __future__ import annotations

import logging
from typing import Optional

from azurelite.clock import Deadline
from azurelite.errors import AzureliteError, FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.health import READY, failed, in_progress
from azurelite.fabric.kvp import write_report
from azurelite.outcome import ReportResult
from azurelite.report import failure_text, success_text
from azurelite.system.files import Files

LOG = logging.getLogger(__name__)


class Reporter:
    """Reports on one VM.

    Args:
        fabric: where to report.
        files: the guest's files, for the KVP pool.
        vm_id: the VM, where known.

    Attributes:
        result: the last report of Ready or NotReady, once one was tried.
    """

    def __init__(self, fabric: Fabric, files: Files, vm_id: Optional[str]) -> None:
        self._fabric = fabric
        self._files = files
        self.vm_id = vm_id
        self.result: Optional[ReportResult] = None

    def ready(self, deadline: Deadline) -> None:
        """Report Ready.

        Raises:
            FabricError: Azure could not be reached or did not accept it; the KVP record then says so.
        """
        self._write_record(success_text(vm_id=self.vm_id, now=self._fabric.clock.now()))
        try:
            self._fabric.wireserver.send(READY, deadline)
        except FabricError as error:
            self._write_record(self._failure(error, "report_ready"))
            self.result = ReportResult("Ready", accepted=False, error=error.message)
            raise
        self.result = ReportResult("Ready", accepted=True)
        LOG.info("Azure accepted Ready")

    def not_ready(self, cause: AzureliteError, deadline: Deadline, *, step: Optional[str] = None) -> None:
        """Report that provisioning failed, and why. Azure then fails the deployment at once, with that text.

        Args:
            cause: what failed.
            deadline: until when it is tried.
            step: the handler that failed.

        Raises:
            FabricError: Azure could not be reached or did not accept it.
        """
        text = self._failure(cause, step)
        self._write_record(text)
        try:
            self._fabric.wireserver.send(failed(text), deadline)
        except FabricError as error:
            self.result = ReportResult("NotReady", accepted=False, description=text, error=error.message)
            raise
        self.result = ReportResult("NotReady", accepted=True, description=text)
        LOG.info("Azure was told that provisioning failed: %s", cause.reason)

    def progress(self, text: str, deadline: Deadline) -> None:
        """Report that provisioning goes on. Raises FabricError."""
        self._fabric.wireserver.send(in_progress(text), deadline)

    def _write_record(self, text: str) -> None:
        write_report(self._files, text, clock=self._fabric.clock)

    def _failure(self, cause: AzureliteError, step: Optional[str]) -> str:
        return failure_text(cause, vm_id=self.vm_id, now=self._fabric.clock.now(), step=step)
