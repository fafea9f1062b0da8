"""The last question before Ready: can the administrator log in? Asked on the machine as it is then, and never recorded.

A refusal counts as the failure of `ssh_keys`, so that Azure is told why. Where `ssh_keys` is not required, nobody is
expected to log in, and the answer is a note.
"""

from __future__ import annotations

import logging
from typing import Optional, Sequence

from azurelite.errors import AzureliteError, HandlerError
from azurelite.fabric.client import Fabric
from azurelite.guard import guard
from azurelite.handlers import Context
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome, StepResult
from azurelite.record import replace
from azurelite.run.plan import Step
from azurelite.state.store import Memory
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)

KEYS = "ssh_keys"


def keys_step(plan: Sequence[Step]) -> Optional[Step]:
    """The step `ssh_keys`, or None if it is not listed. Of several entries, the first that expects somebody."""
    listed = [step for step in plan if step.handler.name == KEYS]
    return next((step for step in listed if _is_expected(step)), next(iter(listed), None))


def _further_keys(plan: Sequence[Step]) -> list[str]:
    """The keys of the configuration."""
    return [key for step in plan if step.handler.name == KEYS for key in step.handler.options.keys]


def check_login(plan: Sequence[Step], results: list[StepResult], ctx: Context) -> Optional[StepResult]:
    """Add the answer to the result of `ssh_keys`.

    Args:
        plan: all steps of the run.
        results: of the steps before `report_ready`; changed in place.
        ctx: the run.

    Returns:
        The failed result if the login is certainly refused and somebody is expected to log in; otherwise None.
    """
    from azurelite.handlers.support.login import administrators_login

    step = keys_step(plan)
    name = step.handler.key if step is not None else KEYS
    verdict = guard(lambda: administrators_login(ctx, _further_keys(plan)))
    if isinstance(verdict, AzureliteError):
        _say(results, name, f"the login cannot be checked: {verdict.message}")
        return None
    if verdict is None:
        return None
    for note in verdict.notes:
        _say(results, name, note)
    if verdict.state != "refused":
        return None
    if step is None or not _is_expected(step):
        _say(results, name, verdict.reason)
        return None
    reason = "failed to provision ssh keys" if ctx.metadata.public_ssh_keys else "failed to provision password"
    error = HandlerError(verdict.reason, reason=reason)
    LOG.error("%s: %s", step.handler.key, error.message)
    place = next(i for i, one in enumerate(results) if one.name == step.handler.key)
    results[place] = replace(results[place], status="failed", reason=None, error=error)
    return results[place]


def foretell_login(plan: Sequence[Step], metadata: Metadata, system: System, fabric: Fabric) -> Optional[str]:
    """One line for `plan`: whether the administrator could log in once the plan's steps have run.

    None if no step creates or lets in an administrator.
    """
    if not any(step.handler.name in ("user", KEYS) for step in plan):
        return None
    from azurelite.handlers.support.login import administrators_login

    memory = Memory(system.files, metadata.vm_id)
    ctx = Context(metadata, system, fabric, Outcome("dry run", ""), lambda _: None, lambda: None, memory)
    planned = [one.handler.name for one in plan if one.skip is None and one.blocked is None]
    verdict = guard(lambda: administrators_login(ctx, _further_keys(plan), planned=planned))
    if verdict is None:
        return None
    if isinstance(verdict, AzureliteError):
        return f"cannot be checked: {verdict.message}"
    return verdict.reason or f"sshd will let {metadata.username} in, as far as its settings show"


def _is_expected(step: Step) -> bool:
    """Whether somebody is expected to log in. A false condition (`when`) means that nobody is."""
    return step.handler.required and (step.skip is None or not step.handler.when)


def _say(results: list[StepResult], name: str, note: str) -> None:
    """Log a note, and keep it with the result of `ssh_keys`, if that is listed."""
    for place, one in enumerate(results):
        if one.name == name:
            if note in one.notes:
                return
            results[place] = replace(one, notes=(*one.notes, note))
    LOG.warning("%s: %s", name, note)
