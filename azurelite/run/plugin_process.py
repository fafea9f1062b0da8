"""Runs a plug-in in a separate interpreter, with a timeout: sends it its task, and reads its answer."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from azurelite import plugins
from azurelite.clock import Deadline
from azurelite.errors import AzureliteError, HandlerError, MachineError
from azurelite.handlers import Context, Handler
from azurelite.record import replace
from azurelite.system.changes import Change
from azurelite.system.portable import pack
from azurelite.system.wishes import wishes_as_data


def run_plugin(handler: Handler, ctx: Context) -> None:
    """Run a plug-in.

    Raises:
        HandlerError: it failed, reached its timeout, or ended without an answer.
    """
    limit = ctx.system.commands.limit  # the deadline of all steps before Ready
    seconds = handler.timeout or 0.0
    deadline = Deadline(ctx.fabric.clock, seconds) if limit is None else limit.within(seconds)
    try:
        secrets = [*plugins.secrets_of(vars(ctx.metadata)), *plugins.secrets_of(handler.options)]
        with plugins.start(_given(handler, ctx), name=handler.id, secrets=secrets, keep=ctx.system.lock) as child:
            answer = plugins.read_answer(child.answer(deadline, waiting=ctx.system.commands.waiting), child.what)
            child.end()
        changes, notes, failure = _read(answer, handler)
    except MachineError as error:
        raise HandlerError(error.message, reason=f"plug-in {handler.id} failed") from error
    ctx.system.journal.adopt(changes)
    for note in notes:
        ctx.note(note)
    if failure is not None:
        raise failure


def _read(answer: Mapping[str, Any], handler: Handler) -> tuple[list[Change], list[str], Optional[HandlerError]]:
    """The changes, notes and failure of an answer. Raises MachineError if the plug-in has damaged it."""
    try:
        changes = [Change(str(kind), str(target), str(detail)) for kind, target, detail in answer["changes"]]
        notes = [str(note) for note in answer["notes"]]
        if answer["failure"] is None:
            return changes, notes, None
        message, reason, data = answer["failure"]
        return changes, notes, HandlerError(str(message), reason=str(reason), data=dict(data))
    except (KeyError, TypeError, ValueError) as error:
        raise MachineError(plugins.DAMAGED.format(f"plug-in {handler.id}")) from error


def _given(handler: Handler, ctx: Context) -> dict[str, Any]:
    """The task for the interpreter, which makes its own `System` and `Fabric` from it."""
    system, fabric = ctx.system, ctx.fabric
    limit = system.commands.limit
    return {
        "task": "run",
        "place": handler.place,
        "options": pack(handler.given),
        "root": system.root.path,
        "dry_run": system.dry_run,
        "search_path": system.commands.search_path,
        "limit": None if limit is None else limit.remaining(),
        "wishes": wishes_as_data(system) if system.dry_run else None,
        "vm_id": ctx.memory.vm_id,
        "metadata": pack({**vars(ctx.metadata), "gaps": ctx.metadata.gaps.as_dict()}),
        "outcome": _outcome(ctx),
        "media_device": ctx.media_device,
        "config": pack({"data": ctx.config.document.data, "file": ctx.config.document.file}),
        "fabric": {
            "seconds": fabric.deadline.remaining(),
            "reading": fabric.reading.remaining(),
            "imds": pack(fabric.imds_settings),
            "wireserver": pack(fabric.wireserver_settings),
            "interface": fabric.interface,
            "told_wireserver": fabric.told_wireserver,
            "offline": fabric.offline,
        },
    }


def _outcome(ctx: Context) -> Any:
    steps = [
        {**vars(step), "changes": [one.as_dict() for one in step.changes], "error": _error(step.error)}
        for step in ctx.outcome.steps
    ]
    return pack({**vars(replace(ctx.outcome, steps=())), "steps": steps, "error": _error(ctx.outcome.error)})


def _error(error: Optional[AzureliteError]) -> Optional[list[Any]]:
    return None if error is None else [type(error).__name__, error.message, error.reason, error.data]
