"""Reports to Azure: first the KVP record, which the host reads only before the health report, then the report."""

from __future__ import annotations

import csv
import io
import logging
from typing import Optional, Sequence

from azurelite.clock import Clock, Deadline, iso_utc
from azurelite.config.load import REPORT_READY
from azurelite.errors import AzureliteError, FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.health import DESCRIPTION_LIMIT, READY, failed, in_progress, wire_size
from azurelite.hypervisor.identity import read_identity
from azurelite.hypervisor.kvp import VALUE_LIMIT, Event, write
from azurelite.outcome import ReportResult, StepResult
from azurelite.state import marker
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.root import Root
from azurelite.version import VERSION

LOG = logging.getLogger(__name__)


class Reporter:
    """Reports on one VM.

    Args:
        fabric: the endpoints.
        files: the guest's files, for the KVP pool.
        vm_id: the VM id; None if it is unknown.

    Attributes:
        telemetry: after a run with a report, send the result of each step to WireServer.
        no_lease: why there is no DHCP lease, which is then what Azure's failures come from; None: none was wanted.
        quiet: log accepted reports for debugging only, because the caller says it.
        result: the last report of Ready or NotReady; None before the first.
        told: whether a report of Ready or NotReady was tried, which Azure may have received.
    """

    def __init__(self, fabric: Fabric, files: Files, vm_id: Optional[str]) -> None:
        self._fabric = fabric
        self._files = files
        self.quiet = self.telemetry = False
        self.no_lease: Optional[AzureliteError] = None
        self.vm_id = vm_id
        self.result: Optional[ReportResult] = None
        self.told = False
        self._steps: Sequence[StepResult] = ()
        self._noted = 0  # of the steps

    def ready(self, deadline: Deadline) -> None:
        """Report Ready.

        Raises:
            FabricError: Azure was not reached or refused the report; the KVP record then says so.
        """
        self.told = True
        self._write_record(success_text(vm_id=self.vm_id, now=self._fabric.clock.now()))
        try:
            self._fabric.wireserver.send(READY, deadline)
        except FabricError as error:
            self._write_record(self._failure(self._behind(error), "report_ready", kvp=True))
            self.result = ReportResult("Ready", accepted=False, error=error.message)
            raise
        self.result = ReportResult("Ready", accepted=True)
        LOG.log(logging.DEBUG if self.quiet else logging.INFO, "report_ready: Azure accepted Ready")

    def not_ready(self, cause: AzureliteError, deadline: Deadline, *, step: Optional[str] = None) -> None:
        """Report that provisioning failed, and why. Azure then fails the deployment at once, with that text.

        Args:
            cause: the error.
            deadline: when to stop trying.
            step: the handler that failed.

        Raises:
            FabricError: Azure was not reached or refused the report.
        """
        self.told = True
        cause = self._behind(cause)
        self._write_record(self._failure(cause, step, kvp=True))
        text = self._failure(cause, step)
        try:
            self._fabric.wireserver.send(failed(text), deadline)
        except FabricError as error:
            self.result = ReportResult("NotReady", accepted=False, description=text, error=error.message)
            raise
        self.result = ReportResult("NotReady", accepted=True, description=text)
        LOG.log(
            logging.DEBUG if self.quiet else logging.INFO,
            "report_ready: Azure was told that provisioning failed: %s",
            cause.reason_in(step),
        )

    def tell(self, cause: AzureliteError, deadline: Deadline, said: set[str], *, step: Optional[str] = None) -> None:
        """Report a failure as `not_ready` does. If that fails too, log it; `said` as in `AzureliteError.once`."""
        if self.result is not None and self.result.is_ready:
            return  # Azure takes no failure after Ready
        try:
            self.not_ready(cause, deadline, step=step)
        except FabricError as error:
            LOG.error("report_ready: Azure was not told of the failure: %s", error.once(said))

    def progress(self, text: str, deadline: Deadline) -> None:
        """Report that provisioning continues. Raises FabricError."""
        self._fabric.wireserver.send(in_progress(text), deadline)

    def follow(self, steps: Sequence[StepResult], *, dry_run: bool) -> None:
        """Take the results of a run, to which the caller appends: a report comes with KVP events of the new ones."""
        self._steps, self._noted = () if dry_run else steps, 0

    def note_steps(self) -> None:
        """Write KVP events of the steps after the report, which people on the VM can read; send telemetry if wished."""
        if self.telemetry and self.told and self._steps:
            self._send_telemetry()
        rest = self._steps[self._noted :]
        if self.told and any(step.name != REPORT_READY and step.status != "skipped" for step in rest):
            self._write_record(None)

    def _send_telemetry(self) -> None:
        from azurelite.fabric.telemetry import StepEvent, telemetry_document

        told = [(one, self._event(one)) for one in self._steps]
        events = [StepEvent(one.name, one.error is None, int(one.seconds * 1000), said.text) for one, said in told]
        try:
            deadline = Deadline(self._fabric.clock, _TELEMETRY_SECONDS)
            self._fabric.wireserver.send_events(telemetry_document(events), deadline)
        except FabricError as error:
            LOG.info("report: telemetry was not sent: %s", error)

    def _write_record(self, text: Optional[str]) -> None:
        events = [self._event(step) for step in self._steps[self._noted :]]
        self._noted = len(self._steps)
        write(self._files, text, clock=self._fabric.clock, vm_id=self.vm_id, events=events)

    def _event(self, step: StepResult) -> Event:
        from azurelite.state.status import is_private

        clock = self._fabric.clock
        ended = self._fabric.opened + step.started + step.seconds if step.started else clock.monotonic()
        if step.error is not None:
            result, text = "FAIL", step.error.message
        elif step.status == "skipped":
            result, text = "WARN" if step.again else "SUCCESS", f"skipped: {step.reason}"
        else:
            result, text = "WARN" if step.notes else "SUCCESS", "; ".join((f"{len(step.changes)} changes", *step.notes))
        if is_private(step.name):  # everybody on the VM may read the pool, as status.json
            text = result.lower() if step.error is None else "a part of it failed"
        return Event(step.name, result, iso_utc(clock.now() - (clock.monotonic() - ended)), step.seconds, text)

    def _behind(self, cause: AzureliteError) -> AzureliteError:
        """The cause with the words of the missing lease: Azure's page explains those, and no source was reachable."""
        if self.no_lease is None or not isinstance(cause, FabricError):
            return cause
        data = {"lease": self.no_lease.message, **cause.data}
        return FabricError(cause.message, reason=self.no_lease.reason, data=data, remedy=cause.remedy)

    def _failure(self, cause: AzureliteError, step: Optional[str], *, kvp: bool = False) -> str:
        return failure_text(cause, vm_id=self.vm_id, now=self._fabric.clock.now(), step=step, kvp=kvp)


