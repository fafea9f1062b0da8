"""Reading the timelines of this boot and of earlier ones: they may be damaged, or of another version.

The run writes them: `timeline.json` of this boot for everybody, and a folder per earlier boot for root.
"""

from __future__ import annotations

import json
import logging
import math
from typing import Any, Optional

from azurelite import layout
from azurelite.errors import ConfigError
from azurelite.outcome import Outcome
from azurelite.record import Record
from azurelite.state.quick import boot_id
from azurelite.state.records import boot_before, kept_boots
from azurelite.state.timeline import FORMAT
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)
_LIMIT = 1024 * 1024  # bytes of one file
_MOST_SPANS = 2000
_LONGEST_NAME, _LONGEST_TEXT = 200, 1000  # characters
_GRAIN = 5e-4  # seconds by which times may be off
_LATEST = 1e7  # seconds after the run's start, or after the kernel's


class Span(Record):
    """A stretch of time within a run.

    Attributes:
        kind: "run", "crawl", "request", "step", "wait", "report" or "background".
        name: the step, the request, or what is waited for.
        start: seconds after the run's start.
        end: seconds after the run's start.
        status: "done", "failed", "skipped", or an HTTP status.
        detail: more, for people.
        parent: the index of the enclosing span.
    """

    kind: str
    name: str
    start: float
    end: float
    status: str = "done"
    detail: Optional[str] = None
    parent: Optional[int] = None

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.end - self.start

    @property
    def http_status(self) -> Optional[int]:
        """The HTTP status of a request that was answered."""
        is_one = len(self.status) == 3 and self.status.isascii() and self.status.isdigit()
        return int(self.status) if self.kind == "request" and is_one else None

    @property
    def is_failed(self) -> bool:
        """Whether it failed: also an HTTP status from 400 on, and a request without an answer."""
        if self.kind == "request" and self.status != "done":
            return (self.http_status or 999) >= 400
        return self.status == "failed"


class Boot(Record):
    """What is known of the run of one boot.

    Attributes:
        title: "this boot", or "boot 0007".
        started: when the run started; seconds since 1970.
        spans: what it did when, a span after the one that encloses it.
        boot_id: the kernel's id of the boot.
        uptime: the run's start in seconds after the kernel's.
        state: how it ended, as "done".
        reason: why, if it failed.
        vm_id: the VM.
    """

    title: str
    started: float
    spans: tuple[Span, ...]
    boot_id: Optional[str] = None
    uptime: Optional[float] = None
    state: Optional[str] = None
    reason: Optional[str] = None
    vm_id: Optional[str] = None


def read_boot(root: Root, back: int) -> Boot:
    """The run of a boot. A status that cannot be used is logged and left out.

    Args:
        root: the guest.
        back: 0 is this boot, 1 the last one before it.

    Raises:
        ConfigError: there is no timeline, or it cannot be used.
    """
    if back > 0:
        name = boot_before(earlier_boots(root), back)
        return _read(root, f"boot {name}", f"{layout.BOOTS_DIR}/{name}")
    try:
        return _read(root, "this boot", layout.RUN_DIR)
    except ConfigError as error:
        copy = _copy_of_this_boot(root)
        if copy is None:
            raise
        LOG.debug("analyze: %s", error)
        return _read(root, "this boot", f"{layout.BOOTS_DIR}/{copy}")


def boot_of(outcome: Outcome, *, title: str, started: float) -> Boot:
    """The boot that an outcome of this process tells of.

    Args:
        outcome: of the run.
        title: what people call it.
        started: when the run started; seconds since 1970.
    """
    steps = [
        Span("step", s.name, s.started, s.started + s.seconds, s.status, s.error.message if s.error else s.reason)
        for s in outcome.steps
    ]
    requests = [
        Span(
            "request",
            f"{e.method} {e.url.partition('?')[0]}",
            e.started,
            e.started + e.seconds,
            "failed" if e.status is None else str(e.status),
            e.error,
        )
        for e in outcome.exchanges
    ]
    inner = sorted([*steps, *requests], key=lambda span: (span.start, -span.end))
    end = max([outcome.seconds, *(span.end for span in inner)])
    spans = [Span("run", "provision", 0.0, end, "failed" if outcome.exit_code else "done")]
    for span in inner:
        around = [i for i, one in enumerate(spans) if one.kind == "step" and one.end + _GRAIN >= span.end]
        near = [i for i in around if span.kind == "request" and spans[i].status != "skipped"]
        spans.append(Span(**{**vars(span), "parent": near[-1] if near else 0}))
    return Boot(title, started, tuple(spans), state=outcome.outcome, reason=outcome.reason, vm_id=outcome.vm_id)


