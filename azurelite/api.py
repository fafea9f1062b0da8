"""`Azure`: the one object behind the public functions and the verbs, so that both follow the same rules."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional, Union

from azurelite.clock import Clock
from azurelite.config.load import REPORT_READY
from azurelite.errors import AzureliteError, ConfigError, DisabledError, FabricError, OutOfOrderError
from azurelite.guard import guard
from azurelite.metadata import Metadata
from azurelite.run.session import Session
from azurelite.state import marker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.fabric.goalstate import GoalState
    from azurelite.outcome import Outcome
    from azurelite.run.events import Event
    from azurelite.run.preview import Plan
    from azurelite.run.reporter import Reporter
    from azurelite.state.store import State

LOG = logging.getLogger(__name__)
PathLike = Union[str, "os.PathLike[str]"]


class Azure:
    """One guest on Azure, for one run: one time budget, one connection per server, one goal state.

    All of a first boot in one call, with the handlers of the configuration::

        with azurelite.Azure() as azure:
            azure.provision().check()

    Or step by step, in a distribution's own init code::

        with azurelite.Azure() as azure:
            if not azure.is_done():  # at each boot after the first
                try:
                    metadata = azure.crawl()
                    outcome = azure.apply(["hostname", "user", "ssh_keys"], metadata)
                    outcome.check()  # stricter than `provision`: also a failed host name
                    azure.report_ready()
                except (azurelite.FabricError, azurelite.NotAzureError, azurelite.DisabledError):
                    raise  # nobody to report to, or no answer in time: the next boot tries again
                except azurelite.AzureliteError as error:  # also a broken configuration
                    azure.report_failure(error)  # Azure ends the deployment, and shows the reason
                    raise
                azure.mark_done()

    Ready is refused after a required step has failed, in this object or in another call of this boot, and where
    `provision` would report NotReady for the same metadata. `azurelite handlers` lists the handlers and their options.

    Making the object does no I/O; the time budget begins with the first request. No method prints or exits; each error
    is an `AzureliteError`. The methods may be called twice, and from several threads: one call waits for the other.

    Args:
        root: host path of the guest's `/`.
        config: host path of a YAML file in place of /etc/azurelite/azurelite.yaml; or a mapping as such a file holds
            it, on top of the built-in defaults, with which no file or drop-in of the guest is read:
            `{"handlers": ["hostname", "report_ready"]}`; None: the files of the guest.
        seconds: time for all requests together; never more than `datasource.deadline`.
        clock: for tests: any object with the methods of `azurelite.clock.Clock`, as `azurelite.simulator.FastClock`.
        on_event: gets an `Event` for each step, change, request and wait, while it happens. It is called in the thread
            of the call that causes it, which goes on when it returns. An error that it raises is logged, and then it
            gets no more events.
    """

    def __init__(
        self,
        *,
        root: PathLike = "/",
        config: Union[PathLike, Mapping[str, Any], None] = None,
        seconds: Optional[float] = None,
        clock: Optional[Clock] = None,
        on_event: Optional[Callable[[Event], object]] = None,
    ) -> None:
        events = None
        if on_event is not None:
            from azurelite.run.events import Events

            events = Events(on_event)
        given = config if config is None or isinstance(config, Mapping) else os.fspath(config)
        self._root = os.fspath(root)
        self._session = Session(self._root, config=given, seconds=seconds, clock=clock, events=events)
        self._lock = threading.RLock()

    def __enter__(self) -> Azure:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later call opens them anew, with a new time budget."""
        with self._lock:
            self._session.close()

    def vm_id(self) -> Optional[str]:
        """The VM id that the firmware has, a lower-case UUID; None if it has none. Sends no request."""
        with self._lock:
            return self._session.identity.vm_id

    def is_done(self) -> bool:
        """Whether this VM is provisioned, and Azure was told so if `report_ready` is configured. Sends no request.

        False if the firmware has no VM id: only IMDS can tell then. On such machines use `provision`, which asks it.

        Raises:
            ConfigError: the configuration is wrong.
        """
        with self._lock:
            vm_id = self._session.identity.vm_id
            return vm_id is not None and self._state(vm_id).is_provisioned(reporting=self._is_reporting())

    def mark_done(self) -> None:
        """Remember that this VM is provisioned: `is_done` is then True, and `provision` does nothing at the next boot.

        `provision` marks it itself. A captured image of this VM is another VM, which is not done.

        Raises:
            OutOfOrderError: Azure has not accepted Ready in this boot, or the VM id is unknown.
            ConfigError: the configuration is wrong.
        """
        with self._lock:
            session = self._session
            vm_id = session.vm_id
            if vm_id is None:
                raise OutOfOrderError("the VM cannot be marked as done: its id is unknown: crawl first")
            state = self._state(vm_id)
            if state.is_provisioned(reporting=True):
                return
            if not session.standing.ready:
                raise OutOfOrderError(
                    "the VM cannot be marked as done: Azure has not accepted Ready: call report_ready first"
                )
            every_boot = any(handler.frequency == "boot" for handler in session.handlers)
            state.mark_provisioned(config_file=session.config_file, every_boot=every_boot, unreported=False)

    def crawl(self, *, sources: Optional[Sequence[str]] = None) -> Metadata:
        """Read everything that Azure says about this VM. Changes nothing on the machine.

        Args:
            sources: "imds", "media", "wireserver", the name of a plug-in or `module:function`: those to read; None: the
                configured ones. Azure is not needed where they are plug-ins only.

        Returns:
            The metadata, see `azurelite.Metadata`: `metadata.username`, or `metadata["username"]`. What could not be
            read is in its `missing`; what Azure does not have is None and not in it.

        Raises:
            NotAzureError: the firmware does not prove Azure; no request was sent.
            ConfigError: the configuration is wrong, or there is no such source.
            FabricError: no source answered in time.
        """
        with self._lock:
            session = self._session
            asked = self._checked_sources(sources)
            metadata = session.crawl_alone(asked).metadata
            if metadata.is_usual and asked is None:
                session.standing.forgive("datasource", "provision")
            else:
                from azurelite.run.obstacles import note_crawl

                note_crawl(session)
            documents = [document for document in metadata.raw.values() if document is not None]
            useful = set(metadata.provenance.values()) - {"firmware"} or documents
            if not useful and metadata.gaps.failures:
                raise next(iter(metadata.gaps.failures.values()))
            return metadata

    def apply(
        self,
        handlers: Sequence[Union[str, Mapping[str, Any]]],
        metadata: Optional[Mapping[str, Any]] = None,
        *,
        dry_run: bool = False,
        sources: Optional[Sequence[str]] = None,
        first_boot: bool = False,
    ) -> Outcome:
        """Run only these handlers, even if they ran before. Marks nothing as done.

        A handler that was asked for by name runs whatever its `when` says, and if it fails, the outcome is "failed".
        Whether its failure holds Ready back, its entry says (`required`), as in `provision`.

        Args:
            handlers: in order: names or ids, whose options come from the configuration; or `{name: options}`, as
                `{"timezone": {"zone": "Etc/UTC"}}`.
            metadata: what `crawl` returned, or a document of it; `{}` for none. Without `report_ready` no request is
                sent then, also elsewhere than on Azure; None: ask Azure for what the handlers need.
            dry_run: change nothing.
            sources: as in `crawl`; only without metadata. With "media" alone no request is sent.
            first_boot: do nothing if this VM was provisioned earlier.

        Returns:
            The outcome; `exit_code` is 1 if a handler failed, 3 if Azure was not reached. A failure is not raised: call
            `outcome.check()`. Where azurelite is switched off, nothing is done: `outcome.outcome` is "disabled".

        Raises:
            ConfigError: the configuration, the handlers or the metadata are wrong.
            NotAzureError: Azure has to be asked, but the firmware does not prove Azure.
            MachineError: another run of azurelite did not end in time.
        """
        with self._lock:
            session = self._session
            from azurelite.run.apply import apply

            sources = self._checked_sources(sources)
            known = _as_metadata(metadata) if metadata is not None else None
            return apply(session, handlers, known, dry_run=dry_run, sources=sources, first_boot=first_boot)

    def provision(
        self,
        *,
        metadata: Optional[Mapping[str, Any]] = None,
        dry_run: bool = False,
        force: bool = False,
        detach: bool = False,
    ) -> Outcome:
        """The main job: crawl, run the configured handlers in order, report to Azure.

        Args:
            metadata: what `crawl` returned, or a document of it, to use instead of asking the sources. Where
                `report_ready` is not listed, no request is sent then, and the machine need not be on Azure.
            dry_run: change nothing, send no report; the outcome lists what would change.
            force: provision again even if this VM is done.
            detach: once Azure has accepted Ready, end this process with 0 and return in a new one.

        Returns:
            The outcome, with `exit_code` (0, 1 or 3), the steps with their changes, and the report. A failure is not
            raised: call `outcome.check()`.

        Raises:
            ConfigError: the configuration is wrong. On a running Azure VM, Azure is told first.
        """
        with self._lock:
            from azurelite.run.provision import Options, provision

            options = Options(
                root=self._root,
                config_file=self._session.config_file,
                dry_run=dry_run,
                force=force,
                detach=detach and not dry_run,
            )
            return provision(options, self._session, _as_metadata(metadata) if metadata is not None else None)

    def plan(self, *, force: bool = False) -> Plan:
        """What `provision` would do, and why each step runs or is skipped. Asks Azure only for what the steps need.

        Raises:
            ConfigError: the configuration is wrong.
            NotAzureError: this is not Azure.
        """
        with self._lock:
            from azurelite.run.preview import preview

            return preview(self._session, force=force)

    def report_ready(self, *, force: bool = False, tell: Optional[Callable[[str], object]] = None) -> None:
        """Tell Azure that this VM is ready, with the current goal state; then eject the disc as configured.

        Without an earlier call it needs no user, key or handler. After a crawl, Ready is refused where `provision`
        would not report it: a required step of the configuration lacks something that Azure has, the VM waits in a
        pool for its owner, or the administrator cannot log in.

        Args:
            force: report Ready although a step has failed, because it was repaired by other means.
            tell: gets each step of the report as one line of text.

        Raises:
            OutOfOrderError: a required step has failed; the message names it.
            DisabledError: azurelite is switched off; nothing was sent.
            NotAzureError: the firmware does not prove Azure; nothing was sent.
            FabricError: Azure did not accept the report in time.
            ConfigError: the configuration is wrong.
        """
        with self._lock, self._telling(tell):
            session = self._session
            held = None if force else self._obstacle()
            if held is not None:
                name, cause = held
                raise OutOfOrderError(
                    f"Ready is not reported, because {name} failed: {cause.message}: "
                    "repair that and run it again, or report the failure",
                    reason=cause.reason,
                    data=cause.data,
                )
            self._reporter().ready(session.fabric().deadline)
            session.standing.accept()
            if session.crawled is not None and session.crawled.device is not None:
                from azurelite.run.provision import eject_media

                eject_media(session, session.system(), session.crawled.device)

    def report_failure(
        self, cause: Union[AzureliteError, str], *, tell: Optional[Callable[[str], object]] = None
    ) -> None:
        """Tell Azure that provisioning failed. Azure fails the deployment at once and shows the reason.

        With a configuration that cannot be read, the built-in defaults are used, so that this can be reported too.

        Args:
            cause: the error, or a text for the portal; never a secret.
            tell: gets each step of the report as one line of text.

        Raises:
            OutOfOrderError: Azure has accepted Ready before, and takes no failure after it.
            ConfigError: the text is empty.
            DisabledError, NotAzureError, FabricError: as `report_ready`.
        """
        from azurelite.fabric.health import check_reason

        with self._lock:
            error = cause if isinstance(cause, AzureliteError) else AzureliteError(str(cause or ""))
            check_reason(error.reason)
            configured = self._session
            self._session = self._or_defaults()
            try:
                with self._telling(tell):
                    if self._is_ready():
                        raise OutOfOrderError("no failure is reported: Azure has accepted Ready of this VM before")
                    self._reporter().not_ready(error, self._session.fabric().deadline)
                    self._session.standing.fail("report_failure", error)
            finally:
                if self._session is not configured:
                    self._session.close()
                self._session = configured

    def report_progress(
        self,
        text: str = "provisioning continues",
        *,
        seconds: float = 10,
        tell: Optional[Callable[[str], object]] = None,
    ) -> bool:
        """Tell Azure that provisioning continues.

        Args:
            text: what is being done.
            seconds: how long to try.
            tell: gets each step of the report as one line of text.

        Returns:
            Whether Azure was told. After Ready or a failure was reported, nothing is sent. A report that fails is no
            error: it is logged.

        Raises:
            DisabledError, NotAzureError, ConfigError: as `report_ready`.
        """
        with self._lock, self._telling(tell):
            session = self._session
            if session.standing.ready or "report_failure" in session.standing.failed or self._is_ready():
                return False
            deadline = session.fabric().deadline.within(seconds)
            error = guard(lambda: self._reporter().progress(text, deadline))
            if isinstance(error, FabricError):
                LOG.warning("report_progress: Azure was not told that provisioning continues: %s", error)
                return False
            if isinstance(error, AzureliteError):
                raise error
            return True

    def goal_state(self) -> GoalState:
        """Fetch this VM's goal state from WireServer: the first of the three steps of a report.

        Returns:
            The goal state: container_id, instance_id, incarnation (str), certificates_url (str or None).

        Raises:
            NotAzureError: the firmware does not prove Azure; no request was sent.
            FabricError: no usable answer in time.
            ConfigError: the configuration is wrong.
        """
        with self._lock:
            fabric = self._session.fabric()
            return fabric.wireserver.fetch_goal_state(fabric.deadline)

    def post_report(self, document: bytes) -> None:
        """Send a health report to WireServer: the third step. Failures that may pass are retried.

        Args:
            document: what `azurelite.build_report` returned.

        Raises:
            ReportRefusedError: Azure did not accept it. If `error.data["http_code"]` is "410", the goal state has
                changed: start again with `goal_state`.
            DisabledError, NotAzureError, FabricError, ConfigError: as `report_ready`.
        """
        with self._lock:
            self._refuse_if_disabled()
            fabric = self._session.fabric()
            fabric.wireserver.post(document, fabric.deadline)

    def _obstacle(self) -> Optional[tuple[str, AzureliteError]]:
        """The step that holds Ready back, and why."""
        session = self._session
        if not session.heard:
            return None if session.standing.ready else next(iter(session.standing.failed.items()), None)
        from azurelite.run.obstacles import what_holds_ready

        return what_holds_ready(session)

    def _checked_sources(self, sources: Optional[Sequence[str]]) -> Optional[tuple[str, ...]]:
        """Raises ConfigError: there is no such source, or it is no name."""
        if sources is None:
            return None
        from azurelite.config.document import document_of

        named = tuple(sources)
        document = document_of({"sources": named}, name="")
        if isinstance(sources, str) or not all(isinstance(name, str) for name in named):
            raise ConfigError("`sources` must be a list of names")
        self._session.check_sources(named, document, ("sources",))
        return named

    def _reporter(self) -> Reporter:
        """The session's reporter, for a report that the caller tells of."""
        self._session.reporter.quiet = True
        return self._session.reporter

    def _state(self, vm_id: str) -> State:
        from azurelite.state.store import State

        return State(self._session.system(), vm_id, self._session.clock)

    def _is_reporting(self) -> bool:
        return any(entry.name == REPORT_READY for entry in self._session.config.handlers)

    def _is_ready(self) -> bool:
        """Whether Azure has accepted Ready of this VM, as far as is recorded."""
        session = self._session
        told = session.reporter.result
        return session.standing.ready or (told is not None and told.is_ready) or session.was_reported()

    def _refuse_if_disabled(self) -> None:
        off = marker.switched_off(self._session.root)
        if off is not None:
            raise DisabledError(f"azurelite is disabled: {off}")

    def _or_defaults(self) -> Session:
        """The session, or one with the built-in defaults where the configuration cannot be read."""
        session = self._session
        if not isinstance(guard(lambda: session.config), ConfigError):
            return session
        return Session(self._root, config={}, seconds=session.seconds, clock=session.clock, events=session.events)

    @contextlib.contextmanager
    def _telling(self, tell: Optional[Callable[[str], object]]) -> Iterator[None]:
        """Check that a report may be sent, and hand its steps to the caller."""
        self._refuse_if_disabled()
        self._session.prove_azure()
        if tell is None:
            yield
            return
        wireserver = self._session.fabric().wireserver
        before, wireserver.tell = wireserver.tell, tell
        try:
            yield
        finally:
            wireserver.tell = before


def _as_metadata(given: Mapping[str, Any]) -> Metadata:
    try:
        return Metadata.from_dict(given)
    except ValueError as error:
        raise ConfigError(f"the metadata is not in the form that `azurelite metadata` prints: {error}") from error
