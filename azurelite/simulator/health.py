"""The health report in XML: parse it, and accept or refuse it as Azure does.

This module knows the elements of the document, their allowed values and the error answers. It never fetches or expands
anything that the XML refers to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from azurelite.simulator.message import Answer, Ask
from azurelite.simulator.scenario import Vm
from azurelite.simulator.wireserver import error_answer, not_allowed, version_refusal

STATES = ("Ready", "NotReady")
SUBSTATUSES = ("Provisioning", "ProvisioningFailed")
DESCRIPTION_LIMIT = 4096  # bytes of the escaped text, WireServer's limit
_ROLE = "Container/RoleInstanceList/Role"


@dataclass(frozen=True)
class Health:
    """A parsed health report, neither accepted nor refused yet."""

    incarnation: str
    container_id: str
    instance_id: str
    state: str
    substatus: str | None
    description: str | None


class MalformedHealthError(ValueError):
    """The body is not a Health document; the message gives the reason."""


def read_health(body: bytes) -> Health:
    """The report in `body`. Raises MalformedHealthError for all but a complete Health document without a DTD."""
    root = _root(body)
    return Health(
        incarnation=_required(root, "GoalStateIncarnation"),
        container_id=_required(root, "Container/ContainerId"),
        instance_id=_required(root, f"{_ROLE}/InstanceId"),
        state=_required(root, f"{_ROLE}/Health/State"),
        substatus=root.findtext(f"{_ROLE}/Health/Details/SubStatus"),
        description=root.findtext(f"{_ROLE}/Health/Details/Description"),
    )


def judge(ask: Ask, vm: Vm) -> tuple[Answer, Health | None]:
    """The answer to a health report, and the report where it could be parsed. Changes nothing."""
    if ask.method != "POST":
        return not_allowed("POST"), None
    refusal = version_refusal(ask, vm) or _content_type_refusal(ask)
    try:
        health = read_health(ask.body)
    except MalformedHealthError as error:
        return refusal or _invalid(str(error)), None
    refusal = refusal or _wording_refusal(health) or _identity_refusal(health, vm)
    # Some agents treat an answer without this header as a failure.
    accepted = Answer(200, headers=(("x-ms-latest-goal-state-incarnation-number", str(vm.incarnation)),))
    return refusal or accepted, health


def _root(body: bytes) -> Any:
    # Imported here: only a health report needs an XML parser.
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(body, forbid_dtd=True)
    except DefusedXmlException:
        raise MalformedHealthError("The document holds a DTD or an entity.") from None
    except (SyntaxError, ValueError, LookupError) as error:  # ParseError is one, of either of defusedxml 0.6's kinds
        raise MalformedHealthError(f"The document is not well-formed XML: {error}") from None
    if root.tag != "Health":
        raise MalformedHealthError(f"The root element is {root.tag!r}, not Health.")
    return root


def _required(root: Any, path: str) -> str:
    text = root.findtext(path)
    if text is None:
        raise MalformedHealthError(f"The element {path} is missing.")
    return str(text)


def _content_type_refusal(ask: Ask) -> Answer | None:
    kind, *parameters = (ask.header("Content-Type") or "").split(";")
    stated = {parameter.strip().lower().replace('"', "") for parameter in parameters}
    if kind.strip().lower() == "text/xml" and "charset=utf-8" in stated:
        return None
    return error_answer(400, "InvalidHeaderValue", "Content-Type must be text/xml; charset=utf-8.")


def _wording_refusal(health: Health) -> Answer | None:
    if health.state not in STATES:
        return _invalid(f"State is {health.state!r}; known are {', '.join(STATES)}.")
    if health.state == "Ready":
        return None
    if health.substatus is None or health.description is None:
        return _invalid("A NotReady report needs Details with SubStatus and Description.")
    if health.substatus not in SUBSTATUSES:
        return _invalid(f"SubStatus is {health.substatus!r}; known are {', '.join(SUBSTATUSES)}.")
    length = len(escape(health.description).encode())
    if length > DESCRIPTION_LIMIT:
        return _invalid(f"Description holds {length} bytes; the limit is {DESCRIPTION_LIMIT}.")
    return None


def _identity_refusal(health: Health, vm: Vm) -> Answer | None:
    if health.instance_id != vm.instance_id:
        return _invalid(f"InstanceId {health.instance_id!r} is not this VM's.")
    if health.container_id != vm.container_id:
        message = "The container id is not, or no longer, this VM's."
        return error_answer(vm.stale_container_status, "InvalidContainerConfiguration", message)
    if health.incarnation != str(vm.incarnation):
        message = f"The goal state incarnation {health.incarnation!r} is gone; the current one is {vm.incarnation}."
        return error_answer(410, "ResourceNotAvailable", message)
    return None


def _invalid(message: str) -> Answer:
    return error_answer(400, "InvalidHealthReport", message)
