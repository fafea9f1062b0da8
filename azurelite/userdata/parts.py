"""Split user data into parts: parse MIME, and determine the kind of each part by its content type and first line.

Where they contradict each other, the first line counts: tools declare everything as a shell script.

The content of a part is not examined further.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, Iterator, Literal, Mapping, Optional

from azurelite.errors import HandlerError
from azurelite.record import Record, field, replace
from azurelite.userdata.decode import refused

if TYPE_CHECKING:
    from email.message import Message

Kind = Literal["script", "boothook", "cloud-config", "archive", "refused", "broken"]

_MOST_PARTS = 200
_MOST_LINES = 500_000  # the parser takes some microseconds for each
_HEAD = 4096  # bytes at the start that are examined to recognize a kind
# The exceptions that the standard library's parser raises for malformed messages.
_PARSER_ERRORS = (RecursionError, ValueError, LookupError, TypeError, AttributeError)
# First lines. A longer one comes before a shorter one that it begins with.
_FIRST_LINES: tuple[tuple[bytes, Kind, str], ...] = (
    (b"#!", "script", ""),
    (b"#cloud-config-archive", "archive", ""),
    (b"#cloud-config-jsonp", "refused", "a JSON patch of cloud-config"),
    (b"#cloud-config", "cloud-config", ""),
    (b"#cloud-boothook", "boothook", ""),
    (b"#include", "refused", "a list of URLs to download"),
    (b"#part-handler", "refused", "a part handler"),
    (b"#upstart-job", "refused", "an Upstart job"),
    (b"#ps1", "refused", "a PowerShell script"),
)
_PER_BOOT = "text/x-shellscript-per-boot"
_TYPES: dict[str, tuple[Kind, str]] = {
    "text/x-shellscript": ("script", ""),
    _PER_BOOT: ("script", ""),
    "text/x-shellscript-per-instance": ("script", ""),
    "text/x-shellscript-per-once": ("script", ""),
    "text/cloud-config": ("cloud-config", ""),
    "text/cloud-config-archive": ("archive", ""),
    "text/cloud-boothook": ("boothook", ""),
    "text/x-include-url": ("refused", "a list of URLs to download"),
    "text/x-include-once-url": ("refused", "a list of URLs to download"),
    "text/jinja2": ("refused", "a Jinja template"),
    "text/part-handler": ("refused", "a part handler"),
    "text/cloud-config-jsonp": ("refused", "a JSON patch of cloud-config"),
    "text/upstart-job": ("refused", "an Upstart job"),
}
_BLANK = b" \t\r\n\v\f\0\xef\xbb\xbf"  # white space, and the byte order mark of UTF-8
# What the first line may say without contradicting the content type. A kind that is not listed is not questioned.
_AGREEING: dict[Kind, tuple[Kind, ...]] = {
    "script": ("script",),
    "cloud-config": ("cloud-config",),
    "archive": ("archive",),
    "boothook": ("boothook", "script"),
}
_NONE: Mapping[str, object] = {}


class Part(Record):
    """One piece of user data.

    Attributes:
        name: its file name, with unsafe characters replaced; "part-001" and so on if it has none.
        kind: what it is; "refused": a kind that azurelite does not support; "broken": it cannot be read.
        data: its content.
        why: text for a message: what a "refused" part is, or what is wrong with a "broken" one.
        note: a message about an oddity that was corrected.
        merge: how a "cloud-config" part is merged with the earlier ones, from its headers.
    """

    name: str
    kind: Kind
    data: bytes = field(repr=False)
    why: str = ""
    note: str = ""
    merge: Optional[str] = None


def split(data: bytes, *, unpack: Callable[[bytes], bytes]) -> list[Part]:
    """Split a document into its parts, in their order.

    Args:
        data: the document, in UTF-8.
        unpack: decompresses a part of a MIME document. Raises HandlerError.

    Raises:
        HandlerError: the MIME document cannot be parsed.
    """
    if not _is_mime(data):
        return [] if not data.strip() else [_part(data, "part-001", "text/plain")]
    found = []
    names: set[str] = set()
    for number, piece in enumerate(_leaves(data), 1):
        if number > _MOST_PARTS:
            raise refused(f"it has more than {_MOST_PARTS} parts")
        part = _leaf(piece, f"part-{number:03d}", unpack)
        part = replace(part, name=_unique(part.name, names))
        if part.data.strip() or part.kind == "broken":
            found.append(part)
    return found


def part_of(
    content: bytes, *, name: str, content_type: Optional[str] = None, headers: Mapping[str, object] = _NONE
) -> Part:
    """A part from another source (an archive). Its kind is determined by its content type and its first line."""
    found = _part(content, _harmless(name) or "part", (content_type or "text/plain").strip().lower())
    return replace(found, merge=_merge_type(headers))


def _leaf(piece: Message, number: str, unpack: Callable[[bytes], bytes]) -> Part:
    name = number
    try:
        name = _harmless(piece.get_filename()) or number
        kind = piece.get_content_type().lower()
        payload = piece.get_payload(decode=True)
        content = unpack(payload if isinstance(payload, bytes) else b"")
    except HandlerError as error:
        return Part(name, "broken", b"", f"cannot be read: {error.message.partition(': ')[2] or error.message}")
    except _PARSER_ERRORS:
        return Part(name, "broken", b"", "cannot be read: its headers or its transfer encoding are damaged")
    return replace(_part(content, name, kind), merge=_merge_type(dict(piece.items())))


def _merge_type(headers: Mapping[str, object]) -> Optional[str]:
    known = {name.lower().replace("_", "-"): str(value) for name, value in headers.items()}
    return known.get("merge-type") or known.get("x-merge-type") or None


def _part(data: bytes, name: str, content_type: str) -> Part:
    data = _unix_lines(data)
    if re.match(rb"##\s*template:\s*jinja", data.lstrip(_BLANK), re.IGNORECASE):
        return Part(name, "refused", data, "a Jinja template")
    said, said_why = _first_line(data)
    declared, why = _TYPES.get(content_type, (None, ""))
    note = ""
    if declared is None or (said is not None and said not in _AGREEING.get(declared, (said,))):
        if declared is not None:
            note = f"{name} is declared as {content_type}, but its first line says {said_why or said}: that is used"
        declared, why = said, said_why
    if content_type == _PER_BOOT and declared == "script":
        note = f"{name} is declared as {_PER_BOOT}, but it runs only once: install a service to run it at every boot"
    if declared == "script" and said != "script":
        return Part(name, "refused", data, "a script without `#!` in its first line")
    if declared is None:
        return Part(name, "refused", data, _guess(data))
    return Part(name, declared, _from_first_line(data, declared), why, note)


def _first_line(data: bytes) -> tuple[Optional[Kind], str]:
    """The kind that the first line names, whatever its letter case and the white space before it."""
    head = data.lstrip(_BLANK)[:_HEAD].lower()
    return next(((kind, why) for start, kind, why in _FIRST_LINES if head.startswith(start)), (None, ""))


def _from_first_line(data: bytes, kind: Kind) -> bytes:
    """The content without the blank lines and spaces before its first line, which come from templates.

    YAML keeps its lines and columns, for messages. A script loses its indentation: the kernel wants `#!` first.
    """
    rest = data.lstrip(_BLANK)
    before = data[: len(data) - len(rest)]
    if kind in ("cloud-config", "archive"):
        return re.sub(rb"[^\n]", b" ", before.replace(b"\xef\xbb\xbf", b"")) + rest
    indentation = before[before.rfind(b"\n") + 1 :]
    return rest.replace(b"\n" + indentation, b"\n") if indentation else rest


def _guess(data: bytes) -> str:
    if re.match(rb"\s*\{", data):
        return "JSON, perhaps an Ignition configuration" if b'"ignition"' in data[:_HEAD] else "JSON"
    if re.match(rb"variant:", data) or b"\nvariant:" in data[:_HEAD]:
        return "a Butane configuration, which has to be converted to Ignition"
    return "of an unknown kind: begin it with `#!` or `#cloud-config`"


def _is_mime(data: bytes) -> bool:
    head = data[:_HEAD].lstrip()
    if head.startswith((b"#", b"{")):
        return False
    headers = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    return re.search(rb"(?im)^(mime-version|content-type)[ \t]*:", headers) is not None


def _leaves(data: bytes) -> Iterator[Message]:
    import email

    if data.count(b"\n") > _MOST_LINES:
        raise refused(f"it has more than {_MOST_LINES} lines")
    try:
        message = email.message_from_bytes(data.lstrip())
        for piece in message.walk():
            if not piece.is_multipart():
                if piece.get_content_maintype() == "multipart":
                    raise refused("it is declared as multipart but has no part: check the boundary")
                yield piece
    except _PARSER_ERRORS as error:
        raise refused(f"it is not valid MIME ({type(error).__name__})") from error


def _harmless(name: Optional[str]) -> str:
    """The name with unsafe characters replaced, for a file in azurelite's own folder."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".-")[:64]


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    taken.add(candidate)
    return candidate


def _unix_lines(data: bytes) -> bytes:
    """The text with Windows line ends converted: `#!/bin/sh\\r` names a program that does not exist."""
    first = data.find(b"\n")
    return data.replace(b"\r\n", b"\n") if first > 0 and data[first - 1 : first] == b"\r" else data
