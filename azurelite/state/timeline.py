"""The timeline of a run: what it did when. It holds no secret, and of URLs no query."""

from __future__ import annotations

from typing import Any, Optional, Sequence

FORMAT = 1
KINDS = ("run", "background", "crawl", "step", "report", "wait", "request")  # those that enclose others first
_MOST = 400  # spans; 10 boots must fit into 1 MiB
_LONGEST = 200  # characters of a detail
_GRAIN = 1e-4  # seconds


Span = dict[str, Any]


def span(kind: str, name: str, start: float, end: float, *, status: str = "done", detail: Optional[str] = None) -> Span:
    """A stretch of time.

    Args:
        kind: one of KINDS.
        name: the step, the request, or what is waited for.
        start: seconds after the run's start.
        end: seconds after the run's start.
        status: "done", "failed", "skipped", or the HTTP status.
        detail: more, for people.
    """
    shown = detail[:_LONGEST] if detail else None
    return {"kind": kind, "name": name, "start": start, "end": end, "status": status, "detail": shown}


def document(spans: Sequence[Span], *, boot_id: Optional[str], started: str, uptime: Optional[float]) -> dict[str, Any]:
    """The timeline as it is written, in order of start, each span with the index of the one that encloses it."""
    ordered = sorted(spans, key=lambda one: (one["start"], -one["end"], KINDS.index(one["kind"])))[:_MOST]
    rows: list[Span] = []
    for one in ordered:
        row = {**one, "start": round(one["start"], 4), "end": round(one["end"], 4)}
        rows.append({**row, "parent": _encloser(rows, row)})
    return {"format": FORMAT, "boot_id": boot_id, "started": started, "uptime": uptime, "spans": rows}


def _encloser(rows: Sequence[Span], row: Span) -> Optional[int]:
    """The innermost of the earlier spans that lasts at least as long; requests enclose nothing."""
    for place in range(len(rows) - 1, -1, -1):
        one = rows[place]
        lasts = one["start"] <= row["start"] and one["end"] + _GRAIN >= row["end"]
        if lasts and one["kind"] != "request" and one["status"] != "skipped":
            return place
    return None
