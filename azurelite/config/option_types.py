"""A class of options as plain data and back, so that a plug-in's options are described where its code is not imported.

The class made of the data has the same fields, types, defaults and docstring. It checks nothing that the plug-in's own
`__post_init__` would: options are checked in the plug-in's interpreter.
"""

from __future__ import annotations

from typing import Any, Literal, Mapping, Union, get_args, get_origin, get_type_hints

from azurelite.config.schema import MAPPINGS, fields_of, has_keys
from azurelite.metadata import Secret
from azurelite.record import Field
from azurelite.system.portable import pack, unpack

_SCALARS: dict[str, Any] = {
    "bool": bool, "int": int, "float": float, "str": str, "secret": Secret, "any": Any, "none": type(None)
}  # fmt: skip


def options_as_data(cls: Any) -> dict[str, Any]:
    """A Record or standard dataclass, ready for JSON. A type that azurelite does not know is described as any value."""
    types = get_type_hints(cls)
    fields = [
        {
            "name": one.name,
            "type": _type_as_data(types[one.name]),
            "required": one.required,
            "default": None if one.required else pack(plain(one.value())),
        }
        for one in fields_of(cls)
    ]
    return {"name": cls.__name__, "text": cls.__doc__, "fields": fields}


def options_from_data(told: Mapping[str, Any]) -> type:
    """The class that `options_as_data` was given, as far as its description goes."""
    fields = []
    for one in told["fields"]:
        made = _field(None if one["required"] else unpack(one["default"]), required=one["required"])
        made.name, made.type = one["name"], _type_from_data(one["type"])
        fields.append(made)
    types = {one.name: one.type for one in fields}
    return type(told["name"], (), {"__doc__": told["text"], "FIELDS": tuple(fields), "__annotations__": types})


def plain(value: Any) -> Any:
    """A typed value as YAML says it: tuples as lists, dataclasses as mappings. Secrets stay what they are."""
    if has_keys(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields_of(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, MAPPINGS):
        return {key: plain(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _field(default: Any, *, required: bool) -> Field:
    return Field() if required else Field(default_factory=lambda: default)


def _type_as_data(kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if has_keys(kind):
        return {"class": options_as_data(kind)}
    if origin is Union or type(kind).__name__ == "UnionType":  # `int | None`, from Python 3.10 on
        return {"union": [_type_as_data(one) for one in arguments]}
    if origin is Literal:
        return {"literal": list(arguments)}
    if origin is tuple:
        return {"list": _type_as_data(arguments[0])}
    if origin in MAPPINGS:
        return {"mapping": _type_as_data(arguments[1])}
    return next((word for word, scalar in _SCALARS.items() if scalar is kind), "any")


def _type_from_data(told: Any) -> Any:
    if isinstance(told, str):
        return _SCALARS[told]
    ((kind, inner),) = told.items()
    if kind == "class":
        return options_from_data(inner)
    if kind == "union":
        return Union[tuple(_type_from_data(one) for one in inner)]
    if kind == "literal":
        return Literal[tuple(inner)]
    made: Any = _type_from_data(inner)
    whole: Any = tuple if kind == "list" else Mapping
    return whole[(made, ...) if kind == "list" else (str, made)]
