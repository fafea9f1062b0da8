"""What holds Ready back: the same for a run, for single functions and for single verbs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Optional

from azurelite.errors import AzureliteError, HandlerError
from azurelite.guard import guard
from azurelite.handlers import REPORT_READY, Context
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome, StepResult
from azurelite.run.login import KEYS, check_login, keys_step
from azurelite.run.plan import Step, make_plan, wanted_sources
from azurelite.run.pool import pool_type
from azurelite.run.session import Session
from azurelite.state import marker
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
    if standing.ready or session.was_reported():
        return None
    stale = {*done, LOGIN} if _whole(session) is not None else done  # the login is checked again
    failed = next(((name, why) for name, why in standing.failed.items() if name not in stale), None)
    return failed or foreseen_failure(session, {*done, *standing.done})


def foreseen_failure(session: Session, done: Collection[str], *, login: bool = True) -> Optional[Obstacle]:
    """What `provision` would fail with, as far as the crawls tell; `login`: and the login that it checks."""
    if session.was_reported():
        return None
    whole, system = _whole(session), session.system()
    for metadata in reversed(session.heard):
        refused = metadata.refused or in_pool(metadata, system)
        if refused is not None:
            return "datasource", refused
        plan = _before_report(make_plan(session.handlers, metadata, None))
        for step in plan:
            certain = metadata is whole or _lacks(step, metadata.gaps.lost)
            if step.blocked is not None and step.handler.required and certain and step.handler.key not in done:
                return step.handler.key, step.blocked
        if metadata is whole:
            return _refused_login(session, plan, metadata, system) if login else None
    return None


def _lacks(step: Step, lost: Collection[str]) -> bool:
    """Whether a step needs a field that Azure has, as far as is known, and that could not be read."""
    return bool(set(lost) & {*step.handler.needs, *step.handler.uses})


def _refused_login(session: Session, plan: tuple[Step, ...], known: Metadata, system: System) -> Optional[Obstacle]:
    step = keys_step(plan)
    if known.username is None or step is None:
        return None  # nobody is expected, or the program lets its administrator in itself
    given = known.public_ssh_keys or step.handler.options.keys or known.has_usable_password
    if not given and step.handler.required and step.skip is None:
        text = "Azure gave no SSH key and no password that may be used, so nobody could log in"
        return step.handler.key, HandlerError(
            f"{text}: deploy the VM with one, or set `required: false` if there is another way",
            reason="failed to provision ssh keys",
        )
    memory = State(system, known.vm_id, session.clock).memory
    results = [StepResult(step.handler.key, "done", step.handler.required) for step in plan]
    outcome = Outcome("provisioned", "so far")
    with session.endpoints(offline=True) as fabric:  # the check sends no request
        ctx = Context(known, system, fabric, outcome, lambda _: None, lambda: None, memory)
        failed = check_login(plan, results, ctx)
    return (failed.name, failed.error) if failed is not None and failed.error is not None else None


def _whole(session: Session) -> Optional[Metadata]:
    """The last crawl that read all that the required steps need."""
    if not session.heard:
        return None
    required = [one for one in session.handlers if one.required]
    needed = set(wanted_sources(required, session.config.datasource.sources))
    return next((one for one in reversed(session.heard) if needed <= set(one.gaps.sources or ())), None)


def note_crawl(session: Session) -> None:
    """Note what the last crawl tells about Ready, so that another call of this boot knows it."""
    found: Any = guard(lambda: [_whole(session), foreseen_failure(session, session.standing.done, login=False)])
    if isinstance(found, AzureliteError):
        return  # the configuration is wrong, which the next call says
    whole, held = found
    if held is not None:
        session.standing.fail("datasource", held[1])
    elif whole is not None and whole is session.heard[-1]:
        session.standing.forgive("datasource", "provision")


def note_login(session: Session, *, applied: Collection[str]) -> None:
    """Note whether the administrator can log in, once `ssh_keys` was applied, so that another process knows it."""
    standing = session.standing
    known = _whole(session) if KEYS in applied or LOGIN in standing.failed else None
    if known is None:
        return
    system = session.system()
    plan = make_plan(session.handlers, known, None)
    refused = _refused_login(session, plan, known, system)
    if refused is not None:
        standing.fail(LOGIN, refused[1])
    else:
        standing.forgive(LOGIN)


def in_pool(metadata: Metadata, system: System) -> Optional[AzureliteError]:
    """Why nothing is done for the pool in which a VM waits: the user of the pool is not its owner."""
    reported = metadata.vm_id is not None and marker.reported(system.root, metadata.vm_id)
    if system.dry_run or reported or pool_type(metadata, system) is None:
        return None
    return AzureliteError("this VM waits in a pool for its owner: use `provision`, which waits as well")


def _before_report(plan: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps before `report_ready`; all if it is not listed."""
    names = [step.handler.name for step in plan]
    return plan[: names.index(REPORT_READY)] if REPORT_READY in names else plan
