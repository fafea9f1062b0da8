"""Telemetry events: parse the document, and accept or refuse all of it. It fetches and expands nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from azurelite.simulator.goalstate import error_answer, not_allowed, version_refusal
from azurelite.simulator.message import Answer, Ask
from azurelite.simulator.scenario import Vm

SIZE_LIMIT = 65536  # bytes of one request
_GUID = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_VALUES = {"mt:wstr": "(?s).*", "mt:bool": "True|False", "mt:uint64": "[0-9]{1,20}", "mt:int32": "-?[0-9]{1,10}"}


def answer_telemetry(ask: Ask, vm: Vm, *, record: Callable[[dict[str, str]], None]) -> Answer:
    """The answer; `record` gets each event of a document that is accepted."""
    if ask.method != "POST":
        return not_allowed("POST")
    refusal = version_refusal(ask, vm)
    if refusal is not None:
        return refusal
    kind = (ask.header("Content-Type") or "").replace(" ", "").lower()
    if kind != "text/xml;charset=utf-8":
        return error_answer(400, "InvalidHeaderValue", "Content-Type must be text/xml; charset=utf-8.")
    if len(ask.body) > SIZE_LIMIT:
        return error_answer(413, "RequestBodyTooLarge", f"The limit is {SIZE_LIMIT} bytes.")
    try:
        events = read_telemetry(ask.body)
    except ValueError as error:
        return error_answer(400, "InvalidTelemetry", str(error))
    for event in events:
        record(event)
    return Answer(200)


def read_telemetry(body: bytes) -> list[dict[str, str]]:
    """The events, each as name -> value. Raises ValueError for all but a complete document of valid values."""
    root = _parsed(body, "The document")
    if root.tag != "TelemetryData" or root.get("version") != "1.0":
        raise ValueError("The root element is not TelemetryData of version 1.0.")
    events = []
    for provider in root:
        if provider.tag != "Provider" or not _GUID.fullmatch(provider.get("id", "")):
            raise ValueError("A Provider needs a GUID as id.")
        for event in provider:
            if event.tag != "Event" or not event.get("id", "").isdigit() or len(event):
                raise ValueError("An Event needs a number as id, and a text.")
            events.append(_params(event.text or ""))
    if not events:
        raise ValueError("The document has no Event.")
    return events


def _params(text: str) -> dict[str, str]:
    """The parameters in the text of an event, which is XML once more."""
    found: dict[str, str] = {}
    for param in _parsed(f"<Params>{text}</Params>".encode(), "The text of an Event"):
        name, value, kind = (param.get(key) for key in ("Name", "Value", "T"))
        if param.tag != "Param" or not name or name in found or value is None or kind not in _VALUES:
            raise ValueError("A Param needs a Name of its own, a Value and a known type T.")
        if not re.fullmatch(_VALUES[kind], value):
            raise ValueError(f"The Value of {name} is no {kind}.")
        found[name] = value
    if "Name" not in found:
        raise ValueError("An Event needs a Param with the name Name.")
    return found


def _parsed(body: bytes, what: str) -> Any:
    # Imported here: few requests need an XML parser.
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        return fromstring(body, forbid_dtd=True)
    except (DefusedXmlException, SyntaxError, ValueError, LookupError) as error:
        raise ValueError(f"{what} is not well-formed XML: {type(error).__name__}.") from None
