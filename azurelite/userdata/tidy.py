"""Normalize a cloud-config mapping before it is checked against the types.

Other readers of cloud-config are lenient: `ssh-authorized-keys` is `ssh_authorized_keys`, "yes" in quotes is true, and
a mapping stands for a list, and unknown keys are ignored without a message. Here they are ignored as well, but listed.
"""

from __future__ import annotations

import datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

from azurelite.config.document import Document, KeyPath, Place, quotable_path
from azurelite.config.schema import ODD, fields_of, has_keys, nearest

_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Tidier:
    """Normalizes the values of one document.

    Args:
        document: the document.

    Attributes:
        unknown: a text for each ignored key: the key, its file and line, and the most similar known key.
        dropped: the paths of the ignored keys.
        places: the files and lines of all values, including those of renamed keys.
    """

    def __init__(self, document: Document) -> None:
        self.unknown: list[str] = []
        self.dropped: list[KeyPath] = []
        self.places: dict[KeyPath, Place] = dict(document.places)

    def tidy(self, wanted: Any, value: Any, path: KeyPath) -> Any:
        """The value, normalized for a field of the type `wanted`."""
        if isinstance(value, datetime.date):  # YAML reads an unquoted 2030-01-31 as a date
            return value.isoformat()
        origin, arguments = get_origin(wanted), get_args(wanted)
        if origin is Union:
            kinds = [kind for kind in arguments if kind is not type(None)]
            chosen = bool if kinds == [bool] else next((kind for kind in kinds if _fits(kind, value)), None)
            if chosen is None:
                return _flag(value) if bool in kinds and int not in kinds and not isinstance(value, str) else value
            return self.tidy(chosen, value, path)
        if has_keys(wanted) and isinstance(value, dict):
            return self._mapping(wanted, value, path)
        if origin is tuple and isinstance(value, list):
            return [self.tidy(arguments[0], item, (*path, i)) for i, item in enumerate(value)]
        return _flag(value) if wanted is bool else value

    def _mapping(self, wanted: Any, value: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        types = get_type_hints(wanted)
        known = {field.name for field in fields_of(wanted)}
        kept = {}
        for key, item in value.items():
            name = key if key in known else key.replace("-", "_")
            if name not in known or (name != key and name in value):
                self._ignore((*path, key), known)
                continue
            if name != key and (*path, key) in self.places:
                self.places[(*path, name)] = self.places[(*path, key)]
            if item is None and type(None) not in get_args(types[name]):
                continue  # a key without a value has its default
            kept[name] = self.tidy(types[name], self._as_list(item, (*path, name)), (*path, name))
        return kept

    def _as_list(self, value: Any, path: KeyPath) -> Any:
        """The value, as a list where cloud-init accepts a mapping for one."""
        if not isinstance(value, dict):
            return value
        if path == ("users",):
            return self._users(value)
        if path[0] in ("user", "users") and path[-1] == "groups":  # {adm: null, wheel: null}
            return self._moved(path, {key: key for key in value})
        if path[-1] == "ssh_authorized_keys" and path[0] in ("user", "users"):  # {laptop: ssh-ed25519 AAAA…}
            return self._moved(path, value)
        return value

    def _users(self, value: dict[str, Any]) -> list[Any]:
        """`users: {ann: {shell: /bin/sh}, bob: true, eve: false}` as a list."""
        entries: dict[str, Any] = {}
        for name, given in value.items():
            wanted = given if given is ODD or isinstance(given, dict) else _flag(given)
            if isinstance(wanted, dict):
                entries[name] = {**wanted, "name": name}
            elif wanted is not False:
                entries[name] = name if wanted is True else wanted
        return self._moved(("users",), entries)

    def _moved(self, path: KeyPath, items: dict[str, Any]) -> list[Any]:
        """The values as a list, with their places."""
        numbers = {key: i for i, key in enumerate(items)}
        depth = len(path)
        for old, place in list(self.places.items()):
            if len(old) > depth and old[:depth] == path and old[depth] in numbers:
                self.places[(*path, numbers[str(old[depth])], *old[depth + 1 :])] = place
        return list(items.values())

    def _ignore(self, path: KeyPath, known: set[str]) -> None:
        self.dropped.append(path)
        key = str(path[-1])
        near = nearest(key, known, forms=False)  # cloud-init has more sections: `apt` does not stand for `apt_update`
        hint = f", did you mean `{near}`?" if near else ""
        self.unknown.append(f"`{quotable_path(path)}` ({Document({}, self.places).place(path)}{hint})")


def _flag(value: Any) -> Any:
    """The truth value that a text or a number means to cloud-init, or the value itself."""
    return _FLAGS.get(str(value).lower().strip(), value) if isinstance(value, (str, int)) else value


def _fits(kind: Any, value: Any) -> bool:
    if has_keys(kind):
        return isinstance(value, dict)
    if get_origin(kind) is tuple:
        return isinstance(value, list)
    return False
