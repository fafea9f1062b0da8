"""Makes the plan: ordered steps from handlers, metadata and state, with a reason for each step that is skipped."""

from __future__ import annotations

from typing import Any, Collection, Iterable, Iterator, Mapping, Optional, Sequence

from azurelite.config.schema import fields_of, has_keys
from azurelite.datasource import needs_azure, others_in, sources_of
from azurelite.errors import AzureliteError, FabricError, HandlerError
from azurelite.handlers import EJECT_MEDIA, REPORT_READY, Handler
from azurelite.metadata import Gaps, Metadata, Secret
from azurelite.record import Record, replace
from azurelite.state.store import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.config.condition import Condition

_REASONS = {"username": "failed to determine username"}
_ALTERNATIVES = ("user_data", "custom_data")  # a handler of both continues with one if the other is lost
_ASKING = (REPORT_READY, "certificates")  # handlers that cannot work without Azure
_NEVER_MISSING = ("raw", "provenance")  # fields that are never missing as a whole
# PBKDF2 rounds for a digest of secrets: guessing a password from a record must cost more than from /etc/shadow.
_ROUNDS = 20_000


NOT_READY = "the VM is not Ready"  # why the steps after `report_ready` are skipped


class Step(Record):
    """One handler in the plan.

    Attributes:
        handler: the handler.
        skip: why it is skipped; None if it runs.
        blocked: the error that prevents it, such as a source that failed; None if it can run.
        again: retry it at a later boot, because a source that it needs was unreachable.
        inputs: a digest of its options and metadata, see `inputs_of`; None if no record is kept.
        notes: warnings, such as data that it runs without.
    """

    handler: Handler
    skip: Optional[str] = None
    blocked: Optional[AzureliteError] = None
    again: bool = False
    inputs: Optional[str] = None
    notes: tuple[str, ...] = ()


def make_plan(
    handlers: Sequence[Handler],
    metadata: Metadata,
    state: Optional[State],
    *,
    force: bool = False,
    later_boot: bool = False,
    owed: Collection[str] = (),
) -> tuple[Step, ...]:
    """Decide what runs.

    Args:
        handlers: in the configuration's order.
        metadata: what Azure says about the VM.
        state: the record of what is done; None: run everything and record nothing.
        force: ignore what is done.
        later_boot: this VM is provisioned: run only the steps of every boot and those in `owed`.
        owed: keys of the steps to retry.
    """
    steps = []
    if later_boot:  # the disc is gone then, and what it did not have was named at the first boot
        metadata = replace(metadata, gaps=_without_damaged(metadata.gaps))
    for handler in handlers:
        if later_boot and handler.frequency != "boot" and handler.key not in owed:
            steps.append(Step(handler, skip="this VM was provisioned earlier"))
            continue
        recorded = state is not None and handler.frequency != "boot"
        inputs = inputs_of(handler, metadata) if recorded else None
        step = _step(handler, metadata, None if force else state, inputs)
        steps.append(step if inputs is None else replace(step, inputs=inputs))
    return tuple(steps)


def _without_damaged(gaps: Gaps) -> Gaps:
    """The gaps without the fields that no retry can read."""
    missing = {name: error for name, error in gaps.missing.items() if name not in gaps.damaged}
    lost = tuple(name for name in gaps.lost if name not in gaps.damaged)
    return replace(gaps, missing=missing, lost=lost, damaged=())


def foreseen(plan: tuple[Step, ...]) -> tuple[Step, ...]:
    """The plan without the steps that will not run because a required one is blocked: Ready, and those after it."""
    steps = []
    failed, held = "", False
    for step in plan:
        made = step
        if step.skip is None and held:
            made = replace(step, skip=NOT_READY)
        elif step.skip is None and step.handler.name == REPORT_READY and failed:
            made, held = replace(step, skip=f"{failed} fails, and Azure is told so"), True
        elif step.blocked is not None and step.handler.required:
            failed = failed or step.handler.key
        steps.append(made)
    return tuple(steps)


def due_later(handlers: Sequence[Handler], owed: Collection[str]) -> list[Handler]:
    """The handlers that run at a later boot: those of every boot, and those to retry, by key."""
    return [handler for handler in handlers if handler.frequency == "boot" or handler.key in owed]


def wanted_sources(handlers: Iterable[Handler], configured: Sequence[str]) -> tuple[str, ...]:
    """The configured sources that these handlers use, so that no other source is asked."""
    wanted: set[str] = set()
    others = others_in(configured)
    for handler in handlers:
        # A condition or a plug-in may use any field, and ejecting the disc means finding it.
        if handler.when or handler.timeout is not None or handler.name == EJECT_MEDIA:
            return tuple(configured)
        for field in (*handler.needs, *handler.uses):
            wanted.update(sources_of(field, others))
    return tuple(source for source in configured if source in wanted)


