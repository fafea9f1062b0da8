"""Makes the JSON Schema (draft 2020-12) of the configuration, for editors, from the classes that check it.

The schema lacks the checks inside those classes, such as absolute paths and valid user names: use `azurelite config
check` for them.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Mapping, Union, get_args, get_origin, get_type_hints

from azurelite.config.condition import FIELDS
from azurelite.config.layers import POSITIONS
from azurelite.config.load import ID, SOURCES, DatasourceConfig, EntryKeys, ReportConfig
from azurelite.config.schema import choice_of, fields_of, has_keys
from azurelite.describe.options import attribute_texts, default_of
from azurelite.handlers import MOST_SECONDS, PROGRAM_TIMEOUT, REPORT_READY
from azurelite.metadata import Secret
from azurelite.plugins import Plugin, plugged_sources

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
# A condition starts with an existing field, or with `not` and a field.
_CONDITION = rf"^\s*(not\s+)?({'|'.join(FIELDS)})([.\s=!]|$)"
# A plug-in, by its place in Python; its options are unknown here.
_PLUGIN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_PLUGIN_NAME: dict[str, Any] = {"type": "string", "pattern": _PLUGIN}
_CONDITION_TEXT: dict[str, Any] = {"type": "string", "pattern": _CONDITION}

Json = dict[str, Any]


def config_schema(handlers: Mapping[str, Plugin], *, plugins: bool = False) -> Json:
    """The schema of a configuration file.

    Args:
        handlers: name -> description.
        plugins: include the sources of installed packages.
    """
    sources = [*SOURCES, *(plugged_sources() if plugins else ())]
    datasource = _of_class(DatasourceConfig)
    datasource["properties"]["sources"]["items"] = {"anyOf": [{"enum": sources}, _PLUGIN_NAME]}
    definitions = {name: _handler(known, fixed=name == REPORT_READY) for name, known in handlers.items()}
    return {
        "$schema": DIALECT,
        "title": "azurelite.yaml",
        "description": "The configuration of azurelite, which provisions Linux virtual machines on Azure.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "datasource": {"description": "Where metadata comes from.", **datasource},
            "report": {"description": "What Azure is told besides the state of the VM.", **_of_class(ReportConfig)},
            "handlers": {
                "description": "The handlers to run, in this order.",
                "type": "array",
                "items": _entry(handlers),
            },
        },
        "$defs": definitions,
    }


def _entry(handlers: Mapping[str, Plugin]) -> Json:
    names = list(handlers)
    return {
        "if": {"type": "string"},
        "then": {"anyOf": [{"enum": names}, _PLUGIN_NAME]},
        "else": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names},
            "patternProperties": {_PLUGIN: {"type": ["object", "null"]}},
            "additionalProperties": False,
        },
    }


_PROGRAM_TIMEOUT: Json = {
    "description": "seconds that the program may run; then it is killed with its children.",
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": MOST_SECONDS,
}


def _handler(known: Plugin, *, fixed: bool) -> Json:
    schema: Json = {"type": ["object", "null"]}
    if known.options is not None:
        schema = _of_class(known.options)
    keys = _of_class(EntryKeys)["properties"]
    keys["id"]["pattern"] = f"^{ID}$"
    keys["when"] = {
        "description": keys["when"]["description"],
        "anyOf": [_CONDITION_TEXT, {"type": "array", "items": _CONDITION_TEXT}],
    }
    keys["frequency"]["default"] = known.frequency
    keys["required"]["default"] = known.required
    taken = {key: value for key, value in keys.items() if key in POSITIONS or not fixed}
    if known.options is None and not known.place:
        taken[PROGRAM_TIMEOUT] = {**_PROGRAM_TIMEOUT, "default": known.timeout}
    return {
        "title": known.summary,
        **schema,
        "properties": {**schema.get("properties", {}), **taken},
        "not": {"type": "object", "required": list(POSITIONS)},
    }


def _of_class(cls: Any) -> Json:
    """The schema of a class: a mapping with its fields as keys, or null for an empty section."""
    types = get_type_hints(cls)
    texts = attribute_texts(cls)
    properties = {}
    for field in fields_of(cls):
        schema = _of_type(types[field.name])
        default = default_of(field)
        if not _holds_secret(default) and not has_keys(types[field.name]):
            schema = {**schema, "default": default}
        text = texts.get(field.name)
        properties[field.name] = {"description": _sentence(text), **schema} if text else schema
    return {"type": ["object", "null"], "additionalProperties": False, "properties": properties}


def _of_type(kind: Any) -> Json:
    origin, arguments = get_origin(kind), get_args(kind)
    if has_keys(kind):
        return _of_class(kind)
    if origin is Union:
        return _any_of([{"type": "null"} if one is type(None) else _of_type(one) for one in arguments])
    if origin is Literal:
        # An editor may read `yes` without quotes as true, like PyYAML.
        truths = [truth for truth in (True, False) if choice_of(arguments, truth) not in (None, truth)]
        return {"enum": [*arguments, *truths]}
    return _of_container(origin, arguments) if origin is not None else _of_scalar(kind)


def _of_container(origin: Any, arguments: tuple[Any, ...]) -> Json:
    if origin is tuple:
        return {"type": "array", "items": _of_type(arguments[0])}
    return {"type": "object", "additionalProperties": _of_type(arguments[1])}


def _of_scalar(kind: Any) -> Json:
    if kind is Secret:
        return {"type": "string", "writeOnly": True}
    return {} if kind is Any else {"type": _TYPES[kind]}


def _any_of(schemas: list[Json]) -> Json:
    """The schema of alternatives. Simple types become one list, which editors show best."""
    if all(set(schema) == {"type"} and isinstance(schema["type"], str) for schema in schemas):
        return {"type": list(dict.fromkeys(schema["type"] for schema in schemas))}
    return {"anyOf": schemas}


def _sentence(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, Secret) or (isinstance(value, list) and any(_holds_secret(item) for item in value))
