"""The main job: crawl, plan, run the steps, remember what was done. Returns one outcome."""

from __future__ import annotations

import logging
from typing import Iterator, Optional, Sequence

from azurelite.clock import Clock
from azurelite.datasource.crawl import Crawl
from azurelite.datasource.ovf import redacted
from azurelite.errors import AzureliteError, ConfigError, FabricError, IdentityError, MachineError
from azurelite.fabric.client import Fabric
from azurelite.guard import guard
from azurelite.handlers import EJECT_MEDIA, REPORT_READY, Handler
from azurelite.media.find import MediaDocument
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome, ReportResult, StepResult, deciding_failure
from azurelite.record import Record, replace
from azurelite.run.plan import due_later, is_offline, make_plan, wanted_sources
from azurelite.run.pool import forget_pool, leave_pool, pool_type, still_in_pool
from azurelite.run.recording import Recording
from azurelite.run.reporter import Progress
from azurelite.run.session import Session
from azurelite.run.steps import Runner
from azurelite.state import marker, records
from azurelite.state.store import State
from azurelite.system.machine import System
from azurelite.system.root import Root
from azurelite.system.runlock import run_lock

LOG = logging.getLogger(__name__)

LATER_BOOT_SECONDS = 10.0  # for all requests of a later boot
_TURNS = 3  # later boots that retry a step: a cloud without IMDS must not be asked for ever


class Options(Record):
    """The options of a run.

    Attributes:
        root: host path of the guest's `/`.
        config_file: host path of a file in place of /etc/azurelite/azurelite.yaml.
        dry_run: change nothing and send no report.
        force: provision again even if this VM is done.
        detach: once Azure has accepted Ready, end this process with 0 and continue in a new one; see `background.py`.
        search_path: folders of programs, in the form of PATH.
        clock: time.
    """

    root: str = "/"
    config_file: Optional[str] = None
    dry_run: bool = False
    force: bool = False
    detach: bool = False
    search_path: Optional[str] = None
    clock: Optional[Clock] = None


def provision(options: Options, session: Optional[Session] = None, metadata: Optional[Metadata] = None) -> Outcome:
    """Provision a guest.

    Args:
        options: of the run.
        session: the guest, opened with the same root and configuration; None: open it.
        metadata: what Azure says about the VM; None: ask Azure.

    Returns:
        The result; `exit_code` is the exit code of the process.

    Raises:
        ConfigError: the configuration is wrong. On a running Azure VM, Azure is told first.
    """
    if session is not None:
        return _provision(options, session, metadata)
    with Session(options.root, config=options.config_file, clock=options.clock) as opened:
        opened.search_path = options.search_path
        return _provision(options, opened, metadata)


def _provision(options: Options, session: Session, metadata: Optional[Metadata]) -> Outcome:
    recording = Recording(session, options.root, active=not options.dry_run)
    recording.begin()
    try:
        return _recorded(options, session, metadata, recording)
    except AzureliteError as error:
        recording.fail(error)
        raise


def _recorded(options: Options, session: Session, metadata: Optional[Metadata], recording: Recording) -> Outcome:
    """The run; every return has written its outcome to the record."""
    clock = session.clock
    started = clock.monotonic()
    early = _nothing_to_do(options, session, metadata)
    if early is not None:
        recording.finish(early, None)
        return early
    handlers = session.handlers
    sources = None if metadata is not None else session.config.datasource.sources
    offline = is_offline(handlers, sources, on_azure=session.on_azure(), dry_run=options.dry_run)
    system = session.system(dry_run=options.dry_run)
    if system.live and not system.files.privileged:
        raise ConfigError("provision needs root: use sudo")
    system.output_listener = recording.write_output
    known = session.identity.vm_id
    # If the firmware has no VM id, only IMDS can say whether this is the VM that was provisioned here.
    later = known is None and marker.knows_some_vm(system.root)
    later = later or (known is not None and marker.provisioned_as(system.root, known) is not None)
    seconds = LATER_BOOT_SECONDS if later and not options.force else None
    warnings = tuple(str(warning) for warning in session.config.warnings)
    for warning in warnings if seconds is None else ():
        LOG.warning("config: %s", warning)
    if not offline and session.config.datasource.dhcp == "ephemeral":
        recording.wait_for_network()
    with session.endpoints(offline=offline, seconds=seconds) as fabric:
        recording.has_network()
        earlier = len(fabric.http.exchanges)
        system.commands.limit = fabric.reading
        with run_lock(system, fabric.reading):
            recording.locked()
            run = _Run(session, handlers, system, fabric, options, recording)
            run.given = metadata
            outcome = _whole_run(run)
    if isinstance(outcome.error, ConfigError):
        raise outcome.error
    outcome = replace(
        outcome,
        seconds=clock.monotonic() - started,
        exchanges=tuple(fabric.http.exchanges[earlier:]),
        warnings=warnings,
    )
    recording.finish(outcome, fabric)
    return outcome


