"""Files laid over one another: later ones win key by key, lists replace; a list of positions inserts.

A file whose `handlers` all carry `before: ID` or `after: ID` puts them into the list that the files below it made. Of
the handlers this file knows that, and by which id an entry goes; not which there are, nor what options they take.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from azurelite.config.document import Document, KeyPath, Place
from azurelite.config.schema import Problems, unknown_text
from azurelite.record import Record

LIST = "handlers"
POSITIONS = ("before", "after")


class _Item(Record):
    """An entry of the list.

    Attributes:
        id: what it is known by; None where it has not the form of an entry.
        value: as it stands in its file, its position taken out.
        places: of what is in it, by paths that begin in it.
        before: the id of the entry that it is put before.
        after: the id of the entry that it is put behind.
    """

    id: Optional[str]
    value: Any
    places: dict[KeyPath, Place]
    before: Optional[str] = None
    after: Optional[str] = None

    @property
    def anchor(self) -> str:
        """The entry that it stands beside."""
        return self.before or self.after or ""


class Layers:
    """The files so far, as one document.

    Args:
        defaults: the handlers that positions refer to where no file has listed any.
        problems: takes what is wrong with positions.

    Attributes:
        document: what the files say together.
        problems: as given; another one may take its place between two files.
    """

    def __init__(self, defaults: Sequence[str], problems: Problems) -> None:
        self.document = Document({}, {})
        self._items: Optional[list[_Item]] = None
        self._defaults = defaults
        self.problems = problems

    def add(self, above: Document) -> None:
        """Lay a file over those below it."""
        listed = above.data.get(LIST)
        if not isinstance(listed, list):
            self._items = None if LIST in above.data else self._items
            self.document = _overlay(self.document, above)
            return
        items = self._read(above, listed)
        if not self._inserts(above, items):
            self._items = items
            self.document = _with_items(_overlay(self.document, above), items)
            return
        rest = Document({key: value for key, value in above.data.items() if key != LIST}, _without_list(above.places))
        self.document = _overlay(self.document, rest)
        below = self._items
        if below is None and LIST not in self.document.data:
            below = [_Item(name, name, {}) for name in self._defaults]
        if below is not None:  # else there is no list to put them into, which is told of where it stands
            self._items = self._inserted(below, items, above)
            self.document = _with_items(self.document, self._items)

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
            text = "an entry stands before another or after one, not both: leave `before` or `after` out"
            self.problems.add(document, (LIST, number, name, "after"), text)
            after = None
        bare = {key: item for key, item in options.items() if key not in POSITIONS}
        return _Item(entry_id(value), {name: bare}, places, before, after)

    def _inserts(self, above: Document, items: list[_Item]) -> bool:
        """The list inserts. One that does so in part is a mistake, and is told of."""
        positioned = [item.before is not None or item.after is not None for item in items]
        if any(positioned) and not all(positioned):
            text = (
                "this entry has no position, and others of this file have one: give each of them `before` or `after`, "
                "and they go into the list below, or none of them, and they replace it"
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
                wrong = f"this file puts {item.id!r} in twice: give one of them an `id` of its own"
            elif item.anchor == item.id:
                wrong = f"{item.anchor!r} cannot stand beside itself"
            elif item.anchor not in known and last.get(item.anchor, -1) > number:
                wrong = f"{item.anchor!r} stands further down in this file: move it up"
            elif item.anchor not in known:
                wrong = unknown_text("entry", item.anchor, (name for name in known if name is not None))
            seen.add(item.id)
            if wrong is None:
                made = [other for other in made if other.id != item.id]
                made.insert(_spot(made, item), item)
            else:
                key = "before" if item.before is not None else "after"
                self.problems.add(above, (LIST, number, next(iter(item.value)), key), wrong)
        return made


def entry_id(value: Any) -> Optional[str]:
    """The id that an entry goes by: its own, else its handler's name. None where the entry has no form at all."""
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
    """Where to put it. Behind an entry also means behind what was put there before, so that the files' order holds."""
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
    """`above` laid over `below`: mappings key by key, anything else whole."""
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
