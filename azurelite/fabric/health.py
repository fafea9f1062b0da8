"""Makes the documents of the health report, in WireServer's two dialects (XML and JSON)."""

from __future__ import annotations

import re
from typing import Optional

from azurelite.errors import ConfigError
from azurelite.fabric.exchange import Response
from azurelite.fabric.goalstate import GoalState
from azurelite.record import Record

DESCRIPTION_LIMIT = 4096  # bytes of the escaped text, in UTF-8

_LONGEST_CHARACTER = 6  # bytes of one character, at most
_PAGE_START = 4096  # bytes of an answer in which a web page shows itself
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# XML 1.0 cannot contain most control characters, surrogates, U+FFFE and U+FFFF.
_UNSPEAKABLE = "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"


class Health(Record):
    """The content of a health report.

    Attributes:
        state: "Ready" or "NotReady".
        substatus: with NotReady: "ProvisioningFailed", or "Provisioning" while it continues.
        description: with NotReady: why, for the portal; cut to what fits into 4096 bytes.
    """

    state: str
    substatus: Optional[str] = None
    description: str = ""


READY = Health("Ready")


_CONTINUES = "provisioning continues"


def failed(description: str) -> Health:
    """The report that provisioning failed."""
    return Health("NotReady", "ProvisioningFailed", description)


def in_progress(description: str) -> Health:
    """The report that provisioning continues; a blank description gets a default."""
    return Health("NotReady", "Provisioning", description if description.strip() else _CONTINUES)


def check_reason(reason: Optional[str]) -> None:
    """Check the reason of a failure, which the portal shows. Raises ConfigError: there is none."""
    if not (reason or "").strip():
        raise ConfigError("a report of a failure needs a reason, which the portal shows: add it")


def report_document(state: str, goal_state: GoalState, reason: Optional[str] = None) -> bytes:
    """See `azurelite.build_report`."""
    healths = {"Ready": lambda _: READY, "NotReady": failed, "Provisioning": in_progress}
    if state not in healths:
        raise ConfigError(f"unknown state {state!r} of a report: use one of {', '.join(healths)}")
    if state == "Ready" and reason is not None:
        raise ConfigError("a Ready report cannot have a reason: leave `reason` out")
    if state == "NotReady":
        check_reason(reason)
    return health_document(healths[state](reason or ""), goal_state)


def health_document(health: Health, goal_state: GoalState) -> bytes:
    """The report for `/machine?comp=health`, as UTF-8 XML."""
    details = ""
    if health.substatus is not None:
        details = (
            f"<Details><SubStatus>{_escape(health.substatus)}</SubStatus>"
            f"<Description>{_escape(fitting(health.description))}</Description></Details>"
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<Health xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        f"<GoalStateIncarnation>{_escape(goal_state.incarnation)}</GoalStateIncarnation>"
        f"<Container><ContainerId>{_escape(goal_state.container_id)}</ContainerId>"
        f"<RoleInstanceList><Role><InstanceId>{_escape(goal_state.instance_id)}</InstanceId>"
        f"<Health><State>{_escape(health.state)}</State>{details}</Health>"
        "</Role></RoleInstanceList></Container></Health>"
    ).encode()


def health_json(health: Health) -> bytes:
    """The report for `/provisioning/health` of newer hosts, as JSON. It needs no goal state."""
    import json

    document: dict[str, object] = {"state": health.state}
    if health.substatus is not None:
        description = fitting(health.description).encode("utf-8", "replace").decode()
        document["details"] = {"subStatus": health.substatus, "description": description}
    return json.dumps(document, ensure_ascii=False).encode()


def wire_size(text: str) -> int:
    """The bytes that a description takes in the dialect that needs more of them."""
    in_xml = 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
    in_json = text.count('"') + text.count("\\") + sum(5 for character in text if character < " ")
    return len(text.encode(errors="replace")) + max(in_xml, in_json)


def fitting(description: str) -> str:
    """The description, cut between two characters to what both dialects can carry."""
    text = description[:DESCRIPTION_LIMIT]  # a character takes a byte or more
    while (over := wire_size(text) - DESCRIPTION_LIMIT) > 0:
        text = text[: -(over // _LONGEST_CHARACTER or 1)]
    return text


def is_web_page(response: Response) -> bool:
    """Whether an answer is a web page: of a proxy or a gateway, not of WireServer.

    WireServer accepts with an empty body. A body of any other form, or with an unknown type, also accepts.
    """
    body = response.body[:_PAGE_START].removeprefix(b"\xef\xbb\xbf").lstrip()
    while body[:2] == b"<?" or body[:4] == b"<!--":  # an XML declaration or a comment
        body = body.partition(b"?>" if body[:2] == b"<?" else b"-->")[2].lstrip()
    if body[:9].lower() == b"<!doctype" or re.match(rb"(?i)<html[\s>/]", body):
        return True
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") and bool(response.body.strip())


def _escape(text: str) -> str:
    return re.sub("[&<>]", lambda found: _ESCAPES[found[0]], re.sub(_UNSPEAKABLE, " ", text))
