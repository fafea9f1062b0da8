"""Merge configuration files: a later file wins key by key, and its lists replace earlier ones.

The exception: a file whose `handlers` all have `before: ID` or `after: ID` inserts them into the list of the earlier
files. This module knows how entries are identified; it does not know which handlers exist or what options they take.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from azurelite.config.document import Document, KeyPath, Place, quotable
from azurelite.config.schema import Problems, nearest
from azurelite.record import Record

LIST = "handlers"
DROP_INS = "conf.d"  # the folder of files that add to others
POSITIONS = ("before", "after")


class _Item(Record):
    """An entry of the list.

    Attributes:
        id: the id of the entry; None where the value has not the form of an entry.
        value: the value in the file, without `before` and `after`.
        places: the places of the values in it, by paths relative to the entry.
        before: the id of the entry that it goes before.
        after: the id of the entry that it goes after.
    """

    id: Optional[str]
    value: Any
    places: dict[KeyPath, Place]
    before: Optional[str] = None
    after: Optional[str] = None

    @property
    def anchor(self) -> str:
        """The id of the entry that its position refers to."""
        return self.before or self.after or ""


class Layers:
    """The files read so far, merged into one document.

    Args:
        defaults: the handlers that positions refer to where no file lists any.
        problems: collects mistakes in positions.

    Attributes:
        document: the merged document.
        problems: as given; it may be replaced between two files.
    """

    def __init__(self, defaults: Sequence[str], problems: Problems) -> None:
        self.document = Document({}, {})
        self._items: Optional[list[_Item]] = None
        self._defaults = defaults
        self.problems = problems

    def add(self, above: Document) -> None:
        """Merge a file over the earlier ones."""
        listed = above.data.get(LIST)
        if not isinstance(listed, list):
            self._items = None if LIST in above.data else self._items
            self.document = _overlay(self.document, above)
            return
        items = self._read(above, listed)
        if not self._inserts(above, items):
            self._warn_of_replacing(above)
            self._items = items
            self.document = _with_items(_overlay(self.document, above), items)
            return
        rest = Document({key: value for key, value in above.data.items() if key != LIST}, _without_list(above.places))
        self.document = _overlay(self.document, rest)
        below = self._items
        if below is None and LIST not in self.document.data:
            below = [_Item(name, name, {}) for name in self._defaults]
        if below is not None:  # else an earlier file has `handlers` that is no list, which is reported there
            self._items = self._inserted(below, items, above)
            self.document = _with_items(self.document, self._items)

    def _warn_of_replacing(self, above: Document) -> None:
        """Warn about a drop-in that replaces the list of an earlier file: it was probably meant to add entries."""
        if DROP_INS in above.file.split("/")[:-1] and LIST in self.document.data:
            text = (
                f"this list replaces the list of {self.document.place((LIST,))}: give each entry `before` or `after` "
                "to insert it there, or change that file instead"
            )
            self.problems.warn(above, (LIST,), text)

    def _read(self, document: Document, listed: list[Any]) -> list[_Item]:
        places: list[dict[KeyPath, Place]] = [{} for _ in listed]
        for path, place in document.places.items():
            if path[:1] == (LIST,) and len(path) > 1 and isinstance(path[1], int):
                places[path[1]][path[2:]] = place
        return [self._item(document, i, value, places[i]) for i, value in enumerate(listed)]

    def _item(self, document: Document, number: int, value: Any, places: dict[KeyPath, Place]) -> _Item:
        options = _options(value)
        if options is None or not any(options.get(key) is not None for key in POSITIONS):
            return _Item(entry_id(value), value, places)
        name = next(iter(value))
        for key in POSITIONS:
            if not isinstance(options.get(key), (str, type(None))):
                self.problems.add(document, (LIST, number, name, key), f"`{key}` must be the name of an entry")
        before, after = (options.get(key) if isinstance(options.get(key), str) else None for key in POSITIONS)
        if before is not None and after is not None:
            text = "an entry has `before` or `after`, not both: remove one of them"
            self.problems.add(document, (LIST, number, name, "after"), text)
            after = None
        bare = {key: item for key, item in options.items() if key not in POSITIONS}
        return _Item(entry_id(value), {name: bare}, places, before, after)

    def _inserts(self, above: Document, items: list[_Item]) -> bool:
        """Whether all entries have a position, so that the list inserts. Reports it if only some have one."""
        positioned = [item.before is not None or item.after is not None for item in items]
        if any(positioned) and not all(positioned):
            text = (
                "this entry has no position, but others here have: give all of them `before` or `after` (to insert "
                "them into the list of the earlier files), or none of them (to replace that list)"
            )
            self.problems.add(above, (LIST, positioned.index(False)), text)
        return bool(positioned) and all(positioned)

    def _inserted(self, below: list[_Item], items: list[_Item], above: Document) -> list[_Item]:
        made = list(below)
        last = {item.id: number for number, item in enumerate(items)}
        seen: set[Optional[str]] = set()
        for number, item in enumerate(items):
            known = {other.id for other in made} - {item.id, None}
            wrong = None
            if item.id in seen:
                wrong = f"this file inserts {item.id!r} twice: give one of them its own `id`"
            elif item.anchor == item.id:
                wrong = f"{item.anchor!r} refers to itself: name another entry"
            elif item.anchor not in known and last.get(item.anchor, -1) > number:
                wrong = f"{item.anchor!r} comes later in this file: move it up"
            elif item.anchor not in known:
                wrong = self._no_such_entry(item.anchor, sorted(name for name in known if name is not None))
            seen.add(item.id)
            if wrong is None:
                made = [other for other in made if other.id != item.id]
                made.insert(_spot(made, item), item)
            else:
                key = "before" if item.before is not None else "after"
                self.problems.add(above, (LIST, number, next(iter(item.value)), key), wrong)
        return made

    def _no_such_entry(self, anchor: str, known: list[str]) -> str:
        """The message for a position that refers to an entry which the list does not have."""
        lists = LIST in self.document.data
        which = f"the list of {self.document.place((LIST,))}" if lists else "the default list"
        if not known:
            return f"{which} is empty, so it has no entry {quotable(anchor)!r}: name the entries there"
        near = nearest(anchor, known)
        remedy = f"did you mean {near!r}?" if near else f"its entries: {', '.join(known)}"
        return f"{which} has no entry {quotable(anchor)!r}; {remedy}"


def entry_id(value: Any) -> Optional[str]:
    """The id of an entry: its own, else its handler's name. None where the value is no entry."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        return None
    own = (_options(value) or {}).get("id")
    name: str = next(iter(value))
    return own if isinstance(own, str) else name


