"""Values for HTTP: request, response, and the record of both for people."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from azurelite.record import Record


class Request(Record):
    """A request.

    Attributes:
        url: http URL.
        headers: in addition to User-Agent and a new x-ms-client-request-id.
        timeout: seconds, from connecting to the last byte of the response.
        method: "GET" or "POST".
        body: the body of a POST.
    """

    url: str
    headers: Mapping[str, str]
    timeout: float
    method: str = "GET"
    body: Optional[bytes] = None


class Response(Record):
    """A complete response with a status of 2xx."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange(Record):
    """The record of one request, for `provision --json`.

    Attributes:
        method: "GET" or "POST".
        url: the URL.
        status: HTTP status; None if there was no response.
        error: the kind of failure if there was no response.
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