def _nothing_to_do(options: Options, session: Session, metadata: Optional[Metadata]) -> Optional[Outcome]:
    """The outcome of a run that need not begin; None if it has to. Raises ConfigError, of which Azure is told first."""
    off = marker.switched_off(Root(options.root))
    if off is not None:
        return Outcome("disabled", f"azurelite is disabled: {off}")
    handlers = guard(lambda: session.handlers)
    if isinstance(handlers, AzureliteError):
        if not options.dry_run:
            from azurelite.run.reporter import tell_early_error

            tell_early_error(handlers, root=options.root, clock=session.clock)
        raise handlers
    sources = None if metadata is not None else session.config.datasource.sources
    offline = is_offline(handlers, sources, on_azure=session.on_azure(), dry_run=options.dry_run)
    if not offline and not session.on_azure():
        return Outcome("not azure", "this machine is not on Azure: no request was sent and nothing was changed")
    known = session.identity.vm_id
    other = marker.other_agent(session.root, known) if known is not None else None
    if other is not None and not options.force:
        return Outcome("already provisioned", f"VM {known} was provisioned by {other}; nothing to do", vm_id=known)
    return None


def _whole_run(run: _Run) -> Outcome:
    """Run, and report an error outside of the steps to Azure as well."""
    outcome = guard(run.go)
    return run.give_up(outcome) if isinstance(outcome, AzureliteError) else outcome


