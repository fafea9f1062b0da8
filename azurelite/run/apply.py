"""Runs the handlers that a caller names, and marks nothing as done. See `azurelite.Azure.apply`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional, Union

from azurelite.config.load import HandlerEntry, entries_of
from azurelite.config.schema import unknown
from azurelite.datasource.crawl import Crawl
from azurelite.errors import ConfigError
from azurelite.fabric.client import Fabric
from azurelite.handlers import BUILTIN, Handler, ask_plugins, bind_handler, known_names
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome, StepResult
from azurelite.record import replace
from azurelite.run.obstacles import in_pool, note_crawl, note_login, what_holds_ready
from azurelite.run.plan import is_offline, make_plan, wanted_sources
from azurelite.run.provision import said_by, with_failure
from azurelite.run.session import Session
from azurelite.run.steps import Runner
from azurelite.state import marker
from azurelite.state.store import State
from azurelite.system.runlock import run_lock


def apply(
    session: Session,
    handlers: Sequence[Union[str, Mapping[str, Any]]],
    metadata: Optional[Metadata],
    *,
    dry_run: bool,
    sources: Optional[Sequence[str]],
    first_boot: bool,
) -> Outcome:
    """See `azurelite.Azure.apply`."""
    off = marker.switched_off(session.root)
    if off is not None:
        return Outcome("disabled", f"azurelite is disabled: {off}")
    vm_id = session.identity.vm_id
    over = marker.done_before(session.root, vm_id) if first_boot else None
    if over is not None:
        return Outcome("nothing to do", over, vm_id=vm_id)
    bound = _bind(session, handlers)
    if metadata is not None:
        if not dry_run:
            session.take(metadata)
        return _apply_given(session, bound, metadata, dry_run=dry_run)
    asked = tuple(sources) if sources else wanted_sources(bound, session.config.datasource.sources)
    return _apply_crawled(session, bound, asked, dry_run=dry_run)


def _bind(session: Session, handlers: Sequence[Union[str, Mapping[str, Any]]]) -> list[Handler]:
    """The handlers of these names or entries, with their options checked."""
    config = session.config
    entries, document = entries_of(handlers)
    inline = replace(config, document=document)
    asked = [
        (_entry(session, str(name)), config) if entry is None else (entry, inline)
        for name, entry in zip(handlers, entries)
    ]
    answers = ask_plugins([entry for entry, _ in asked], session.root)
    bound = [bind_handler(entry, source, session.root, answers) for entry, source in asked]
    return [replace(handler, when=()) for handler in bound]


def _entry(session: Session, name: str) -> HandlerEntry:
    config, root = session.config, session.root
    entries = [entry for entry in config.handlers if entry.key == name]
    entries = entries or [entry for entry in config.handlers if entry.name == name]
    if len(entries) > 1:
        raise ConfigError(
            f"{name!r} has several entries: use one of their ids: {', '.join(entry.key for entry in entries)}"
        )
    known = bool(entries) or name in BUILTIN or ":" in name  # only otherwise look for plug-ins, which takes time
    names = set() if known else {*known_names(root), *(entry.key for entry in config.handlers)}
    if not known and name not in names:
        raise unknown("handler", name, names, where="apply")
    return entries[0] if entries else HandlerEntry(name)


def _apply_given(session: Session, handlers: list[Handler], metadata: Metadata, *, dry_run: bool) -> Outcome:
    offline = is_offline(handlers, None, on_azure=session.on_azure(), dry_run=dry_run)
    with session.endpoints(offline=offline) as fabric:
        return _apply_steps(session, handlers, Crawl(metadata), fabric, dry_run=dry_run)


def _apply_crawled(session: Session, handlers: list[Handler], sources: tuple[str, ...], *, dry_run: bool) -> Outcome:
    offline = is_offline(handlers, sources, on_azure=session.on_azure(), early=True)
    with session.endpoints(offline=offline) as fabric:
        crawled = session.crawl(fabric, session.system(dry_run=True), sources=sources)
        if sources == ("media",) and offline and crawled.media is None and not crawled.metadata.gaps.failures:
            return Outcome("nothing to do", "no provisioning disc found")
        return _apply_steps(session, handlers, crawled, fabric, dry_run=dry_run)


def _apply_steps(
    session: Session, handlers: list[Handler], crawled: Crawl, fabric: Fabric, *, dry_run: bool
) -> Outcome:
    metadata = crawled.metadata
    started, earlier = session.clock.monotonic(), len(fabric.http.exchanges)
    system = session.system(dry_run=dry_run)
    vm_id = metadata.vm_id or session.identity.vm_id
    optional = {handler.key for handler in handlers if not handler.required}
    plan = make_plan([replace(handler, required=True) for handler in handlers], metadata, None)
    reporter = None if fabric.offline else session.reporter
    runner = Runner(
        system,
        fabric,
        vm_id,
        session.config,
        reporter=reporter,
        optional=optional,
        held=lambda done: what_holds_ready(session, done),
    )
    runner.events = session.events
    runner.said.update(said_by(metadata))
    refused = metadata.refused or in_pool(metadata, system)
    with run_lock(system, fabric.deadline):
        results = runner.run(
            plan,
            metadata,
            State(system, vm_id, session.clock),
            remember=False,
            refused=refused,
            media_device=crawled.device,
        )
        report = runner.reporter.result
        if not dry_run:
            _note_results(session, results, optional, accepted=report is not None and report.is_ready)
    outcome = Outcome("dry run" if dry_run else "applied", "", vm_id, report=report, steps=tuple(results))
    return replace(
        with_failure(outcome),
        seconds=session.clock.monotonic() - started,
        exchanges=tuple(fabric.http.exchanges[earlier:]),
    )


def _note_results(
    session: Session, results: Sequence[StepResult], optional: Collection[str], *, accepted: bool
) -> None:
    standing = session.standing
    standing.add(results, optional=optional)
    if accepted:
        standing.accept()
        return
    if (session.heard and not session.heard[-1].is_usual) or "datasource" in standing.failed:
        note_crawl(session)
    note_login(session, applied={one.name for one in results if one.status == "done"})
