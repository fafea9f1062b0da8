"""Common to all WireServer routes: the protocol versions, the error document, the `?comp=versions` answer.

The other documents, goal state and health, have modules of their own.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from azurelite.simulator.message import Answer, Ask, xml_answer
from azurelite.simulator.scenario import Vm

DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'


def answer_versions(ask: Ask, vm: Vm) -> Answer:
    """The protocol versions; the one WireServer route that needs no x-ms-version."""
    if ask.method != "GET":
        return not_allowed("GET")
    lines = [DECLARATION, "<Versions>", "  <Preferred>", f"    <Version>{escape(vm.protocol_preferred)}</Version>"]
    lines += ["  </Preferred>", "  <Supported>"]
    lines += [f"    <Version>{escape(version)}</Version>" for version in vm.protocol_supported]
    return xml_answer(200, "\r\n".join([*lines, "  </Supported>", "</Versions>", ""]))


def version_refusal(ask: Ask, vm: Vm) -> Answer | None:
    """The error answer to a request without a known x-ms-version; None when it has one."""
    version = ask.header("x-ms-version")
    if version is None:
        return error_answer(400, "MissingRequiredHeader", "The header x-ms-version was not specified.")
    if version not in (vm.protocol_preferred, *vm.protocol_supported):
        return error_answer(400, "InvalidHeaderValue", f"The protocol version {version!r} is not supported.")
    return None


def not_allowed(verb: str) -> Answer:
    """405, with the allowed verb."""
    return error_answer(405, "UnsupportedHttpVerb", "The verb is not supported.").with_headers({"Allow": verb})


def error_answer(status: int, code: str, message: str) -> Answer:
    """WireServer's error document."""
    lines = [DECLARATION, "<Error>", f"  <Code>{code}</Code>", f"  <Message>{escape(message)}</Message>", "</Error>"]
    return xml_answer(status, "\r\n".join([*lines, ""]))
