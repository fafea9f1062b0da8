"""Describes options for people: each key with its type, default and text, taken from the class of options.

The text of a key is the text of the field in the docstring's section "Attributes:".
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from azurelite.config.option_types import plain
from azurelite.config.schema import MAPPINGS, fields_of, has_keys, word_of
from azurelite.metadata import Secret
from azurelite.record import Field, Record

_KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Secret: "secret text",
    Any: "anything",
}


class OptionDoc(Record):
    """One key.

    Attributes:
        name: the key; a key inside another one is written like `files[].path`.
        kind: its type, for people.
        default: the value if it is absent, as a plain value.
        text: its meaning.
    """

    name: str
    kind: str
    default: Any
    text: str


def options_of(cls: type, *, prefix: str = "") -> tuple[OptionDoc, ...]:
    """Every key of a class of options. Keys inside another key follow that key."""
    found: list[OptionDoc] = []
    texts = attribute_texts(cls)
    types = get_type_hints(cls)
    for field in fields_of(cls):
        kind = types[field.name]
        found.append(OptionDoc(prefix + field.name, kind_of(kind), default_of(field), texts.get(field.name, "")))
        for inner, suffix in _inside(kind):
            found += options_of(inner, prefix=f"{prefix}{field.name}{suffix}.")
    return tuple(found)


def attribute_texts(cls: type) -> dict[str, str]:
    """What the docstring says of each field, in one line each."""
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    texts: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Attributes:") + 1 :] if "Attributes:" in lines else ():
        if line and not line.startswith(" "):
            break
        started = re.fullmatch(r" {4}(\w+): *(.*)", line)
        if started:
            name = started[1]
            texts[name] = started[2]
        elif name and line.strip():
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts


def default_of(field: Field) -> Any:
    """A field's default as a plain value; None where it has none."""
    return None if field.required else plain(field.value())


def kind_of(kind: Any) -> str:
    """A type, for people. Whether it may be null is not included; the default shows that."""
    origin, arguments = get_origin(kind), get_args(kind)
    if has_keys(kind):
        return "mapping"
    if origin is Union:
        return " or ".join(dict.fromkeys(kind_of(one) for one in arguments if one is not type(None)))
    if origin is Literal:
        return " | ".join(map(word_of, arguments))
    if origin is tuple:
        inner = kind_of(arguments[0])
        return f"list of ({inner})" if " | " in inner or " or " in inner else f"list of {_plural(inner)}"
    if origin in MAPPINGS:
        return f"mapping of names to {kind_of(arguments[1])}"
    return _KINDS.get(kind, "anything")


def _plural(kind: str) -> str:
    first, space, rest = kind.partition(" ")
    return f"{first}s{space}{rest}" if first in ("mapping", "list") else kind + "s" if kind[-1] == "r" else kind


def _inside(kind: Any) -> list[tuple[Any, str]]:
    """The classes of options that a value of that type may contain, each with the suffix for its keys."""
    origin, arguments = get_origin(kind), get_args(kind)
    if has_keys(kind):
        return [(kind, "")]
    if origin is Union:
        return [pair for one in arguments for pair in _inside(one)]
    if origin is tuple:
        return [(inner, f"[]{suffix}") for inner, suffix in _inside(arguments[0])]
    if origin in MAPPINGS:
        return [(inner, f".NAME{suffix}") for inner, suffix in _inside(arguments[1])]
    return []