def is_offline(
    handlers: Iterable[Handler],
    sources: Optional[Iterable[str]],
    *,
    on_azure: bool,
    dry_run: bool = False,
    early: bool = False,
) -> bool:
    """Whether a run takes place without Azure, so that it sends no request, and this machine may be anywhere.

    Args:
        handlers: of the run.
        sources: that are read; None: the metadata is given.
        on_azure: whether requests would be allowed.
        dry_run: then nothing is reported.
        early: see `datasource.needs_azure`.
    """
    names = {handler.name for handler in handlers}
    if REPORT_READY in names and not dry_run:
        return False
    if sources is None:
        return True
    # A plug-in or program may ask Azure, where there is one.
    asks = bool(names & {*_ASKING}) or (on_azure and any(one.timeout for one in handlers))
    return not asks and not needs_azure(sources, on_azure=on_azure, early=early)


def _step(handler: Handler, metadata: Metadata, state: Optional[State], inputs: Optional[str]) -> Step:
    if state is not None and state.is_finished(handler.key, handler.frequency, inputs=inputs):
        done = "on this machine" if handler.frequency == "once" else "for this VM"
        return Step(handler, skip=f"done earlier {done}")
    return _unmet(handler, metadata) or _unusable(handler, metadata) or Step(handler)


def _unusable(handler: Handler, metadata: Metadata) -> Optional[Step]:
    """The step of a handler that is unusable or lacks metadata; None if it can run."""
    if handler.unusable is not None:
        return Step(handler, blocked=handler.unusable)
    for need in handler.needs:
        if getattr(metadata, need) is None:
            return _lacking(handler, need, metadata)
    gaps = metadata.gaps
    lost = [name for name in handler.uses if name in gaps.lost and _is_wanted(handler, name)]
    if not lost:
        return None
    others = [name for name in _ALTERNATIVES if name in handler.uses and name not in lost and _is_wanted(handler, name)]
    if set(lost) <= set(_ALTERNATIVES) and not handler.required and any(getattr(metadata, o) for o in others):
        return Step(handler, notes=tuple(f"continuing without {_words(name)}: {gaps.missing[name]}" for name in lost))
    error = gaps.missing[lost[0]]
    if lost[0] not in gaps.damaged:
        return Step(handler, blocked=error, again=True)
    return Step(handler, blocked=HandlerError(error.message, reason=error.reason, data=error.data, short=error.short))


def _is_wanted(handler: Handler, name: str) -> bool:
    """Whether the handler uses the field: `user_data` has an option that says which."""
    return handler.name != "user_data" or name not in _ALTERNATIVES or name in handler.options.sources


def _words(name: str) -> str:
    return name.replace("_", " ")


def _unmet(handler: Handler, metadata: Metadata) -> Optional[Step]:
    """The step of a handler with a condition that is false or cannot be checked; None if all are true."""
    open_ones = []
    for condition in handler.when:
        failure = _missing(condition, metadata)
        if failure is not None:
            open_ones.append((condition, failure))
        elif not condition.holds(metadata):
            return Step(handler, skip=f"condition `{condition.text}` is false")
    if not open_ones:
        return None
    condition, failure = open_ones[0]
    text = f"cannot check condition `{condition.text}`: {failure.short or failure}"
    if not handler.required:
        return Step(handler, skip=text, again=True)
    return Step(handler, blocked=FabricError(text, reason=failure.reason, data=failure.data))


def _missing(condition: Condition, metadata: Metadata) -> Optional[FabricError]:
    """The error of the source that would have the condition's value; None if the condition can be checked."""
    if condition.is_decidable(metadata):
        return None
    if condition.source is not None:
        return metadata.gaps.failures.get(condition.source)
    field = condition.path[0]
    if field in _NEVER_MISSING:
        return None
    return metadata.missing.get(field)


def _lacking(handler: Handler, need: str, metadata: Metadata) -> Step:
    """The step of a handler that lacks a field: failed if the handler is required, otherwise skipped."""
    failure = metadata.missing.get(need)
    if failure is None and not handler.required:
        return Step(handler, skip=f"Azure has no {need} for this VM")
    reason = _REASONS.get(need, f"no {need}")
    lacking = failure or AzureliteError(
        f"Azure has no {need} for this VM: deploy it with one, or set `required: false`", reason=reason
    )
    return Step(handler, blocked=lacking, again=failure is not None and need not in metadata.gaps.damaged)


def inputs_of(handler: Handler, metadata: Metadata) -> Optional[str]:
    """A digest of a handler's options and metadata, with secrets. None if a field that it needs is missing."""
    import hashlib

    values = [getattr(metadata, name) for name in handler.needs]
    if any(value is None for value in values):
        return None
    values += [getattr(metadata, name) for name in handler.uses]
    text = repr((handler.options, values)).encode(errors="replace")  # its repr hides secrets, which follow separately
    secrets = [secret.reveal_bytes() for secret in _secrets((handler.options, values))]
    if not secrets:
        return hashlib.sha256(text).hexdigest()
    salt = f"{metadata.vm_id} {handler.key}".encode(errors="replace")
    whole = b"".join(b"%d:%b," % (len(part), part) for part in (text, *secrets))
    return hashlib.pbkdf2_hmac("sha256", hashlib.sha256(whole).digest(), salt, _ROUNDS).hex()


def _secrets(value: Any) -> Iterator[Secret]:
    """All secrets in a value, in the order of its repr."""
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
