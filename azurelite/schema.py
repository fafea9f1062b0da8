"""Plain values -> a frozen dataclass, checked: the one way in which YAML keys become typed options.

The dataclass is the schema: its field names are the keys, its types what a key takes, its defaults what
holds when the key is absent. Messages name place, key and the nearest valid key, and never a value.
"""

from __future__ import annotations

import collections.abc
import difflib
from dataclasses import fields, is_dataclass
from typing import Any, Iterable, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from azurelite.document import Document, KeyPath
from azurelite.errors import ConfigError
from azurelite.metadata import Secret

T = TypeVar("T")

_MOST = 10**15  # no setting is larger; far larger ones have no float at all
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Secret: "text"}
_MAPPINGS = (dict, collections.abc.Mapping)


def bind(cls: type[T], value: Any, document: Document, path: KeyPath, *, also: tuple[str, ...] = ()) -> T:
    """Make `cls` from a mapping.

    Args:
        cls: a dataclass with types that YAML can say: bool, int, float, str, Literal, Optional, Union, tuple,
            Mapping[str, X], Secret, dataclass.
        value: the mapping; None stands for an empty one.
        document: where it comes from, for messages.
        path: its place in the document.
        also: keys that the caller has taken already; they are known, too, when a wrong one is named.

    Raises:
        ConfigError: an unknown key, a wrong type, or a value that the dataclass itself refuses.
    """
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError(f"{document.place(path)}: {_name(path)} must be a mapping of keys")
    types = get_type_hints(cls)
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    values = {}
    for key, item in value.items():
        if key not in known:
            raise unknown("key", key, (*known, *also), where=f"{document.place((*path, key))}: in {_name(path)}")
        values[key] = convert(types[key], item, document, (*path, key))
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{document.place(path)}: {_name(path)}: {error}") from error


def convert(wanted: Any, value: Any, document: Document, path: KeyPath) -> Any:
    """The value as the type `wanted`; ConfigError when it is something else."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return bind(wanted, value, document, path)
    if origin is Union:  # Optional[X], or Union[X, Y]: the first that the value has the shape of
        inner = [argument for argument in arguments if argument is not type(None)]
        if value is None and len(inner) < len(arguments):
            return None
        chosen = next((kind for kind in inner if _has_shape(kind, value)), None)
        if chosen is None and len(inner) > 1:
            words = " or ".join(_word(kind) for kind in inner)
            raise ConfigError(f"{document.place(path)}: {_name(path)} must be {words}")
        return convert(chosen or inner[0], value, document, path)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) != any(isinstance(a, bool) for a in arguments):
            choices = ", ".join(str(choice) for choice in arguments)
            raise ConfigError(f"{document.place(path)}: {_name(path)} must be one of: {choices}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{document.place(path)}: {_name(path)} must be a list")
        return tuple(convert(arguments[0], item, document, (*path, i)) for i, item in enumerate(value))
    if origin in _MAPPINGS:
        if not isinstance(value, dict):
            raise ConfigError(f"{document.place(path)}: {_name(path)} must be a mapping of keys")
        return {key: convert(arguments[1], item, document, (*path, key)) for key, item in value.items()}
    if wanted is Secret:
        if not isinstance(value, str):
            raise ConfigError(f"{document.place(path)}: {_name(path)} must be text")
        return Secret(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST:
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigError(f"{document.place(path)}: {_name(path)} must be {_WORDS[wanted]}")
    return value


def _has_shape(kind: Any, value: Any) -> bool:
    if is_dataclass(kind) or get_origin(kind) in _MAPPINGS:
        return isinstance(value, dict)
    if get_origin(kind) is tuple:
        return isinstance(value, list)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is Secret:
        return isinstance(value, str)
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _word(kind: Any) -> str:
    if is_dataclass(kind) or get_origin(kind) in _MAPPINGS:
        return "a mapping of keys"
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    return "a list" if get_origin(kind) is tuple else _WORDS[kind]


def unknown(what: str, name: str, known: Iterable[str], *, where: str) -> ConfigError:
    """The error for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return ConfigError(f"{where}: unknown {what} {name!r}; {remedy}")


def _name(path: KeyPath) -> str:
    text = ".".join(str(part) if isinstance(part, str) else f"[{part}]" for part in path)
    return f"`{text.replace('.[', '[')}`" if text else "the file"
