"""The two halves of an exchange: Ask, a request that was read, and Answer, a response not sent yet.

This module reads values from an Ask and writes the head of an Answer. It knows no route and no socket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Ask:
    """A request, complete with its body."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    here: str = "127.0.0.1:80"
    """host:port that the client connected to; the URLs in the goal state use it."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        """Decoded pairs in order; a name may occur twice."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    def header(self, name: str) -> str | None:
        """The value of a header, in any case; None when it is absent."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), None)


@dataclass(frozen=True)
class Answer:
    """A response. `Content-Length` is not among the headers: only the sender knows the length."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def head(self, *, length: int) -> bytes:
        """Status line and header block, announcing `length` bytes of body."""
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"Date: {formatdate(usegmt=True)}", "Server: azurelite-simulator", f"Content-Length: {length}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def with_headers(self, extra: Mapping[str, str]) -> Answer:
        """The same answer with `extra` headers, which replace those of the same name."""
        shadowed = {name.lower() for name in extra}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in shadowed)
        return Answer(self.status, self.body, kept + tuple(extra.items()))


def json_answer(status: int, document: object, *, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer whose body is a document as JSON."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(status, body, (("Content-Type", "application/json; charset=utf-8"), *headers))


def text_answer(status: int, text: str) -> Answer:
    """An answer in plain text."""
    return Answer(status, text.encode(), (("Content-Type", "text/plain; charset=utf-8"),))


def xml_answer(status: int, text: str) -> Answer:
    """An answer in XML."""
    return Answer(status, text.encode(), (("Content-Type", "text/xml; charset=utf-8"),))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
