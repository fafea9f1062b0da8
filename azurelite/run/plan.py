"""Handlers + what Azure said + what is done already -> ordered steps, with a reason for each that is skipped."""

from __future__ import annotations

from typing import Any, Collection, Iterable, Iterator, Mapping, Optional, Sequence

from azurelite.config.schema import fields_of, has_keys
from azurelite.datasource import sources_of
from azurelite.datasource.crawl import Crawl
from azurelite.errors import AzureliteError, FabricError
from azurelite.handlers import EJECT_MEDIA, Handler
from azurelite.metadata import Metadata, Secret
from azurelite.record import Record, replace
from azurelite.state.store import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.config.condition import Condition

_REASONS = {"username": "failed to determine username"}
_NEVER_MISSING = ("raw", "provenance")  # fields that no source gives as a whole
# Of the digest of secrets, so that trying passwords out on a record costs more than on /etc/shadow's SHA-512 beside it.
_ROUNDS = 20_000


class Step(Record):
    """One handler's turn.

    Attributes:
        handler: what would run.
        skip: why it does not; None when it runs.
        blocked: why it cannot run though it should: the source that it needs failed.
        again: what it hangs on was out of reach, not absent: it is worth another turn at a later boot.
        inputs: a digest of what it works with, see `inputs_of`; None also where no record of it is kept.
    """

    handler: Handler
    skip: Optional[str] = None
    blocked: Optional[AzureliteError] = None
    again: bool = False
    inputs: Optional[str] = None


def make_plan(
    handlers: Sequence[Handler],
    crawled: Crawl,
    state: Optional[State],
    *,
    force: bool = False,
    later_boot: bool = False,
    owed: Collection[str] = (),
) -> tuple[Step, ...]:
    """Decide what runs.

    Args:
        handlers: in the configuration's order.
        crawled: what the sources said.
        state: what is done already; None: nothing is, and nothing will be recorded.
        force: what is done already does not count.
        later_boot: this VM is provisioned, only what runs at every boot or is owed has its turn.
        owed: keys of the steps that are owed another turn.
    """
    steps = []
    for handler in handlers:
        if later_boot and handler.frequency != "boot" and handler.key not in owed:
            steps.append(Step(handler, skip="this VM is provisioned already"))
            continue
        recorded = state is not None and handler.frequency != "boot"
        inputs = inputs_of(handler, crawled.metadata) if recorded else None
        step = _step(handler, crawled, None if force else state, inputs)
        steps.append(step if inputs is None else replace(step, inputs=inputs))
    return tuple(steps)


def due_later(handlers: Sequence[Handler], owed: Collection[str]) -> list[Handler]:
    """Those with a turn at a later boot: what runs at every boot, and what is owed since the first, by its key."""
    return [handler for handler in handlers if handler.frequency == "boot" or handler.key in owed]


def wanted_sources(handlers: Iterable[Handler], configured: Sequence[str]) -> tuple[str, ...]:
    """Which of the configured sources these handlers hang on; Azure need not be asked for what nobody wants."""
    wanted: set[str] = set()
    for handler in handlers:
        # A condition may speak of any field, and a plug-in may look at any; whoever ejects a disc must find it.
        if handler.when or handler.timeout is not None or handler.name == EJECT_MEDIA:
            return tuple(configured)
        for field in (*handler.needs, *handler.uses):
            wanted.update(sources_of(field))
    return tuple(source for source in configured if source in wanted)


def _step(handler: Handler, crawled: Crawl, state: Optional[State], inputs: Optional[str]) -> Step:
    if state is not None and state.is_finished(handler.key, handler.frequency, inputs=inputs):
        done = "on this machine" if handler.frequency == "once" else "for this VM"
        return Step(handler, skip=f"done already {done}")
    return _held_back(handler, crawled) or _in_want(handler, crawled) or Step(handler)


def _in_want(handler: Handler, crawled: Crawl) -> Optional[Step]:
    """What the step needs and is not there; None where all of it is."""
    if handler.unusable is not None:
        return Step(handler, blocked=handler.unusable)
    for need in handler.needs:
        if getattr(crawled.metadata, need) is None:
            return _lacking(handler, need, crawled)
    for field in handler.uses:
        if field in crawled.lost:
            return Step(handler, blocked=crawled.lost[field], again=True)
    return None


def _held_back(handler: Handler, crawled: Crawl) -> Optional[Step]:
    """What the conditions make of the step; None where all of them hold."""
    open_ones = []
    for condition in handler.when:
        failure = _missing(condition, crawled)
        if failure is not None:
            open_ones.append((condition, failure))
        elif not condition.holds(crawled.metadata):
            return Step(handler, skip=f"`{condition.text}` does not hold")
    if not open_ones:
        return None
    condition, failure = open_ones[0]
    text = f"`{condition.text}` cannot be checked: {failure.short or failure}"
    if not handler.required:
        return Step(handler, skip=text, again=True)
    return Step(handler, blocked=FabricError(text, reason=failure.reason, data=failure.data))


def _missing(condition: Condition, crawled: Crawl) -> Optional[FabricError]:
    """Why it cannot be known whether the condition holds: the source that may have had the value failed."""
    if condition.is_decidable(crawled.metadata):
        return None
    if condition.source is not None:
        return crawled.failures.get(condition.source)
    field = condition.path[0]
    if field in _NEVER_MISSING:
        return None
    return crawled.lost.get(field) or crawled.failure_for(field)


def _lacking(handler: Handler, need: str, crawled: Crawl) -> Step:
    """A step that something is missing for: a failure if it is required, for a VM nobody can enter is not Ready."""
    failure = crawled.failure_for(need)
    if failure is None and not handler.required:
        return Step(handler, skip=f"Azure gave no {need}")
    reason = _REASONS.get(need, f"no {need}")
    lacking = failure or AzureliteError(f"no source gave a {need}", reason=reason)
    return Step(handler, blocked=lacking, again=failure is not None)


def inputs_of(handler: Handler, metadata: Metadata) -> Optional[str]:
    """A digest of what a handler works with: options and metadata, secrets too. None while some of that is missing."""
    import hashlib

    values = [getattr(metadata, name) for name in handler.needs]
    if any(value is None for value in values):
        return None
    values += [getattr(metadata, name) for name in handler.uses]
    text = repr((handler.options, values)).encode(errors="replace")  # where a secret shows as stars
    secrets = [secret.reveal_bytes() for secret in _secrets((handler.options, values))]
    if not secrets:
        return hashlib.sha256(text).hexdigest()
    salt = f"{metadata.vm_id} {handler.key}".encode(errors="replace")
    whole = b"".join(b"%d:%b," % (len(part), part) for part in (text, *secrets))
    return hashlib.pbkdf2_hmac("sha256", hashlib.sha256(whole).digest(), salt, _ROUNDS).hex()


def _secrets(value: Any) -> Iterator[Secret]:
    """All secrets in a value, in the order in which its repr has them."""
    inner: Sequence[Any] = ()
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, (list, tuple)):
        inner = value
    elif has_keys(value):
        inner = [getattr(value, field.name) for field in fields_of(value)]
    for item in inner:
        yield from _secrets(item)
