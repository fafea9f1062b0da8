"""The health report in the JSON dialect: no goal state, no protocol version, only the state of the sending VM.

This module knows the document, its allowed values and the error answers. The limits are those of the XML dialect.
"""

from __future__ import annotations

import json
from typing import Any

from azurelite.simulator.health import DESCRIPTION_LIMIT, STATES, SUBSTATUSES, Health, MalformedHealthError
from azurelite.simulator.message import Answer, Ask, json_answer

PATH = "/provisioning/health"


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
    refusal = _content_type_refusal(ask)
    try:
        health = read_health_json(ask.body)
    except MalformedHealthError as error:
        return refusal or _invalid(str(error)), None
    # Azure accepts with an empty body.
    return refusal or _wording_refusal(health) or Answer(200), health


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


def _content_type_refusal(ask: Ask) -> Answer | None:
    if (ask.header("Content-Type") or "").partition(";")[0].strip().lower() == "application/json":
        return None
    return _invalid("Content-Type must be application/json.")


def _wording_refusal(health: Health) -> Answer | None:
    if health.state not in STATES:
        return _invalid(f"state is {health.state!r}; known are {', '.join(STATES)}.")
    if health.state == "Ready":
        return None
    if health.substatus is None or health.description is None:
        return _invalid("A NotReady report needs details with subStatus and description.")
    if health.substatus not in SUBSTATUSES:
        return _invalid(f"subStatus is {health.substatus!r}; known are {', '.join(SUBSTATUSES)}.")
    length = len(health.description.encode())
    if length > DESCRIPTION_LIMIT:
        return _invalid(f"description holds {length} bytes; the limit is {DESCRIPTION_LIMIT}.")
    return None


def _invalid(message: str) -> Answer:
    return json_answer(400, {"error": message})
