"""Merge several cloud-config documents by cloud-init's rules, keeping the place of each value.

A document says with `merge_how` (or `merge_type`, or its headers) how it is merged with the earlier ones, for example
`list(append)+dict(recurse_array)+str()`. Without it, each of its top-level keys replaces an earlier one.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, Optional, Union

from azurelite.config.document import Document, KeyPath, Place, quotable_path

DEFAULT: Mapping[str, tuple[str, ...]] = {"dict": ("replace",), "list": (), "str": ()}
_METHODS = {"dict": ("replace", "no_replace"), "list": ("append", "prepend", "replace", "no_replace")}
_ONE = r"([a-z_]+)\s*\(([^()]*)\)"
KEYS = ("merge_how", "merge_type")
WRONG = "must be as in `list(append)+dict(recurse_array)+str()`"


class _Node:
    """A value with its place: a mapping or list of nodes, or a plain value."""

    def __init__(self, value: Any, place: Optional[Place]) -> None:
        self.value = value
        self.place = place


Mergers = Mapping[str, tuple[str, ...]]
Lost = Callable[[Optional[Place], str, bool], None]
_UNMERGED = "it is skipped, because its merge type does not merge it with the earlier value"
_TOO_MANY = "it is skipped, because its merge type replaces only items that the earlier list has: use `list(append)`"
_REPLACED = "is replaced by a later part, set `merge_how` there to keep both"
_KEPT = "it is skipped: `no_replace` keeps the earlier value"


def mergers_of(document: Document, header: Optional[str]) -> Mergers:
    """The options for each type that the document itself or its header gives; the default if there are none.

    Raises:
        ValueError: they are not written as cloud-init wants them; the message follows the name of the key.
    """
    given = next((document.data[key] for key in KEYS if document.data.get(key) is not None), None)
    mergers: dict[str, tuple[str, ...]] = {}
    for name, options in (*_mergers(given), *_mergers(header)):
        mergers.setdefault(name, options)  # the first one of a type counts
    return mergers or DEFAULT


def merge(below: Document, above: Document, mergers: Mergers, *, lost: Lost) -> Document:
    """Both documents as one; values of `above` are merged into those of `below`.

    Args:
        below: the earlier documents.
        above: the document to merge.
        mergers: how, from `mergers_of`.
        lost: called with the place of each value that is not in the result, what happened to it, and whether that
            is a mistake: False where `no_replace` asks for it, or where nobody asked for any way of merging.
    """
    above = Document({key: value for key, value in above.data.items() if key not in KEYS}, above.places)
    if not below.data or mergers == DEFAULT:
        for key in below.data if mergers is DEFAULT else ():
            if below.data[key] != above.data.get(key, below.data[key]):
                lost(below.places.get((key,)), f"`{quotable_path((key,))}` {_REPLACED}", False)
        places = {path: place for path, place in below.places.items() if not path or path[0] not in above.data}
        return Document({**below.data, **above.data}, {**places, **above.places})
    found = _Merger(mergers, lost).merge(_nodes(below.data, (), below.places), _nodes(above.data, (), above.places))
    places = {}
    return Document(_plain(found, (), places), places)


class _Merger:
    def __init__(self, mergers: Mergers, lost: Lost) -> None:
        self._mergers = mergers
        self._lost = lost

    def merge(self, old: _Node, new: _Node) -> _Node:
        """Both values as one, by the type of the old one. A type without a merger keeps the old value."""
        kind = "dict" if isinstance(old.value, dict) else "list" if isinstance(old.value, list) else "str"
        if kind not in self._mergers or (kind == "str" and not isinstance(old.value, str)):
            return self._old(old, new)
        if kind == "dict":
            return self._dict(old, new) if isinstance(new.value, dict) else self._old(old, new)
        if kind == "list":
            return self._list(old, new)
        both = "append" in self._mergers["str"] and isinstance(new.value, str)
        return _Node(old.value + new.value, old.place) if both else new

    def _old(self, old: _Node, new: _Node) -> _Node:
        self._lost(new.place, _UNMERGED, True)
        return old

    def _method(self, kind: str, default: str) -> str:
        return next((method for method in _METHODS[kind] if method in self._mergers[kind]), default)

    def _recurses(self, kind: str, value: Any) -> bool:
        options = self._mergers[kind]
        if isinstance(value, list):
            return "recurse_array" in options or "recurse_list" in options
        if isinstance(value, dict):
            return kind == "dict" or "recurse_dict" in options
        return isinstance(value, str) and "recurse_str" in options

    def _dict(self, old: _Node, new: _Node) -> _Node:
        replaces = self._method("dict", "no_replace") == "replace"
        merged = dict(old.value)
        for key, node in new.value.items():
            if key in merged and node.value is None and "allow_delete" in self._mergers["dict"]:
                del merged[key]
            elif key not in merged or replaces:
                merged[key] = node
            elif self._recurses("dict", node.value):
                merged[key] = self.merge(merged[key], node)
            else:
                meant = "no_replace" in self._mergers["dict"]
                self._lost(node.place, _KEPT if meant else _UNMERGED, not meant)
        return _Node(merged, old.place)

    def _list(self, old: _Node, new: _Node) -> _Node:
        method = self._method("list", "replace")
        if not isinstance(new.value, list):
            return new if method == "replace" else self._old(old, new)
        if method in ("append", "prepend"):
            return _Node(old.value + new.value if method == "append" else new.value + old.value, old.place)
        merged = list(old.value)
        if method == "no_replace":
            for node in new.value:
                self._lost(node.place, _KEPT, False)
            return old
        for node in new.value[len(merged) :]:
            self._lost(node.place, _TOO_MANY, True)
        for i, node in enumerate(new.value[: len(merged)]):
            merged[i] = self.merge(merged[i], node) if self._recurses("list", node.value) else node
        return _Node(merged, old.place)


def _mergers(given: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The types and their options, from a text or from a list. Raises ValueError."""
    if given is None or isinstance(given, str):
        return [_one(text) for text in (given or "").lower().split("+") if text.strip()]
    if not isinstance(given, list):
        raise ValueError(WRONG)
    found = []
    for item in given:
        if isinstance(item, dict):
            name, options = item.get("name"), item.get("settings", [])
        else:
            name, options = (item[0], item[1:]) if isinstance(item, list) and item else (None, [])
        if not isinstance(name, str) or not isinstance(options, list):
            raise ValueError(WRONG)
        found.append(_known(name.strip().replace("-", "_"), tuple(map(str, options))))
    return found


def _one(text: str) -> tuple[str, tuple[str, ...]]:
    match = re.fullmatch(_ONE, text.strip().replace("-", "_"))
    if match is None:
        raise ValueError(WRONG)
    return _known(match[1], tuple(word.strip() for word in match[2].split(",") if word.strip()))


def _known(name: str, options: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    name = name[2:] if name.startswith("m_") else name
    if name not in DEFAULT:
        raise ValueError(WRONG)
    return name, options


def _nodes(value: Any, path: KeyPath, places: Mapping[KeyPath, Place]) -> _Node:
    inner: Union[dict[str, _Node], list[_Node], Any] = value
    if isinstance(value, dict):
        inner = {key: _nodes(item, (*path, key), places) for key, item in value.items()}
    elif isinstance(value, list):
        inner = [_nodes(item, (*path, i), places) for i, item in enumerate(value)]
    return _Node(inner, places.get(path))


def _plain(node: _Node, path: KeyPath, places: dict[KeyPath, Place]) -> Any:
    if node.place is not None:
        places[path] = node.place
    if isinstance(node.value, dict):
        return {key: _plain(item, (*path, key), places) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(item, (*path, i), places) for i, item in enumerate(node.value)]
    return node.value
