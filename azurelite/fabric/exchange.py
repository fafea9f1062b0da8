"""Values of HTTP: a request, the answer to it, and the record of both that people are shown."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from azurelite.record import Record


class Request(Record):
    """What is asked, and how long one answer may take.

    Attributes:
        url: http URL.
        headers: besides User-Agent and a fresh x-ms-client-request-id.
        timeout: seconds that one exchange may take, from connecting to the last byte.
        method: "GET" or "POST".
        body: what is posted.
    """

    url: str
    headers: Mapping[str, str]
    timeout: float
    method: str = "GET"
    body: Optional[bytes] = None


class Response(Record):
    """A complete HTTP answer with a status of 2xx."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
