"""Where the time of a boot went: the rows that text, SVG and HTML show alike."""

from __future__ import annotations

import time
from typing import Any, Optional, Sequence

from azurelite.record import Record
from azurelite.state.boots import Boot, Span
from azurelite.system.boot_times import Phase

_GRAIN = 5e-4  # seconds; the timeline's times are rounded
COLOURED = ("step", "request", "report")  # kinds with a colour of their own
AZURELITE = "azurelite"  # the phase in which it runs


class Row(Record):
    """A span and its place in the run.

    Attributes:
        span: what happened.
        depth: the number of spans around it.
        own: the seconds that none of the spans within it took.
        critical: had it been quicker, the run would have ended earlier.
    """

    span: Span
    depth: int
    own: float
    critical: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        span = self.span
        return {
            "kind": span.kind,
            "name": span.name,
            "status": span.status,
            "detail": span.detail,
            "start": round(span.start, 4),
            "seconds": round(span.seconds, 4),
            "own": round(self.own, 4),
            "depth": self.depth,
            "critical": self.critical,
        }


class Difference(Record):
    """What something took in two boots: seconds, or None where it did not happen."""

    kind: str
    name: str
    before: Optional[float]
    now: Optional[float]

    @property
    def change(self) -> float:
        """Seconds more than before."""
        return (self.now or 0.0) - (self.before or 0.0)


class Analysis(Record):
    """Where the time of a boot went.

    Attributes:
        boot: what was analysed.
        total: the run's seconds.
        end: when the last span ended, also in the background; the length of the waterfall.
        phases: of the whole boot, azurelite's run among them.
        rows: all spans, in order of start.
        compared: the title of the other boot.
        differences: between the other boot and this one, the largest first.
    """

    boot: Boot
    total: float
    end: float
    phases: tuple[Phase, ...]
    rows: tuple[Row, ...]
    compared: Optional[str] = None
    differences: tuple[Difference, ...] = ()

    @property
    def blame(self) -> tuple[Row, ...]:
        """What took time of its own, the longest first."""
        return tuple(sorted((row for row in self.rows if row.own >= _GRAIN), key=lambda row: -row.own))

    @property
    def chain(self) -> tuple[Row, ...]:
        """The rows that decided when the run ended."""
        return tuple(row for row in self.rows if row.critical)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What is known of the boot: label and text."""
        boot = self.boot
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(boot.started))
        known = (
            ("boot", boot.title if boot.boot_id is None else f"{boot.title} ({boot.boot_id})"),
            ("started", began),
            ("state", boot.state),
            ("reason", boot.reason),
            ("azurelite took", duration(self.total)),
        )
        return tuple((name, text) for name, text in known if text)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: what `analyze --json` prints."""
        boot = self.boot
        return {
            "boot": boot.title,
            "boot_id": boot.boot_id,
            "started": boot.started,
            "uptime": boot.uptime,
            "vm_id": boot.vm_id,
            "state": boot.state,
            "reason": boot.reason,
            "seconds": round(self.total, 4),
            "phases": [
                {"name": one.name, "start": round(one.start, 4), "seconds": round(one.seconds, 4)}
                for one in self.phases
            ],
            "blame": [row.as_dict() for row in self.blame],
            "critical_chain": [row.as_dict() for row in self.chain],
            "waterfall": [row.as_dict() for row in self.rows],
            "compared_with": self.compared,
            "differences": [{**vars(one), "change": round(one.change, 4)} for one in self.differences],
        }


def analyse(boot: Boot, *, phases: Sequence[Phase] = (), other: Optional[Boot] = None) -> Analysis:
    """Where the time of a boot went.

    Args:
        boot: the boot.
        phases: of kernel and init system.
        other: a boot to compare it with.
    """
    spans = boot.spans
    end = max(span.end for span in spans)
    total = max((span.end for span in spans if span.kind == "run"), default=None)
    if total is None:
        total = max((span.end for span in spans if span.kind != "background"), default=end)
    children: dict[Optional[int], list[int]] = {}
    for index, span in enumerate(spans):
        children.setdefault(span.parent, []).append(index)
    critical = _critical(spans, children, total)
    rows, depths = [], list[int]()
    for index, span in enumerate(spans):
        depths.append(0 if span.parent is None else depths[span.parent] + 1)
        rows.append(
            Row(span, depths[index], _own(span, [spans[i] for i in children.get(index, ())]), index in critical)
        )
    rows.sort(key=lambda row: (row.span.start, row.depth))
    return Analysis(
        boot,
        total,
        end,
        tuple(_phases(boot, phases, total)),
        tuple(rows),
        other.title if other is not None else None,
        tuple(_differences(other, boot)) if other is not None else (),
    )


