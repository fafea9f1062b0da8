"""The health report in XML and in JSON: parse it, and accept or refuse it as Azure does.

This module knows both documents, their allowed values and the error answers. It never fetches or expands anything that
the XML refers to. The JSON dialect has no goal state and no protocol version, only the state of the sending VM.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from azurelite.simulator.goalstate import error_answer, not_allowed, version_refusal
from azurelite.simulator.message import Answer, Ask, json_answer
from azurelite.simulator.scenario import Vm

STATES = ("Ready", "NotReady")
SUBSTATUSES = ("Provisioning", "ProvisioningFailed")
DESCRIPTION_LIMIT = 4096  # bytes of the escaped text, WireServer's limit
JSON_PATH = "/provisioning/health"
_XML_NAMES = ("State", "Details", "SubStatus", "Description")
_JSON_NAMES = ("state", "details", "subStatus", "description")
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
    problem = _wording_problem(health, _XML_NAMES, length=len(escape(health.description or "").encode()))
    refusal = refusal or (_invalid(problem) if problem else _identity_refusal(health, vm))
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


def _wording_problem(health: Health, names: tuple[str, ...], *, length: int) -> str | None:
    """What is wrong with the values, under the names of the dialect; `length` is that of the description, in bytes."""
    state, details, substatus, description = names
    if health.state not in STATES:
        return f"{state} is {health.state!r}; known are {', '.join(STATES)}."
    if health.state == "Ready":
        return None
    if health.substatus is None or health.description is None:
        return f"A NotReady report needs {details} with {substatus} and {description}."
    if health.substatus not in SUBSTATUSES:
        return f"{substatus} is {health.substatus!r}; known are {', '.join(SUBSTATUSES)}."
    if length > DESCRIPTION_LIMIT:
        return f"{description} holds {length} bytes; the limit is {DESCRIPTION_LIMIT}."
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


def read_health_json(body: bytes) -> Health:
    """The report in `body`; ids and incarnation are empty, because this dialect has none.

    Raises MalformedHealthError for anything but an object with the known members, each once and a text.
    """
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise MalformedHealthError(f"The document is not JSON: {error}") from None
    told = _members(document, "the document", ("state", "details"))
    details = _members(told.get("details", {}), "details", ("subStatus", "description"))
    texts = {"state": told.get("state"), **{name: details.get(name) for name in ("subStatus", "description")}}
    for name, text in texts.items():
        if text is None and (name == "state" or name in details):
            raise MalformedHealthError(f"The member {name} is missing or null.")
        if text is not None and not _is_text(text):
            raise MalformedHealthError(f"The member {name} is not a text.")
    if texts["state"] == "Ready" and "details" in told:
        raise MalformedHealthError("A Ready report has no details.")
    return Health("", "", "", str(texts["state"]), texts["subStatus"], texts["description"])


def judge_json(ask: Ask) -> tuple[Answer, Health | None]:
    """The answer to a health report in JSON, and the report where it could be parsed. Changes nothing."""
    if ask.method != "POST":
        return json_answer(405, {"error": "The verb is not supported."}, headers=(("Allow", "POST"),)), None
    refusal = _json_type_refusal(ask)
    try:
        health = read_health_json(ask.body)
    except MalformedHealthError as error:
        return refusal or _invalid_json(str(error)), None
    # Azure accepts with an empty body.
    problem = _wording_problem(health, _JSON_NAMES, length=len((health.description or "").encode()))
    return refusal or (_invalid_json(problem) if problem else Answer(200)), health


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _members(value: Any, what: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedHealthError(f"{what} is not an object.")
    for name in value:
        if name not in known:
            raise MalformedHealthError(f"{what}: unknown member {name!r}.")
    return value


def _is_text(value: Any) -> bool:
    # JSON can contain a lone surrogate, which is no character.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _json_type_refusal(ask: Ask) -> Answer | None:
    if (ask.header("Content-Type") or "").partition(";")[0].strip().lower() == "application/json":
        return None
    return _invalid_json("Content-Type must be application/json.")


def _invalid_json(message: str) -> Answer:
    return json_answer(400, {"error": message})