_PROGRESS_PAUSE = 60.0  # seconds between two reports of progress
_PROGRESS_SECONDS = 5.0  # for each of them: they must not use up the time of what is waited for


class Progress:
    """Tells Azure from time to time that provisioning continues. The loops that wait call it; there is no thread.

    It reports nothing once Ready or NotReady was tried. A report that fails is no error, and the next one comes later.

    Args:
        reporter: the reporter of the run.
        fabric: the endpoints.
    """

    def __init__(self, reporter: Reporter, fabric: Fabric) -> None:
        self._reporter = reporter
        self._fabric = fabric
        self._pause = _PROGRESS_PAUSE
        self._next = fabric.clock.monotonic() + self._pause
        self._sending = False

    def __call__(self, _: str = "") -> None:
        """Report, if it is time. Call it as often as you like, with what is waited for."""
        clock = self._fabric.clock
        if self._sending or self._reporter.told or clock.monotonic() < self._next:
            return
        self._sending = True  # sending waits, too, and its loop calls this again
        try:
            self._reporter.progress("provisioning continues", self._fabric.deadline.within(_PROGRESS_SECONDS))
        except AzureliteError as error:
            self._pause *= 2
            LOG.debug("report_ready: Azure was not told that provisioning continues: %s", error)
        finally:
            self._sending = False
            self._next = clock.monotonic() + self._pause