class _Run:
    """One provisioning run over a guest."""

    def __init__(
        self,
        session: Session,
        handlers: tuple[Handler, ...],
        system: System,
        fabric: Fabric,
        options: Options,
        recording: Recording,
    ) -> None:
        self.session = session
        self.handlers = handlers
        self.system = system
        self.fabric = fabric
        self.options = options
        self.reporting = any(handler.name == REPORT_READY for handler in handlers)
        self.given: Optional[Metadata] = None  # in place of what the sources say
        reporter = None if fabric.offline else session.reporter
        self.runner = Runner(system, fabric, session.identity.vm_id, session.config, reporter=reporter)
        self.runner.events = session.events
        self.runner.recording = self.recording = recording
        self.progress = Progress(self.runner.reporter, fabric)
        self.standing = session.standing
        self._wait_with(None)

    def go(self) -> Outcome:
        vm_id = self.session.identity.vm_id
        if vm_id is not None and self._is_done(self._state(vm_id)):
            return self._later_boot(vm_id)
        if vm_id is not None or not marker.knows_some_vm(self.system.root):  # else it may be a VM that is Ready
            self._tell_progress(vm_id)
        crawled, broken = self._crawl()
        kind = self._pool(crawled) if broken is None else None
        if kind is not None:
            crawled, broken = self._leave_pool(kind, crawled)
        self.runner.reporter.vm_id = crawled.metadata.vm_id
        cause = broken or self._nameless(crawled)
        if cause is not None or crawled.metadata.vm_id is None:
            return self.give_up(cause or IdentityError("no VM id"))
        vm_id = crawled.metadata.vm_id
        state = self._state(vm_id)
        if self._is_done(state):  # not known before: the firmware has no id
            return self._later_boot(vm_id)
        self._tell_progress(vm_id)
        if self.options.force:
            state.forget()
        state.heal()
        self._save(crawled, state)
        plan = make_plan(self.handlers, crawled.metadata, state, force=self.options.force)
        steps = self.runner.run(
            plan,
            crawled.metadata,
            state,
            remember=True,
            refused=crawled.metadata.refused,
            media_device=crawled.device,
            detach=self.options.detach,
        )
        owed = {step.handler.key: 0 for step in plan if step.again and not step.handler.required}
        owed.update({result.name: 0 for result in steps if result.again})
        outcome = self._conclude(steps, vm_id, state, owed)
        if not self.system.dry_run:
            ready = outcome.report is not None and outcome.report.is_ready
            self.standing.replace([] if ready else steps)
        if outcome.outcome == "provisioned":
            forget_pool(self.system)
        if outcome.report is not None and outcome.report.is_ready:
            self._tidy_up(crawled)
        return outcome

    def _tell_progress(self, vm_id: Optional[str]) -> None:
        """From now on tell Azure that provisioning continues, unless it may have accepted Ready of this VM before."""
        if not self.reporting or self.system.dry_run:
            return
        if vm_id is not None:
            state = self._state(vm_id)
            if state.is_provisioned(reporting=True) or state.is_finished(REPORT_READY, "instance", inputs=None):
                return
        self._wait_with(self.progress)

    def _wait_with(self, progress: Optional[Progress]) -> None:
        self.system.commands.waiting = self.session.waiting(progress)
        self.fabric.http.waiting = self.recording.wait(self.system.commands.waiting)

    def _crawl(
        self, given: Optional[MediaDocument] = None, *, sources: Optional[Sequence[str]] = None
    ) -> tuple[Crawl, Optional[AzureliteError]]:
        if self.given is not None:
            return Crawl(replace(self.given, vm_id=self.given.vm_id or self.session.identity.vm_id)), None
        self.system.commands.limit = self.fabric.sources
        with self.recording.span("crawl", "metadata"):
            found = guard(lambda: self.session.crawl(self.fabric, self.system, given_media=given, sources=sources))
        self.system.commands.limit = self.fabric.reading
        if isinstance(found, AzureliteError):
            return Crawl(Metadata()), found
        self.runner.said.update(said_by(found.metadata))
        return found, None

    def _pool(self, crawled: Crawl) -> Optional[str]:
        """The type of pool in which the VM waits for an owner. None after Azure has accepted Ready of an owner once."""
        vm_id = crawled.metadata.vm_id
        if self.system.dry_run or (vm_id is not None and marker.reported(self.system.root, vm_id)):
            return None
        return pool_type(crawled.metadata, self.system)

    def _leave_pool(self, kind: str, waiting: Crawl) -> tuple[Crawl, Optional[AzureliteError]]:
        """Wait for an owner, then crawl again with the owner's document and a new time budget."""
        if self.fabric.offline:
            text = "this VM waits in a pool for its owner: list `report_ready`, so that azurelite waits as well"
            return waiting, AzureliteError(text)
        self._wait_with(None)  # the pool's Ready comes now
        self.recording.wait(None)("an owner of this VM")
        with self.recording.span("wait", "an owner of this VM"):
            given = guard(
                lambda: leave_pool(kind, system=self.system, fabric=self.fabric, open_fabric=self.session.open_fabric)
            )
        self.fabric.renew(self.session.budget)
        self.system.commands.limit = self.fabric.reading
        if isinstance(given, AzureliteError):
            return Crawl(Metadata(vm_id=self.session.identity.vm_id)), given
        # The pool's own disc is still in the drive and must be ejected like any other.
        crawled, broken = self._crawl(replace(given, device=waiting.device))
        return crawled, broken or still_in_pool(crawled.metadata)

    def _save(self, crawled: Crawl, state: State) -> None:
        self.recording.metadata = records.save_metadata(self.system.files, crawled.metadata)
        if crawled.media is not None:
            state.keep_media(redacted(crawled.media.document))

    def _tidy_up(self, crawled: Crawl) -> None:
        """Eject the disc. Call this only after Azure has accepted Ready."""
        if not any(handler.name == EJECT_MEDIA for handler in self.handlers):
            eject_media(self.session, self.system, crawled.device)

    def _nameless(self, crawled: Crawl) -> Optional[AzureliteError]:
        if crawled.metadata.vm_id is not None:
            return None
        return crawled.metadata.missing.get("vm_id") or IdentityError(
            "no VM id: neither the firmware nor IMDS has it", reason="failure to identify Azure VM ID"
        )

    def give_up(self, cause: AzureliteError) -> Outcome:
        """The outcome of a run that failed outside of its steps. Reports the failure to Azure."""
        maybe_done = self.session.identity.vm_id is None and marker.knows_some_vm(self.system.root)
        told = self.runner.reporter.result
        ready = told is not None and told.is_ready  # then Azure takes no other report
        if not self.system.dry_run and not ready:
            self.standing.fail("provision", cause)
        if not self.system.dry_run and self.reporting and not maybe_done and not ready:
            with self.recording.span("report", "NotReady"):
                self.runner.reporter.tell(cause, self.runner.fabric.deadline, self.runner.said)
        brief, report = cause.once(self.runner.said), self.runner.reporter.result
        return Outcome(_kind(cause, report), cause.message, brief=brief, report=report, error=cause)

    def _conclude(self, steps: list[StepResult], vm_id: str, state: State, owed: dict[str, int]) -> Outcome:
        outcome = Outcome("provisioned", "", vm_id=vm_id, report=self.runner.reporter.result, steps=tuple(steps))
        if deciding_failure(steps) is not None:
            return with_failure(outcome)
        if self.system.dry_run:
            return replace(outcome, outcome="dry run", reason="nothing was changed and no report was sent")
        state.owe(owed)
        self._mark(state)
        untold = "Azure was told earlier" if self.reporting else "`report_ready` is not configured: Azure was not told"
        return replace(outcome, reason="Azure accepted Ready" if outcome.report else untold)

    def _later_boot(self, vm_id: str) -> Outcome:
        """Run the steps of every boot, and retry those whose source was unreachable at the first boot.

        A failure here does not fail the boot, and nothing is reported.
        """
        state = self._state(vm_id)
        owed = state.owed()
        due = due_later(self.handlers, owed)
        steps: list[StepResult] = []
        if due:
            self.fabric.sources = self.fabric.reading  # Azure is not waiting for the work on the machine
            crawled = self._crawl(sources=wanted_sources(due, self.session.config.datasource.sources))[0]
            plan = make_plan(self.handlers, crawled.metadata, state, later_boot=True, owed=owed)
            self.system.commands.limit = None  # Azure is not waiting: each program has its own timeout
            steps = self.runner.run(plan, crawled.metadata, state, remember=False, detach=self.options.detach)
            again = {step.handler.key for step in plan if step.again} | {one.name for one in steps if one.again}
            state.owe({key: tries + 1 for key, tries in owed.items() if key in again and tries + 1 < _TURNS})
        self._mark(state)  # the configuration may have changed
        forget_pool(self.system)
        ran = any(step.status != "skipped" for step in steps)
        done = "only the steps of every boot ran" if ran else "nothing to do"
        reason = f"VM {vm_id} was provisioned earlier; {done}"
        return Outcome("already provisioned", reason, vm_id=vm_id, steps=tuple(steps))

    def _is_done(self, state: State) -> bool:
        return not self.options.force and state.is_provisioned(reporting=self.reporting)

    def _mark(self, state: State) -> None:
        every_boot = any(handler.frequency == "boot" for handler in self.handlers) or bool(state.owed())
        unreported = not self.reporting and not state.is_provisioned(reporting=True)
        state.mark_provisioned(config_file=self.options.config_file, every_boot=every_boot, unreported=unreported)

    def _state(self, vm_id: str) -> State:
        return State(self.system, vm_id, self.fabric.clock)


