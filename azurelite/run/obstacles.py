"""What holds Ready back: the same for a run, for single functions and for single verbs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Optional

from azurelite.errors import AzureliteError, HandlerError
from azurelite.guard import guard
from azurelite.handlers import REPORT_READY, Context, bind_handlers
from azurelite.metadata import Gaps, Metadata
from azurelite.outcome import Outcome, StepResult
from azurelite.run.login import KEYS, check_login, keys_step
from azurelite.run.plan import Step, make_plan, wanted_sources
from azurelite.run.pool import pool_type
from azurelite.run.session import Session
from azurelite.state.store import State
from azurelite.system.machine import System

LOGIN = "login"  # what `note_login` notes
Obstacle = tuple[str, AzureliteError]  # the step, and why it failed or will fail


def what_holds_ready(session: Session, done: Collection[str] = ()) -> Optional[Obstacle]:
    """The step that holds Ready back, and why: one that failed, or one that `provision` could not do either.

    Args:
        done: the steps that this call has done.
    """
    standing = session.standing
    stale = {*done, LOGIN} if _whole(session) is not None else done  # the login is checked again
    failed = next(((name, why) for name, why in standing.failed.items() if name not in stale), None)
    return failed or foreseen_failure(session, {*done, *standing.done})


def foreseen_failure(session: Session, done: Collection[str], *, login: bool = True) -> Optional[Obstacle]:
    """What `provision` would fail with, as far as the last crawl tells; `login`: and the login that it checks."""
    known = _whole(session)
    if known is None:
        return None
    system = session.system()
    refused = known.refused or in_pool(known, system)
    if refused is not None:
        return "datasource", refused
    plan = _before_report(make_plan(bind_handlers(session.config, session.root), known, None))
    for step in plan:
        if step.blocked is not None and step.handler.required and step.handler.key not in done:
            return step.handler.key, step.blocked
    return _refused_login(session, plan, known, system) if login else None


def _refused_login(session: Session, plan: tuple[Step, ...], known: Metadata, system: System) -> Optional[Obstacle]:
    step = keys_step(plan)
    if known.username is None or step is None:
        return None  # nobody is expected, or the program lets its administrator in itself
    with_password = bool(known.password) and known.disable_password_authentication is not True
    given = known.public_ssh_keys or step.handler.options.keys or with_password
    if not given and step.handler.required and step.skip is None:
        text = "Azure gave no SSH key and no password that may be used, so nobody could log in"
        return step.handler.key, HandlerError(
            f"{text}: set `required: false` if there is another way", reason="failed to provision ssh keys"
        )
    memory = State(system, known.vm_id, session.clock).memory
    results = [StepResult(step.handler.key, "done", step.handler.required) for step in plan]
    outcome = Outcome("provisioned", "so far")
    with session.endpoints(offline=True) as fabric:  # the check sends no request
        ctx = Context(known, system, fabric, outcome, lambda _: None, lambda: None, memory)
        failed = check_login(plan, results, ctx)
    return (failed.name, failed.error) if failed is not None and failed.error is not None else None


def _whole(session: Session) -> Optional[Metadata]:
    """What the last crawl said, if it read all that the required steps need."""
    crawled, asked = session.crawled, session.asked
    if crawled is None or asked is None:
        return crawled.metadata if crawled is not None else None
    required = [one for one in bind_handlers(session.config, session.root) if one.required]
    needed = wanted_sources(required, session.config.datasource.sources)
    return crawled.metadata if set(needed) <= set(asked) else None


def note_crawl(session: Session) -> None:
    """Note what the last crawl tells about Ready, so that another call of this boot knows it."""
    metadata = session.crawled.metadata if session.crawled is not None else Metadata()
    suspect = metadata.gaps != Gaps() or metadata.username is None or metadata.pps_type is not None
    held = None
    if suspect:
        found: Any = guard(lambda: [_whole(session), foreseen_failure(session, session.standing.done, login=False)])
        if isinstance(found, AzureliteError) or found[0] is None:
            return  # the configuration is wrong, which the next call says; or nobody asked for what Ready needs
        held = found[1]
    if held is not None:
        session.standing.fail("datasource", held[1])
    else:
        session.standing.forgive("datasource")


def note_login(session: Session, *, applied: Collection[str]) -> None:
    """Note whether the administrator can log in, once `ssh_keys` was applied, so that another process knows it."""
    standing = session.standing
    known = _whole(session) if KEYS in applied or LOGIN in standing.failed else None
    if known is None:
        return
    system = session.system()
    plan = make_plan(bind_handlers(session.config, session.root), known, None)
    refused = _refused_login(session, plan, known, system)
    if refused is not None:
        standing.fail(LOGIN, refused[1])
    else:
        standing.forgive(LOGIN)


def in_pool(metadata: Metadata, system: System) -> Optional[AzureliteError]:
    """Why nothing is done for the pool in which a VM waits: the user of the pool is not its owner."""
    if system.dry_run or pool_type(metadata, system) is None:
        return None
    return AzureliteError("this VM waits in a pool for its owner: use `provision`, which waits as well")


def _before_report(plan: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps before `report_ready`; all if it is not listed."""
    names = [step.handler.name for step in plan]
    return plan[: names.index(REPORT_READY)] if REPORT_READY in names else plan