_SECONDS = 60.0
_TELEMETRY_SECONDS = 5.0  # for its one request


def tell_early_error(error: AzureliteError, *, root: str, clock: Clock) -> None:
    """Report an error that prevents the run, such as broken YAML. Otherwise Azure would wait until its own timeout.

    Args:
        error: the error.
        root: host path of the guest's `/`; for any root but the running system, nothing is reported.
        clock: time.
    """
    guest = Root(root)
    identity = read_identity(guest)
    if not guest.is_host or not identity.on_azure:
        return
    if marker.done_before(guest, identity.vm_id) is not None:
        return  # Azure has had its report at the first boot
    system = System(root, clock=clock)
    with Fabric(_SECONDS, clock=clock) as fabric:
        Reporter(fabric, system.files, identity.vm_id).tell(error, fabric.deadline, set())


DOCUMENTATION = "https://aka.ms/linuxprovisioningerror"
_NO_REASON = "provisioning failed without a reason"  # a plug-in can raise an error without words
_LONGEST_REASON = 200  # characters
_LONGEST_VALUE = 300  # characters of one value in the supporting data
_SHORTEST_VALUE = 8  # characters: a shorter rest of a value tells nothing
_LONGEST_CHARACTER = 6  # bytes of one character, at most, escaped


def success_text(*, vm_id: Optional[str], now: float) -> str:
    """The KVP record of a success."""
    return _record(["result=success", f"agent={_agent()}", f"timestamp={iso_utc(now)}", f"vm_id={vm_id}"])


def failure_text(
    error: AzureliteError, *, vm_id: Optional[str], now: float, step: Optional[str] = None, kvp: bool = False
) -> str:
    """The text of a failure: of the health report, or of the KVP record.

    Both have the same fields. Where the KVP record has less room, fields at the end of the supporting data are missing.

    Args:
        error: gives reason, message, remedy and supporting data.
        vm_id: the VM.
        now: seconds since 1970.
        step: the handler that failed.
        kvp: for the KVP record, which has 1022 bytes; else for the report, whose 4096 bytes count after escaping.

    Returns:
        As much as fits. Supporting data is cut first, then remedy and message; reason, VM id, time and link remain.
    """
    size, limit = (_bytes, VALUE_LIMIT) if kvp else (wire_size, DESCRIPTION_LIMIT)
    reason = error.reason_in(step)[:_LONGEST_REASON] if error.reason.strip() else _NO_REASON
    tail = [f"vm_id={vm_id}", f"timestamp={iso_utc(now)}", f"documentation_url={DOCUMENTATION}"]
    data = [f"step={step}"] if step else []
    if error.message.strip() and error.message != reason:
        data.append(f"message={error.message[:DESCRIPTION_LIMIT]}")
    data.append(f"remedy={error.remedy}")
    data += [f"{key}={value[:_LONGEST_VALUE]}" for key, value in error.data.items()]
    while True:
        text = _record(["result=error", f"reason={reason}", f"agent={_agent()}", *data, *tail])
        over = size(text) - limit
        if over <= 0:
            return text
        cut = over // _LONGEST_CHARACTER or 1
        if data:
            name, _, value = data[-1].partition("=")
            data[-1:] = [f"{name}={value[:-cut]}"] if len(value) - cut >= _SHORTEST_VALUE else []
        elif reason:
            reason = reason[:-cut]
        else:
            return text[: min(len(text), limit) // _LONGEST_CHARACTER]


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))


def _agent() -> str:
    return f"azurelite/{VERSION}"


def _record(fields: Sequence[str]) -> str:
    flat = ["".join(character if character.isprintable() else " " for character in field) for field in fields]
    text = io.StringIO()
    csv.writer(text, delimiter="|", quotechar="'", lineterminator="").writerow(flat)
    return text.getvalue()
