"""One request and what came of it, as it is told to people."""

from __future__ import annotations

from typing import Any, Optional

from azurelite.record import Record


class Exchange(Record):
    """One request as it went, for `provision --json` and for people who look for lost time.

    Attributes:
        method: "GET" or "POST".
        url: what was asked.
        status: HTTP status, None where no answer came.
        error: the kind of failure where no answer came.
        started: seconds after the fabric was opened.
        seconds: how long it took.
    """

    method: str
    url: str
    status: Optional[int]
    error: Optional[str]
    started: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))
