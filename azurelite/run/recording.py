"""Records a run for people and programs: its status while it runs, then status, details and timeline.

The status is written first and last, and when the run waits or begins a step, so that `azurelite status` can always
tell. What boots to come need is written last, after Azure has accepted Ready. No failure to write fails the run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import Any, Callable, Iterator, Optional

from azurelite import layout
from azurelite.clock import iso_utc
from azurelite.errors import AzureliteError, FileError
from azurelite.fabric.client import Fabric
from azurelite.fabric.exchange import Exchange
from azurelite.hypervisor.identity import swap_bytes
from azurelite.outcome import Outcome, StepResult
from azurelite.run.session import Session
from azurelite.state import quick, records, status
from azurelite.state.timeline import Span, document, span
from azurelite.system.machine import System
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)


class Recording:
    """The record of one run over a guest.

    Args:
        session: the guest.
        root: host path of its `/`.
        active: whether anything is written; a dry run writes nothing.

    Attributes:
        metadata: the public part of what the sources said, for later boots; None: nothing new.
    """

    def __init__(self, session: Session, root: str, *, active: bool) -> None:
        self._session = session
        self._clock = session.clock
        self._root = Root(root)
        self._started = self._clock.monotonic()
        self._wall = self._clock.now()
        self._active = active and os.path.isdir(root)
        self._uptime = _uptime(self._root) if self._active else None
        self._folder: Optional[int] = None
        self._status: dict[str, Any] = {}
        self._outputs: list[str] = []
        self._spans: list[Span] = []
        self._begun = self._started
        self._background: Optional[float] = None
        self._wait: Optional[str] = None
        self._before: Optional[dict[str, Any]] = None  # the result of an earlier run of this boot
        self._complained = False
        self._behind = False  # another run is in progress, whose status this one must not replace
        self.metadata: Optional[dict[str, Any]] = None

    def begin(self) -> None:
        """Write that the run has begun, unless another one is in progress."""
        if not self._active:
            return
        here = quick.boot_id(self._root)
        self._status = status.blank("running", boot_id=here, updated=iso_utc(self._wall), pid=os.getpid())
        vm_id = self._session.identity.vm_id
        self._status["vm_id"] = vm_id
        self._status["last_failure"] = self._last_failure(vm_id)
        before = self._look()
        if before is not None and before["state"] in status.UNFINISHED and before["pid"] != os.getpid():
            self._behind = not records.is_crashed(before, boot_id=here)
            if not self._behind:
                self._status["last_failure"] = records.crash_of(before)
        self.write()

    def _look(self) -> Optional[dict[str, Any]]:
        """The status as it is; the result of an earlier run of this boot is kept for `finish`."""
        found = records.found_status(self._root)
        same = found is not None and found["boot_id"] == self._status["boot_id"]
        self._before = found if found is not None and same and found["state"] in ("done", "degraded") else None
        return found

    def wait_for_network(self) -> None:
        """Write that the run waits for a DHCP lease, until `has_network`."""
        self.wait(None)("a DHCP lease")

    def has_network(self) -> None:
        """Note how long the run has waited for a DHCP lease, if it has."""
        if self._wait is not None:
            self._wait = None
            self._add("wait", "a DHCP lease", self._started, self._clock.monotonic())
            self.write(state="running", reason=None)

    def locked(self) -> None:
        """This run is the only one now."""
        if self._behind:
            self._behind = False
            self._look()
            self._status["last_failure"] = self._last_failure(self._status["vm_id"])
            self._add("wait", "another run of azurelite", self._started, self._clock.monotonic())
            self.write()

    def wait(self, also: Optional[Callable[[str], None]]) -> Callable[[str], None]:
        """A function for the loops that wait for Azure: it records that, and calls `also`."""

        def both(what: str) -> None:
            if what != self._wait:
                self._wait = what
                if self._background is None:
                    self.write(state="waiting", reason=what)
            if also is not None:
                also(what)

        return both

    def step_begins(self, name: str, *, runs: bool) -> None:
        """A step begins; `runs`: it is neither skipped nor blocked."""
        self._begun = self._clock.monotonic()
        self._wait = None
        if runs:
            self.write(state="running" if self._background is None else "background", step=name, reason=None)

    def step_ends(self, result: StepResult) -> None:
        """A step has ended, or a later one has changed its result."""
        if not self._active:
            return
        row = status.public_step(result)
        steps = self._status["steps"]
        place = next((place for place, one in enumerate(steps) if one["name"] == result.name), None)
        if place is not None:
            steps[place] = row
            return
        steps.append(row)
        now = self._clock.monotonic()
        self._add("step", result.name, self._begun, now, status=result.status, detail=row["error"] or row["reason"])

    @contextlib.contextmanager
    def span(self, kind: str, name: str) -> Iterator[None]:
        """A block whose time is recorded; it failed if it raises."""
        begun = self._clock.monotonic()
        done = False
        try:
            yield
            done = True
        finally:
            self._add(kind, name, begun, self._clock.monotonic(), status="done" if done else "failed")

    def goes_to_background(self) -> None:
        """Write that the run continues in this process, in the background."""
        self._background = self._clock.monotonic()
        self.write(state="background", step=None)

    def write_output(self, path: str) -> None:
        """Note the file that a script writes to. Names from user data are not told: then it is the folder."""
        step = self._status.get("step")
        shown = path if step is None or not status.is_private(step) else path.rpartition("/")[0]
        if shown not in self._outputs:
            self._outputs.append(shown)

    def fail(self, error: AzureliteError) -> None:
        """Write the end of a run that raised an error, as for a wrong configuration."""
        took = self._clock.monotonic() - self._started
        vm_id = self._status.get("vm_id")
        self.finish(Outcome("failed", error.message, vm_id=vm_id, seconds=took, error=error), None)

    def finish(self, outcome: Outcome, fabric: Optional[Fabric]) -> None:
        """Write the end of the run, and what later boots need of it."""
        if not self._active or self._behind:
            return
        ran = any(step.status != "skipped" for step in outcome.steps)
        idle = outcome.outcome == "already provisioned" and not ran
        if idle and self._before is not None:  # it says more
            self._status = self._before
            self._write()
            self._close()
            return
        self._status.update(status.conclusion(outcome))
        self._status["vm_id"] = outcome.vm_id or self._session.identity.vm_id
        self._finish_spans(outcome, fabric)
        self.write()
        self._close()
        if self._complained and os.geteuid() != 0:
            return
        system = self._session.system()
        timeline = document(
            self._spans,
            boot_id=self._status["boot_id"],
            started=iso_utc(self._wall),
            uptime=self._uptime,
        )
        if not idle and outcome.outcome not in ("disabled", "not azure"):
            if not self._complained:  # /run is writable
                records.save_details(system.files, outcome, timeline)
            self._keep(system, timeline)

    def write(self, **changes: Any) -> None:
        """Write the status as it is now, with these changes."""
        if not self._active or self._behind:
            return
        self._status.update(changes)
        self._status.update(updated=iso_utc(self._clock.now()), pid=os.getpid(), outputs=self._outputs)
        if self._status["state"] in status.UNFINISHED:
            self._status["seconds"] = round(self._clock.monotonic() - self._started, 4)
        self._write()

    def _write(self) -> None:
        try:
            if self._folder is None:
                self._session.system().files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
                self._folder = quick.open_run_folder(self._root)
            quick.put(self._folder, quick.STATUS_NAME, records.as_text(self._status), mode=0o644)
        except (OSError, FileError) as error:
            loud = os.geteuid() == 0 and not self._complained
            LOG.log(logging.WARNING if loud else logging.DEBUG, "records: cannot write %s: %s", layout.STATUS, error)
            self._complained = True

    def _finish_spans(self, outcome: Outcome, fabric: Optional[Fabric]) -> None:
        now = self._clock.monotonic()
        if fabric is not None:
            offset = fabric.opened - self._started
            self._spans += [_request(exchange, offset) for exchange in outcome.exchanges]
        ended = "failed" if self._status["state"] in status.FAILED else "done"
        if self._background is not None:
            self._add("background", "after Ready", self._background, now, status=ended)
        self._add("run", "provision", self._started, now, status=ended, detail=outcome.outcome)

    def _add(self, kind: str, name: str, start: float, end: float, **more: Any) -> None:
        """Add a span that is given in monotonic time."""
        self._spans.append(span(kind, name, start - self._started, end - self._started, **more))

    def _keep(self, system: System, timeline: dict[str, Any]) -> None:
        """Write what survives the boot. It is not synced: a power cut may take it."""
        vm_id = self._status["vm_id"]
        failed = self._status["state"] in status.FAILED
        told = status.failure_of(self._status) if failed else self._status["last_failure"]
        if told is not None and (failed or told != self._last_failure(vm_id)):
            records.save_failure(system.files, vm_id, told)
        if self.metadata is not None and vm_id is not None:
            records.keep_metadata(system.files, vm_id, self.metadata)
        records.keep_boot(system.files, self._status, timeline)

    def _last_failure(self, vm_id: Optional[str]) -> Optional[dict[str, Any]]:
        others = [swap_bytes(vm_id)] if vm_id is not None else []
        try:
            told = json.loads(quick.last_failure(self._root, vm_id, *others))
        except (ValueError, RecursionError):
            return None
        return status.failure_of(told) if isinstance(told, dict) else None

    def _close(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def _request(exchange: Exchange, offset: float) -> Span:
    """The span of a request, without its query; `offset`: when the fabric was opened, after the run's start."""
    start = exchange.started + offset
    status = str(exchange.status) if exchange.status is not None else "failed"
    name = f"{exchange.method} {exchange.url.partition('?')[0]}"
    return span("request", name, start, start + exchange.seconds, status=status, detail=exchange.error)


def _uptime(root: Root) -> Optional[float]:
    """Seconds since the kernel started; None where it does not tell."""
    try:
        return float(root.text("/proc/uptime").partition(" ")[0])
    except ValueError:
        return None
