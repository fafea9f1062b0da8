"""Values as JSON and back: bytes, secrets, tuples and mappings survive the way to a plug-in's interpreter.

It knows no class but `Secret`; a record goes as the mapping of its fields, and whoever unpacks it makes the record.
"""

from __future__ import annotations

import base64
from typing import Any, Callable, Mapping

from azurelite.metadata import Secret
from azurelite.record import Record

_PLAIN = (str, int, float, bool, type(None))


def pack(value: Any) -> Any:
    """The value as JSON can hold it. Secrets are in clear: for a pipe, never for a file or a log."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list):
        return [pack(item) for item in value]
    for kinds, word, inner in _TAGGED:
        if isinstance(value, kinds):
            return {word: inner(value)}
    return pack(vars(value)) if isinstance(value, Record) else str(value)


_Inner = Callable[[Any], Any]
_TAGGED: tuple[tuple[Any, str, _Inner], ...] = (
    (bytes, "bytes", lambda value: base64.b64encode(value).decode()),
    (Secret, "secret", lambda value: pack(value.reveal())),
    (Mapping, "mapping", lambda value: [[pack(key), pack(item)] for key, item in value.items()]),
    ((set, frozenset), "set", lambda value: [pack(item) for item in value]),
    (tuple, "tuple", lambda value: [pack(item) for item in value]),
)


def unpack(told: Any) -> Any:
    """The value that `pack` made this of. Raises ValueError for what it did not make."""
    if isinstance(told, list):
        return [unpack(item) for item in told]
    if not isinstance(told, dict):
        return told
    ((kind, inner),) = told.items()
    if kind == "bytes":
        return base64.b64decode(inner)
    if kind == "secret":
        return Secret(unpack(inner))
    if kind == "mapping":
        return {unpack(key): unpack(item) for key, item in inner}
    items = [unpack(item) for item in inner]
    if kind not in ("set", "tuple"):
        raise ValueError("not a packed value")
    return set(items) if kind == "set" else tuple(items)
