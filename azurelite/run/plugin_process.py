"""A plug-in's turn, in a process of its own. What it changed, noted and failed at comes back; a hang does not."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from azurelite.cli.startup import whole_modules
from azurelite.clock import Deadline
from azurelite.errors import HandlerError, MachineError
from azurelite.guard import guard
from azurelite.handlers import Context, Handler
from azurelite.record import replace
from azurelite.system.changes import Change
from azurelite.system.child import in_child


def apply_apart(handler: Handler, ctx: Context) -> None:
    """Let a plug-in do its work.

    Raises:
        HandlerError: it failed, was too slow, or ended without an answer.
    """
    mark = len(ctx.system.journal)

    def work() -> bytes:
        notes: list[str] = []
        own = replace(ctx, note=notes.append, report_ready=_not_its_own)
        error = guard(lambda: _apply(handler, own))
        changes = [(change.kind, change.target, change.detail) for change in ctx.system.journal.since(mark)]
        failure = None
        if error is not None:  # what a plug-in calls text may be anything
            failure = [str(error.message), str(error.reason), {str(k): str(v) for k, v in error.data.items()}]
        said = [str(note) for note in notes]
        return json.dumps({"changes": changes, "notes": said, "failure": failure}, default=str).encode()

    ctx.fabric.http.close()  # a connection that two processes speak on is of use to neither
    limit = ctx.system.commands.limit  # of everything ahead of Ready
    seconds = handler.timeout or 0.0
    deadline = Deadline(ctx.fabric.clock, seconds) if limit is None else limit.within(seconds)
    try:
        answer: dict[str, Any] = json.loads(in_child(work, what=f"the plug-in {handler.id}", deadline=deadline))
    except MachineError as error:
        raise HandlerError(error.message, reason=f"plug-in {handler.id} failed") from error
    ctx.system.journal.adopt(Change(*change) for change in answer["changes"])
    for note in answer["notes"]:
        ctx.note(note)
    if answer["failure"] is not None:
        message, reason, data = answer["failure"]
        raise HandlerError(message, reason=reason, data=data)


def _apply(handler: Handler, ctx: Context) -> None:
    with whole_modules(), ctx.system.files.durability.together():
        handler.apply(ctx, handler.options)


def _not_its_own() -> NoReturn:
    raise HandlerError("a plug-in does not report to Azure: list `report_ready` behind it")
