"""Runs the steps of a plan in order, and reports to Azure.

When a step fails, the other steps still run. When a required step fails, Azure gets the failure instead of Ready, and
the steps after `report_ready` wait for a boot at which Azure accepts Ready.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Callable, Collection, ContextManager, Optional

from azurelite.config.load import Config
from azurelite.errors import AzureliteError, OutOfOrderError, SkippedError
from azurelite.fabric.client import Fabric
from azurelite.guard import guard
from azurelite.handlers import REPORT_READY, Context, Handler
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome, StepResult, deciding_failure
from azurelite.record import replace
from azurelite.run.plan import NOT_READY, Step
from azurelite.run.reporter import Reporter
from azurelite.state.store import State
from azurelite.system.machine import System

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.run.events import Events
    from azurelite.run.recording import Recording

LOG = logging.getLogger(__name__)

_NOTHING_WITHOUT_DATA = ("user_data", "custom_data")


class Runner:
    """Runs steps over one guest.

    Args:
        system: the guest.
        fabric: Azure's endpoints.
        vm_id: the VM id, if the firmware has it.
        config: the configuration of the run.
        reporter: reports to Azure; None: make one.
        optional: keys of steps that fail the run, but without which the VM may be Ready.
        held: an earlier failure -> the step and its error, which holds Ready back like one of this run.

    Attributes:
        reporter: reports to Azure, and holds the result.
        said: the error messages that the log already has; later lines refer to them in short.
        events: tells a listener of the steps; None: there is no listener.
        recording: writes the status of the run; None: it has none.
    """

    def __init__(
        self,
        system: System,
        fabric: Fabric,
        vm_id: Optional[str],
        config: Config,
        *,
        reporter: Optional[Reporter] = None,
        optional: Collection[str] = (),
        held: Callable[[Collection[str]], Optional[tuple[str, AzureliteError]]] = lambda _: None,
    ) -> None:
        self.system = system
        self.config = config
        self.fabric = fabric
        self.reporter = reporter or Reporter(fabric, system.files, vm_id)
        self.reporter.quiet = False
        self.reporter.telemetry = config.report.telemetry and not fabric.offline
        self.optional = optional
        self.held = held
        self.said: set[str] = set()
        self.events: Optional[Events] = None
        self.recording: Optional[Recording] = None

    def run(
        self,
        plan: tuple[Step, ...],
        metadata: Metadata,
        state: State,
        *,
        remember: bool,
        refused: Optional[AzureliteError] = None,
        media_device: Optional[str] = None,
        detach: bool = False,
    ) -> list[StepResult]:
        """Run the steps in order. A failure of a required step stops `report_ready` and the steps after it.

        Args:
            plan: the steps.
            metadata: what Azure says about the VM.
            state: records every change in the manifest.
            remember: also record which handlers are done.
            refused: something that Azure asked for and that cannot be done; the VM is then not ready in any case.
            media_device: the drive of the provisioning disc.
            detach: run the steps after `report_ready` in a background process, and end this one.
        """
        if not self.system.dry_run:
            self.system.journal.listener = state.note_change
        results: list[StepResult] = []
        self.reporter.follow(results, dry_run=self.system.dry_run)
        if refused is not None:
            self._begin("datasource")
            results.append(StepResult("datasource", "failed", required=True, error=refused))
            self._end(results[0])
        ready = True  # False once Azure has not accepted Ready in the turn of `report_ready`
        for turn, step in enumerate(plan, 1):
            self._begin(step.handler.key, runs=step.skip is None and step.blocked is None)
            reporting = ready and step.handler.name == REPORT_READY and step.skip is None
            failure = self._obstacle(results) if reporting else None
            if reporting and step.blocked is None:
                failure = failure or self._check_login(plan, results, metadata, state)
            if not ready:
                result = _waiting(step)
            elif reporting and failure is not None:
                result = self._report_failure(step, failure, results)
            else:
                state.step = step.handler.name
                result = self._run_step(step, lambda note: self._context(metadata, results, state, media_device, note))
            if step.handler.name == REPORT_READY:
                ready = step.skip is not None or result.status == "done"
                self.system.commands.limit = None  # Azure is no longer waiting
            if remember and result.status == "done":
                one = step.handler
                state.finish(one.key, one.frequency, inputs=step.inputs, lasting=one.runs_programs)
            results.append(result)
            self._end(result, ran=step.blocked is None)
            if detach and step.handler.name == REPORT_READY and (step.skip is not None or result.status == "done"):
                self._detach(plan[turn:], metadata, failed=remember and deciding_failure(results) is not None)
        self.reporter.note_steps()
        return results

    def _obstacle(self, results: list[StepResult]) -> Optional[StepResult]:
        """What holds Ready back: a failed step of this run or of an earlier one."""
        failure = deciding_failure([one for one in results if one.name not in self.optional])
        if failure is not None:
            return failure
        earlier = self.held({one.name for one in results if one.status == "done"})
        return StepResult(earlier[0], "failed", required=True, error=earlier[1]) if earlier is not None else None

    def _check_login(
        self, plan: tuple[Step, ...], results: list[StepResult], metadata: Metadata, state: State
    ) -> Optional[StepResult]:
        """The failed result of `ssh_keys` if the administrator cannot log in; it then runs again at the next boot."""
        if metadata.username is None:
            return None
        from azurelite.run.login import check_login, keys_step

        before = list(results)
        failed = check_login(plan, results, self._context(metadata, results, state, None, lambda _: None))
        for result in (new for old, new in zip(before, results) if new is not old):
            self._tell_end(result)
        step = keys_step(plan)
        if failed is not None and step is not None:
            state.reopen(step.handler.key, step.handler.frequency)
        return failed

    def _context(
        self,
        metadata: Metadata,
        before: list[StepResult],
        state: State,
        media_device: Optional[str],
        note: Callable[[str], None],
    ) -> Context:
        return Context(
            metadata=metadata,
            system=self.system,
            fabric=self.fabric,
            outcome=Outcome(
                "failed" if deciding_failure(before) else "provisioned",
                "so far",
                report=self.reporter.result,
                steps=tuple(before),
            ),
            note=note,
            report_ready=self._report_ready,
            memory=state.memory,
            media_device=media_device,
            config=self.config,
        )

    def _run_step(self, step: Step, context: Callable[[Callable[[str], None]], Context]) -> StepResult:
        handler = step.handler
        result = StepResult(handler.key, "done", handler.required)
        if step.skip is not None:
            return replace(result, status="skipped", reason=step.skip)
        if step.blocked is not None:
            return replace(result, status="failed", error=step.blocked)
        notes = list(step.notes)
        ctx = context(notes.append)
        mark = len(self.system.journal)
        started = self.fabric.clock.monotonic()
        error = guard(lambda: _apply(handler, ctx))
        skipped = isinstance(error, SkippedError) and not handler.required
        return replace(
            result,
            status="skipped" if skipped else "failed" if error else "done",
            error=None if skipped else error,
            reason=str(error) if skipped else None,
            again=skipped,
            started=started - self.fabric.opened,
            seconds=self.fabric.clock.monotonic() - started,
            changes=self.system.journal.since(mark),
            notes=tuple(notes),
        )

    def _report_failure(self, step: Step, failure: StepResult, results: list[StepResult]) -> StepResult:
        """Report the failed step to Azure instead of Ready."""
        cause = failure.error or AzureliteError(f"{failure.name} failed")
        if not self.system.dry_run:
            with self._report_span("NotReady"):
                self.reporter.tell(cause, self.fabric.deadline, self.said, step=failure.name)
        result = StepResult(REPORT_READY, "skipped", step.handler.required, reason=f"{failure.name} failed")
        if failure in results:
            return result
        text = f"Azure was told that {failure.name} failed in an earlier call: {cause.message}"
        error = OutOfOrderError(text, reason=cause.reason, data=cause.data)  # no other result of this call says it
        return replace(result, status="failed", reason=None, error=error)

    def _report_ready(self) -> None:
        with self._report_span("Ready"):
            self.reporter.ready(self.fabric.deadline)

    def _report_span(self, state: str) -> ContextManager[None]:
        return contextlib.nullcontext() if self.recording is None else self.recording.span("report", state)

    def _detach(self, left: tuple[Step, ...], metadata: Metadata, *, failed: bool) -> None:
        """Continue in the background, unless a step has failed (the exit status must tell) or nothing slow is left."""
        names = [step.handler.key for step in left if _takes_time(step, metadata)]
        if names and not failed:
            from azurelite.run.background import continue_in_background

            begun = self.recording.goes_to_background if self.recording is not None else None
            continue_in_background(", ".join(names), begun)

    def _begin(self, name: str, *, runs: bool = True) -> None:
        if self.recording is not None:
            self.recording.step_begins(name, runs=runs)
        if self.events is not None:
            self.events.begin(name)

    def _end(self, result: StepResult, *, ran: bool = True) -> None:
        """Write the result to the log, and tell the listener."""
        for change in result.changes:
            LOG.info("%s: %s%s", result.name, "would " if self.system.dry_run else "", change)
        for note in result.notes:
            LOG.warning("%s: %s", result.name, note)
        if result.error is not None:
            text = result.error.once(self.said)
            in_short = text != result.error.message
            LOG.error("%s: %s%s", result.name, "skipped: " if in_short and not ran else "", text)
        elif result.status == "skipped":
            LOG.info("%s: skipped: %s", result.name, result.reason)
        self._tell_end(result)

    def _tell_end(self, result: StepResult) -> None:
        if self.recording is not None:
            self.recording.step_ends(result)
        if self.events is not None:
            self.events.end(result)


def _waiting(step: Step) -> StepResult:
    """The result of a step after `report_ready` on a VM that is not Ready: the boot that makes it Ready runs it.

    What runs once per VM, such as a script, would otherwise be used up on a machine without host name or user.
    """
    reason = step.skip or NOT_READY
    return StepResult(step.handler.key, "skipped", step.handler.required, reason=reason)


def _apply(handler: Handler, ctx: Context) -> None:
    if not handler.place:
        with ctx.system.together():
            handler.apply(ctx, handler.options)
        return
    from azurelite.run.plugin_process import run_plugin

    run_plugin(handler, ctx)


def _takes_time(step: Step, metadata: Metadata) -> bool:
    if step.skip is not None or step.blocked is not None:
        return False
    given = [getattr(metadata, field) for field in step.handler.uses]
    return step.handler.name not in _NOTHING_WITHOUT_DATA or any(value is not None for value in given)
