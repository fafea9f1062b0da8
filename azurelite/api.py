"""The implementation of the public functions and the verbs: one function each, typed values in and out."""

from __future__ import annotations

import os
from typing import Any, Mapping, Optional, Sequence

from azurelite.clock import Clock
from azurelite.config.load import HandlerEntry
from azurelite.config.schema import unknown
from azurelite.datasource.crawl import Crawl
from azurelite.errors import ConfigError
from azurelite.fabric.client import Fabric
from azurelite.handlers import BUILTIN, REPORT_READY, Handler, ask_plugins, bind_handler, bind_handlers, known_names
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.record import Record, replace
from azurelite.run.plan import Step, due_later, foreseen, make_plan, wanted_sources
from azurelite.run.provision import LATER_BOOT_SECONDS, Options, apply_steps, provision
from azurelite.run.session import PathLike, Session, open_session
from azurelite.state import marker
from azurelite.state.store import State
from azurelite.system.machine import System
from azurelite.system.root import Root


class Plan(Record):
    """What `provision` would do.

    Attributes:
        headline: one line about the VM.
        steps: in order.
        login: whether the administrator could log in by SSH after these steps; None: nobody is expected.
    """

    headline: str
    steps: tuple[Step, ...]
    login: Optional[str] = None


SOURCES = ("imds", "media", "wireserver")


def run_provision(
    *,
    root: str,
    config: Optional[PathLike],
    dry_run: bool,
    force: bool,
    detach: bool = False,
    clock: Optional[Clock] = None,
) -> Outcome:
    """See `azurelite.provision`. With `detach`, the calling process may end here and a new one return."""
    file = os.fspath(config) if config is not None else None
    return provision(
        Options(
            root=root,
            config_file=file,
            dry_run=dry_run,
            force=force,
            detach=detach and not dry_run,
            search_path=os.environ.get("PATH"),
            clock=clock,
        )
    )


def run_apply(
    names: Sequence[str],
    *,
    metadata: Optional[Mapping[str, Any]],
    root: str,
    config: Optional[PathLike],
    dry_run: bool,
    sources: Optional[Sequence[str]] = None,
    first_boot: bool = False,
    clock: Optional[Clock] = None,
) -> Outcome:
    """See `azurelite.apply`. With `first_boot`, nothing is done to a VM that was provisioned earlier."""
    session = open_session(root, config, clock)
    over = marker.done_before(session.root, session.identity.vm_id) if first_boot else None
    if over is not None:
        return Outcome("nothing to do", over, vm_id=session.identity.vm_id)
    handlers = _named(names, session)
    options = Options(root=root, dry_run=dry_run, search_path=os.environ.get("PATH"), clock=session.clock)
    for source in sources or ():
        if source not in SOURCES:
            raise unknown("source", source, SOURCES, where="apply")
    if metadata is None:
        asked = tuple(sources) if sources else wanted_sources(handlers, session.config.datasource.sources)
        return _apply_crawled(session, handlers, options, asked)
    try:
        given = Metadata.from_dict(metadata)
    except ValueError as error:
        raise ConfigError(f"the metadata is not in the form that `azurelite metadata` prints: {error}") from error
    talks = REPORT_READY in names and not dry_run
    # Without a report no request may be sent, so the time budget is 0.
    with session.open_fabric() if talks else Fabric(0, clock=session.clock) as fabric:
        crawled = Crawl(given, {})
        return apply_steps(session, make_plan(handlers, crawled, None), crawled, fabric, options)


def _apply_crawled(session: Session, handlers: list[Handler], options: Options, sources: tuple[str, ...]) -> Outcome:
    dials = any(handler.name in (REPORT_READY, "certificates") or handler.timeout for handler in handlers)
    offline = not dials and not set(sources) - {"media"}
    # Before the network is up no request may be sent, not even for certificates, so the time budget is 0.
    with Fabric(0, clock=session.clock) if offline else session.open_fabric() as fabric:
        system = System(options.root, dry_run=True, search_path=options.search_path)
        crawled = session.crawl(fabric, system, sources=sources)
        if sources == ("media",) and offline and crawled.media is None and not crawled.failures:
            return Outcome("nothing to do", "no provisioning disc found")
        return apply_steps(session, make_plan(handlers, crawled, None), crawled, fabric, options)


def run_plan(*, root: str, config: Optional[PathLike], force: bool = False) -> Plan:
    """What `provision` would do, and why each step runs or is skipped. Asks Azure only for what the steps need.

    Raises:
        ConfigError: the configuration is wrong.
        NotAzureError: this is not Azure.
    """
    off = marker.switched_off(Root(root))
    if off is not None:
        return Plan(f"azurelite is disabled: {off}", ())
    session = open_session(root, config, None)
    handlers = bind_handlers(session.config, session.root)
    system = System(root, dry_run=True, clock=session.clock)
    vm_id = session.identity.vm_id
    reporting = any(handler.name == REPORT_READY for handler in handlers)
    done = State(system, vm_id, session.clock) if vm_id is not None and not force else None
    later = done is not None and done.is_provisioned(reporting=reporting)
    with session.open_fabric(seconds=LATER_BOOT_SECONDS if later else None) as fabric:
        if later and done is not None:
            said = f"VM {vm_id} was provisioned earlier; only the steps of every boot run"
            owed = done.owed()
            wanted = wanted_sources(due_later(handlers, owed), session.config.datasource.sources)
            crawled = session.crawl(fabric, system, sources=wanted)
            return Plan(said, make_plan(handlers, crawled, done, later_boot=True, owed=owed))
        crawled = session.crawl(fabric, system)
    vm_id = crawled.metadata.vm_id
    state = State(system, vm_id, session.clock) if vm_id is not None and not force else None
    plan = foreseen(make_plan(handlers, crawled, state))
    from azurelite.run.login import foretell_login

    return Plan(f"VM {vm_id}", plan, foretell_login(plan, crawled.metadata, system, fabric))


def _named(names: Sequence[str], session: Session) -> list[Handler]:
    """The handlers with these names or ids, with the options of their entries in the configuration."""
    entries = [_entry(name, session) for name in names]
    answers = ask_plugins(entries, session.root)
    # A handler named on the command line runs whatever `when` says, and its failure fails the run.
    bound = (bind_handler(entry, session.config, session.root, answers) for entry in entries)
    return [replace(handler, required=True, when=()) for handler in bound]


def _entry(name: str, session: Session) -> HandlerEntry:
    config = session.config
    entries = [entry for entry in config.handlers if entry.key == name]
    entries = entries or [entry for entry in config.handlers if entry.name == name]
    if len(entries) > 1:
        raise ConfigError(
            f"{name!r} has several entries: use one of their ids: {', '.join(entry.key for entry in entries)}"
        )
    known = bool(entries) or name in BUILTIN or ":" in name  # only otherwise look for plug-ins, which takes time
    names = set() if known else {*known_names(session.root), *(entry.key for entry in config.handlers)}
    if not known and name not in names:
        raise unknown("handler", name, names, where="apply")
    return entries[0] if entries else HandlerEntry(name)
