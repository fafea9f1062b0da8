"""What every WireServer route shares: the protocol versions, the error document, the `?comp=versions` answer.

Knows the XML dialect's common ground. Refuses to know any single document; goal state and health have rooms of their
own.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from azurelite.simulator.message import Answer, Ask, xml_answer

DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'

# As WireServer lists them, newest first; the last one is its own misspelling, which it does offer.
PROTOCOL_VERSIONS = (
    "2015-04-05",
    "2012-11-30",
    "2012-09-15",
    "2012-05-15",
    "2011-12-31",
    "2011-10-15",
    "2011-08-31",
    "2011-04-07",
    "2010-12-15",
    "2010-28-10",
)


def answer_versions(ask: Ask) -> Answer:
    """The protocol versions; the one WireServer route that needs no x-ms-version."""
    if ask.method != "GET":
        return not_allowed("GET")
    lines = [DECLARATION, "<Versions>", "  <Preferred>", f"    <Version>{PROTOCOL_VERSIONS[0]}</Version>"]
    lines += ["  </Preferred>", "  <Supported>"]
    lines += [f"    <Version>{version}</Version>" for version in PROTOCOL_VERSIONS]
    return xml_answer(200, "\r\n".join([*lines, "  </Supported>", "</Versions>", ""]))


def version_refusal(ask: Ask) -> Answer | None:
    """The refusal of a request without a known x-ms-version; None when it is in order."""
    version = ask.header("x-ms-version")
    if version is None:
        return error_answer(400, "MissingRequiredHeader", "The header x-ms-version was not specified.")
    if version not in PROTOCOL_VERSIONS:
        return error_answer(400, "InvalidHeaderValue", f"The protocol version {version!r} is not supported.")
    return None


def not_allowed(verb: str) -> Answer:
    """405, naming the verb that would do."""
    return error_answer(405, "UnsupportedHttpVerb", "The verb is not supported.").with_headers({"Allow": verb})


def error_answer(status: int, code: str, message: str) -> Answer:
    """WireServer's error document."""
    lines = [DECLARATION, "<Error>", f"  <Code>{code}</Code>", f"  <Message>{escape(message)}</Message>", "</Error>"]
    return xml_answer(status, "\r\n".join([*lines, ""]))
