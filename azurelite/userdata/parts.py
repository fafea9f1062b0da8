"""The document -> its parts, each with its kind: MIME taken apart, kinds told by content type or first line.

It does not know what is in a part, nor what is done with one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, Iterator, Literal, Optional

from azurelite.errors import HandlerError
from azurelite.record import Record, field, replace

if TYPE_CHECKING:
    from email.message import Message

Kind = Literal["script", "boothook", "cloud-config", "archive", "refused", "broken"]

_MOST_PARTS = 200
_MOST_LINES = 500_000  # the parser takes some microseconds for each
_HEAD = 4096  # bytes in which the MIME headers stand
# How the standard library's parser chokes on what nobody should have sent.
_CHOKES = (RecursionError, ValueError, LookupError, TypeError, AttributeError)
# First lines, the longer ones ahead of those that they begin with.
_FIRST_LINES: tuple[tuple[bytes, Kind, str], ...] = (
    (b"#!", "script", ""),
    (b"#cloud-config-archive", "archive", ""),
    (b"#cloud-config-jsonp", "refused", "a JSON patch of cloud-config"),
    (b"#cloud-config", "cloud-config", ""),
    (b"#cloud-boothook", "boothook", ""),
    (b"#include", "refused", "a list of addresses to fetch"),
    (b"#part-handler", "refused", "a handler for other parts"),
    (b"#upstart-job", "refused", "a job for upstart"),
    (b"#ps1", "refused", "a script for PowerShell"),
)
_TYPES: dict[str, tuple[Kind, str]] = {
    "text/x-shellscript": ("script", ""),
    "text/x-shellscript-per-boot": ("script", ""),
    "text/x-shellscript-per-instance": ("script", ""),
    "text/x-shellscript-per-once": ("script", ""),
    "text/cloud-config": ("cloud-config", ""),
    "text/cloud-config-archive": ("archive", ""),
    "text/cloud-boothook": ("boothook", ""),
    "text/x-include-url": ("refused", "a list of addresses to fetch"),
    "text/x-include-once-url": ("refused", "a list of addresses to fetch"),
    "text/jinja2": ("refused", "a jinja template"),
    "text/part-handler": ("refused", "a handler for other parts"),
    "text/cloud-config-jsonp": ("refused", "a JSON patch of cloud-config"),
    "text/upstart-job": ("refused", "a job for upstart"),
}


class Part(Record):
    """One piece of user data.

    Attributes:
        name: its file name, made harmless; "part-001" and so on where it has none.
        kind: what it is; "refused": nothing that azurelite does; "broken": it cannot be read.
        data: its content.
        why: of a refused one: what it is; of a broken one: what is wrong with it. For people.
    """

    name: str
    kind: Kind
    data: bytes = field(repr=False)
    why: str = ""


def split(data: bytes, *, unpack: Callable[[bytes], bytes]) -> list[Part]:
    """Take a document apart, in its order.

    Args:
        data: the document, in UTF-8.
        unpack: takes the packing off a part of a MIME document. Raises HandlerError.

    Raises:
        HandlerError: MIME that cannot be taken apart.
    """
    if not _is_mime(data):
        return [] if not data.strip() else [_part(data, "part-001", "text/plain")]
    found = []
    names: set[str] = set()
    for number, piece in enumerate(_leaves(data), 1):
        if number > _MOST_PARTS:
            raise _refused(f"it has more than {_MOST_PARTS} parts")
        part = _leaf(piece, f"part-{number:03d}", unpack)
        part = replace(part, name=_unique(part.name, names))
        if part.data.strip() or part.kind == "broken":
            found.append(part)
    return found


def part_of(content: bytes, *, name: str, content_type: Optional[str] = None) -> Part:
    """A part from elsewhere (an archive), told by its type or else its first line."""
    return _part(content, _harmless(name) or "part", content_type or "text/plain")


def _leaf(piece: Message, number: str, unpack: Callable[[bytes], bytes]) -> Part:
    name = number
    try:
        name = _harmless(piece.get_filename()) or number
        kind = piece.get_content_type().lower()
        payload = piece.get_payload(decode=True)
        content = unpack(payload if isinstance(payload, bytes) else b"")
    except HandlerError as error:
        return Part(name, "broken", b"", f"cannot be read: {error.message.partition(': ')[2] or error.message}")
    except _CHOKES:
        return Part(name, "broken", b"", "cannot be read: its headers or its transfer encoding are damaged")
    return _part(content, name, kind)


def _part(data: bytes, name: str, content_type: str) -> Part:
    data = _unix_lines(data)
    kind: Kind = "refused"
    if re.match(rb"##\s*template:\s*jinja", data):
        return Part(name, "refused", data, "a jinja template")
    if content_type in _TYPES:
        kind, why = _TYPES[content_type]
        if kind == "script" and not data.startswith(b"#!"):
            return Part(name, "refused", data, "a script without `#!` in its first line")
        return Part(name, kind, data, why)
    for start, kind, why in _FIRST_LINES:
        if data.startswith(start):
            return Part(name, kind, data, why)
    return Part(name, "refused", data, _guess(data))


def _guess(data: bytes) -> str:
    if re.match(rb"\s*\{", data):
        return "JSON, maybe for Ignition" if b'"ignition"' in data[:_HEAD] else "JSON"
    if re.match(rb"variant:", data) or b"\nvariant:" in data[:_HEAD]:
        return "a Butane configuration, which is to be made Ignition first"
    return "of a kind that is not known: begin it with `#!` or `#cloud-config`"


def _is_mime(data: bytes) -> bool:
    head = data[:_HEAD].lstrip()
    if head.startswith((b"#", b"{")):
        return False
    headers = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    return re.search(rb"(?im)^(mime-version|content-type)[ \t]*:", headers) is not None


def _leaves(data: bytes) -> Iterator[Message]:
    import email

    if data.count(b"\n") > _MOST_LINES:
        raise _refused(f"it has more than {_MOST_LINES} lines")
    try:
        message = email.message_from_bytes(data.lstrip())
        for piece in message.walk():
            if not piece.is_multipart():
                if piece.get_content_maintype() == "multipart":
                    raise _refused("it says that it has parts, and there is none: is the boundary right?")
                yield piece
    except _CHOKES as error:
        raise _refused(f"not valid MIME ({type(error).__name__})") from error


def _harmless(name: Optional[str]) -> str:
    """The name as a file in one of our own folders may have it."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".-")[:64]


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    taken.add(candidate)
    return candidate


def _unix_lines(data: bytes) -> bytes:
    """As an editor on Windows should have saved it: `#!/bin/sh\\r` names no program."""
    first = data.find(b"\n")
    return data.replace(b"\r\n", b"\n") if first > 0 and data[first - 1 : first] == b"\r" else data


def _refused(why: str) -> HandlerError:
    return HandlerError(f"the user data cannot be taken apart: {why}", reason="failed to read user data")