def _options(value: Any) -> Optional[dict[str, Any]]:
    if not isinstance(value, dict) or len(value) != 1:
        return None
    options = next(iter(value.values()))
    return options if isinstance(options, dict) else None


def _spot(items: list[_Item], item: _Item) -> int:
    """The index at which to insert. `after` skips entries inserted earlier, which keeps the order of the files."""
    if item.before is not None:
        return [other.id for other in items].index(item.before)
    spot = [other.id for other in items].index(item.after) + 1
    there = {item.after}
    while spot < len(items) and items[spot].after in there:
        there.add(items[spot].id)
        spot += 1
    return spot


def _with_items(document: Document, items: list[_Item]) -> Document:
    places = _without_list(document.places)
    if (LIST,) in document.places:
        places[(LIST,)] = document.places[(LIST,)]
    for number, item in enumerate(items):
        places.update({(LIST, number, *path): place for path, place in item.places.items()})
    return Document({**document.data, LIST: [item.value for item in items]}, places)


def _without_list(places: dict[KeyPath, Place]) -> dict[KeyPath, Place]:
    return {path: place for path, place in places.items() if path[:1] != (LIST,)}


def _overlay(below: Document, above: Document) -> Document:
    """`above` merged over `below`: mappings key by key, any other value replaced."""
    places = {path: place for path, place in below.places.items() if not _replaced(path, above.data)}
    return Document(_merge(below.data, above.data), {**places, **above.places})


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _replaced(path: KeyPath, above: Any) -> bool:
    for part in path:
        if not isinstance(above, dict):
            return True
        if part not in above:
            return False
        above = above[part]
    return not isinstance(above, dict)