def eject_media(session: Session, system: System, device: Optional[str]) -> None:
    """Eject the disc as the configuration says; a failure is only logged."""
    if device is not None and system.live and session.config.datasource.media.eject:
        from azurelite.system.disks.eject import eject

        try:
            eject(device)
        except MachineError as error:
            LOG.warning("eject_media: %s", error)


def said_by(metadata: Metadata) -> Iterator[str]:
    """The messages that the crawl has logged."""
    for error in (*metadata.gaps.failures.values(), *metadata.missing.values()):
        yield error.message


def with_failure(outcome: Outcome) -> Outcome:
    """The outcome with the kind and the reason of the failure that decides it, if there is one."""
    failure = deciding_failure(outcome.steps)
    if failure is None or failure.error is None:
        return outcome
    reason = f"{failure.name}: {failure.error}"
    brief = f"{failure.name}: {failure.error.short or failure.error}"  # the step's line in the log has all of it
    return replace(
        outcome, outcome=_kind(failure.error, outcome.report), reason=reason, brief=brief, error=failure.error
    )


def _kind(cause: AzureliteError, report: Optional[ReportResult]) -> str:
    """ "unreachable" if Azure gave no usable answer; where it accepted the report of the failure, it was reached."""
    untold = report is None or not report.accepted
    return "unreachable" if isinstance(cause, FabricError) and untold else "failed"
