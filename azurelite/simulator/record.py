"""The records of the simulator: one Request per HTTP request, one Report per health report.

This module knows the records and the JSON line of a request, but not how they come about.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One HTTP request, and the status of its answer."""

    number: int
    """1-based, over all endpoints, in order of arrival."""
    at: float
    """Seconds since the simulator was started (monotonic)."""
    endpoint: str
    """One of `scenario.ENDPOINTS` except `any`, or `unknown`."""
    method: str
    target: str
    """Path and query, undecoded."""
    headers: dict[str, str]
    """Names as the client wrote them; the values of a repeated header are joined with ", "."""
    body: bytes
    """Empty for a body over the size limit."""
    status: int | None
    """None: the connection was dropped without an answer."""
    fault: bool
    """True when a fault of the scenario changed the answer."""


@dataclass(frozen=True)
class Report:
    """One well-formed health report, accepted or refused."""

    state: str
    substatus: str | None
    description: str | None
    incarnation: str
    """The text in the XML; empty in the JSON dialect, as are the ids."""
    container_id: str
    instance_id: str
    accepted: bool
    """True only when the fabric itself, not a fault, accepted the report."""
    status: int
    """HTTP status of the answer; 0 when the connection was dropped."""


def json_line(request: Request) -> str:
    """A Request as one line of JSON, line end included; bytes that are not UTF-8 become U+FFFD."""
    fields = {
        "number": request.number,
        "at": round(request.at, 6),
        "endpoint": request.endpoint,
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body.decode("utf-8", "replace"),
        "status": request.status,
        "fault": request.fault,
    }
    return json.dumps(fields) + "\n"