def duration(seconds: float) -> str:
    """A time for people: `12.3 ms`, `1.23 s` or `2 min 3.4 s`."""
    size = abs(seconds)
    if size < 0.99995:
        return f"{seconds * 1000:.1f} ms"
    if size < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(size, 1), 60)
    return f"{'-' if seconds < 0 else ''}{minutes:.0f} min {rest:.1f} s"


def change_text(one: Difference) -> tuple[str, str, str]:
    """What something took before and now, and the change, for people."""
    before, now = ("–" if part is None else duration(part) for part in (one.before, one.now))
    return before, now, f"{'+' if one.change >= 0 else ''}{duration(one.change)}"


def label_of(span: Span) -> str:
    """Kind and name for people; a request names itself, as `GET 169.254.169.254/metadata/instance`."""
    return label(span.kind, span.name)


def label(kind: str, name: str) -> str:
    """As `label_of`."""
    return name.replace("http://", "") if kind == "request" else f"{kind}: {name}"


def remark_of(span: Span) -> str:
    """Status and detail for people; empty for what went well."""
    status = span.status if span.http_status is None else f"HTTP {span.status}"
    plain = status == "done" or (span.kind == "request" and not span.is_failed)
    return ": ".join(part for part in dict.fromkeys(("" if plain else status, span.detail or "")) if part)


def _own(span: Span, inner: Sequence[Span]) -> float:
    """The seconds of a span that none of those within it covers."""
    left, covered = span.start, 0.0
    for one in sorted(inner, key=lambda one: one.start):
        covered += max(0.0, min(one.end, span.end) - max(one.start, left))
        left = max(left, min(one.end, span.end))
    return max(0.0, span.seconds - covered)


def _critical(spans: Sequence[Span], children: dict[Optional[int], list[int]], total: float) -> set[int]:
    """The spans on the critical chain: from the end backwards always the one that ended last, and so within each."""
    found: set[int] = set()
    pending: list[tuple[Optional[int], float]] = [(None, total)]
    while pending:
        around, until = pending.pop()
        inner = [i for i in children.get(around, ()) if spans[i].kind != "background" and spans[i].seconds >= _GRAIN]
        for index in sorted(inner, key=lambda i: (spans[i].end, spans[i].seconds), reverse=True):
            if spans[index].end <= until + _GRAIN:
                found.add(index)
                pending.append((index, spans[index].end))
                until = spans[index].start
    return found


def _phases(boot: Boot, phases: Sequence[Phase], total: float) -> list[Phase]:
    """Those of the system, and azurelite's own; what was before it, where no phase of the system says more."""
    if boot.uptime is None:
        return list(phases)
    before = [] if phases else [Phase("kernel and init system, before azurelite", 0.0, boot.uptime)]
    return sorted([*phases, *before, Phase(AZURELITE, boot.uptime, total)], key=lambda phase: phase.start)


def _differences(other: Boot, boot: Boot) -> list[Difference]:
    """What took longer or less long; several spans of one name, as retries of a request, are added up."""
    before, now = _sums(other), _sums(boot)
    names = dict.fromkeys([*now, *before])
    found = [Difference(kind, name, before.get((kind, name)), now.get((kind, name))) for kind, name in names]
    return sorted((one for one in found if abs(one.change) >= _GRAIN), key=lambda one: -abs(one.change))


def _sums(boot: Boot) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = {}
    for span in boot.spans:
        sums[span.kind, span.name] = round(sums.get((span.kind, span.name), 0.0) + span.seconds, 4)
    if boot.uptime is not None:
        sums["boot", "before azurelite"] = round(boot.uptime, 4)
    return sums
