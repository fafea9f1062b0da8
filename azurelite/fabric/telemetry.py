"""The document of telemetry events for WireServer. It is imported only with `report: {telemetry: true}`."""

from __future__ import annotations

from typing import Sequence, Union

from azurelite.record import Record
from azurelite.version import VERSION

SIZE_LIMIT = 65536  # bytes of one request
_PROVIDER = "69B669B9-4AF8-4C50-BDC4-6006FA76E975"  # of events of agents inside a VM
_HEAD = f'<?xml version="1.0"?><TelemetryData version="1.0"><Provider id="{_PROVIDER}">'
_TAIL = "</Provider></TelemetryData>"
_LONGEST_TEXT = 1000  # characters
_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"))
_TYPES = {bool: "mt:bool", int: "mt:uint64", str: "mt:wstr"}


class StepEvent(Record):
    """The result of one step.

    Attributes:
        name: the step.
        done: false if it failed.
        milliseconds: how long it took.
        text: what came of it; never a secret.
    """

    name: str
    done: bool
    milliseconds: int
    text: str


def telemetry_document(events: Sequence[StepEvent]) -> bytes:
    """The document, as UTF-8; events that do not fit into one request are left out."""
    size = len(_HEAD) + len(_TAIL)
    parts: list[bytes] = []
    for event in events:
        part = _event(event)
        size += len(part)
        if size > SIZE_LIMIT:
            break
        parts.append(part)
    return b"".join((_HEAD.encode(), *parts, _TAIL.encode()))


def _event(event: StepEvent) -> bytes:
    values: dict[str, Union[str, bool, int]] = {
        "Name": "azurelite",
        "Version": VERSION,
        "Operation": event.name,
        "OperationSuccess": event.done,
        "Message": event.text[:_LONGEST_TEXT],
        "Duration": event.milliseconds,
    }
    params = "".join(
        f'<Param Name="{name}" Value={_quoted(value)} T="{_TYPES[type(value)]}" />' for name, value in values.items()
    )
    return f'<Event id="1"><![CDATA[{params}]]></Event>'.encode()


def _quoted(value: Union[str, bool, int]) -> str:
    """A value in quotes. `>` is escaped too, so that no text ends the CDATA section."""
    text = "".join(character if character.isprintable() else " " for character in str(value))
    for character, escaped in _ESCAPES:
        text = text.replace(character, escaped)
    return f'"{text}"'
