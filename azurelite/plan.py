"""Handlers + what Azure said + what is done already -> ordered steps, with a reason for each that is skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

from azurelite.datasource.crawl import Crawl
from azurelite.errors import AzureliteError
from azurelite.handlers import Handler
from azurelite.metadata import Metadata
from azurelite.state import State

_REASONS = {"username": "failed to determine username"}


@dataclass(frozen=True)
class Step:
    """One handler's turn.

    Attributes:
        handler: what would run.
        skip: why it does not; None when it runs.
        blocked: why it cannot run though it should: the source that it needs failed.
    """

    handler: Handler
    skip: Optional[str] = None
    blocked: Optional[AzureliteError] = None


def make_plan(
    handlers: Sequence[Handler], crawled: Crawl, state: Optional[State], *, later_boot: bool = False
) -> tuple[Step, ...]:
    """Decide what runs.

    Args:
        handlers: in the configuration's order.
        crawled: what the sources said.
        state: what is done already; None: nothing is, or it does not count.
        later_boot: this VM is provisioned, only what runs at every boot has its turn.
    """
    return tuple(_step(handler, crawled, state, later_boot=later_boot) for handler in handlers)


def _step(handler: Handler, crawled: Crawl, state: Optional[State], *, later_boot: bool) -> Step:
    if later_boot and handler.frequency != "boot":
        return Step(handler, skip="this VM is provisioned already")
    inputs = inputs_of(handler, crawled.metadata)
    if state is not None and state.is_finished(handler.name, handler.frequency, inputs=inputs):
        done = "on this machine" if handler.frequency == "once" else "for this VM"
        return Step(handler, skip=f"done already {done}")
    for need in handler.needs:
        if getattr(crawled.metadata, need) is None:
            return _lacking(handler, need, crawled)
    for field in handler.uses:
        if field in crawled.lost:
            return Step(handler, blocked=crawled.lost[field])
    return Step(handler)


def _lacking(handler: Handler, need: str, crawled: Crawl) -> Step:
    """A step that something is missing for: a failure if it is required, for a VM nobody can enter is not Ready."""
    failure = crawled.failure_for(need)
    if failure is None and not handler.required:
        return Step(handler, skip=f"Azure gave no {need}")
    reason = _REASONS.get(need, f"no {need}")
    return Step(handler, blocked=failure or AzureliteError(f"no source gave a {need}", reason=reason))


def inputs_of(handler: Handler, metadata: Metadata) -> Optional[str]:
    """A digest of what a handler works with: options and metadata. None while some of that is missing."""
    import hashlib

    values = [getattr(metadata, name) for name in handler.needs]
    if any(value is None for value in values):
        return None
    values += [getattr(metadata, name) for name in handler.uses]
    return hashlib.sha256(repr((handler.options, values)).encode(errors="replace")).hexdigest()