def earlier_boots(root: Root) -> list[str]:
    """The kept boots before this one, the oldest first. Raises ConfigError: only root may look."""
    names = kept_boots(root)
    if names and names[-1] == _copy_of_this_boot(root):
        names.pop()
    return names


def _copy_of_this_boot(root: Root) -> Optional[str]:
    """The folder that was written in this boot, if it is readable."""
    here = boot_id(root)
    try:
        names = kept_boots(root)
        document = _document(root, f"{layout.BOOTS_DIR}/{names[-1]}/timeline.json") if names and here else None
    except ConfigError:
        return None
    return names[-1] if document is not None and document.get("boot_id") == here else None


def _read(root: Root, title: str, folder: str) -> Boot:
    timeline, status = f"{folder}/timeline.json", f"{folder}/status.json"
    document = _document(root, timeline)
    if document is None:
        raise ConfigError(
            f"{timeline} does not exist: azurelite had nothing to do in this boot, or did not run: "
            "try `sudo azurelite analyze --boot -1`"
        )
    boot = _boot(title, document)
    if boot is None:
        raise ConfigError(f"{timeline} is damaged: analyze another boot (`--boot -1`)")
    try:
        found = _document(root, status) or {}
    except ConfigError as error:
        LOG.warning("analyze: %s", error)
        found = {}
    if found.get("boot_id") != document.get("boot_id"):
        return boot
    known = {key: _text(found.get(key), most=_LONGEST_TEXT) for key in ("state", "reason", "vm_id")}
    return Boot(**{**vars(boot), **known})


def _document(root: Root, path: str) -> Optional[dict[str, Any]]:
    """A file that azurelite has written as JSON; None if it does not exist. Raises ConfigError."""
    try:
        data = root.read(path, limit=_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: use sudo") from error
    if data is None:
        return None
    try:
        found = json.loads(data) if len(data) <= _LIMIT else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} is damaged: analyze another boot (`--boot -1`)")
    if found.get("format") != FORMAT:
        raise ConfigError(f"{path} is of another version of azurelite: analyze another boot (`--boot -1`)")
    return found


def _boot(title: str, document: dict[str, Any]) -> Optional[Boot]:
    """None if the document is damaged."""
    started, rows = _wall(document.get("started")), document.get("spans")
    if started is None or not isinstance(rows, list) or not rows:
        return None
    spans: list[Span] = []
    for row in rows[:_MOST_SPANS]:
        made = _span(row, len(spans)) if isinstance(row, dict) else None
        if made is None:
            return None
        spans.append(made)
    here = _text(document.get("boot_id"), most=_LONGEST_NAME)
    return Boot(title, started, tuple(spans), here, _seconds(document.get("uptime")))


def _span(row: dict[str, Any], index: int) -> Optional[Span]:
    kind, name = _text(row.get("kind")), _text(row.get("name"))
    start, end = _seconds(row.get("start")), _seconds(row.get("end"))
    if not kind or name is None or start is None or end is None or end < start:
        return None
    name = name.partition("?")[0] if kind == "request" else name  # a query may hold a token
    parent = row.get("parent")
    enclosed = isinstance(parent, int) and not isinstance(parent, bool) and 0 <= parent < index
    detail = _text(row.get("detail"), most=_LONGEST_TEXT)
    return Span(kind, name, start, end, _text(row.get("status")) or "done", detail, parent if enclosed else None)


def _seconds(value: object) -> Optional[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        return None
    return float(value) if math.isfinite(value) else None


def _text(value: object, *, most: int = _LONGEST_NAME) -> Optional[str]:
    if not isinstance(value, str):
        return None
    shown = "".join(character if character.isprintable() else " " for character in value[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"


def _wall(value: object) -> Optional[float]:
    from datetime import datetime, timezone

    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
