"""Read the cloud-config parts of user data into one typed `CloudConfig`, section by section.

What has a wrong type is refused with its line, and nothing else is. Parts are merged key by key, and the later one
wins, as in cloud-init by default, or as their `merge_how` says.
"""

from __future__ import annotations

import re
from typing import Callable, Mapping, Optional, Sequence, Union

from azurelite.config.document import Document, KeyPath, Place, Problem, quotable_path
from azurelite.config.schema import ODD, bind_leniently
from azurelite.errors import ConfigError, HandlerError
from azurelite.metadata import Secret
from azurelite.record import Record, field
from azurelite.userdata.cloudconfig import WHOLE, CloudConfig
from azurelite.userdata.lenient import parse_leniently
from azurelite.userdata.merging import DEFAULT, KEYS, Mergers, merge, mergers_of
from azurelite.userdata.parts import Part, part_of
from azurelite.userdata.tidy import Tidier

_COMMANDS = (("bootcmd",), ("runcmd",))
_COLON = ': YAML reads a line with ": " in it as a mapping, so put the line in quotes'
_SECTIONS = frozenset(one.name for one in CloudConfig.FIELDS)


class Reading(Record):
    """The content of the cloud-config.

    Attributes:
        config: what of it is valid.
        document: the plain values, with their files and lines.
        unknown: messages about ignored keys.
        problems: messages about refused sections, fields and items.
        kept: for lists whose invalid items are refused: path -> the original positions of the valid items.
    """

    config: CloudConfig
    document: Document
    unknown: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    kept: Mapping[KeyPath, tuple[int, ...]] = field(default_factory=dict)

    def source(self, *path: Union[str, int]) -> KeyPath:
        """The path in the document of the item at `path` in `config`, with the positions of the document's lists."""
        found: KeyPath = ()
        for part in path:
            found = (*found, self.kept[found][int(part)] if found in self.kept else part)
        return found


def read(parts: Sequence[Part], *, label: str) -> Reading:
    """Read all cloud-config parts.

    Args:
        parts: those of the kind "cloud-config", in order.
        label: name of the document in messages, for example "user_data".
    """
    told = _Told()
    document = Document({}, {})
    for part in parts:
        file = label if len(parts) == 1 else f"{label}/{part.name}"
        try:
            found = parse_leniently(part.data, file=file, report=told.odd)
        except ConfigError as error:
            told.problems.append(str(error))
        else:
            document = merge(document, found, _mergers(found, part, told), lost=told.unmerged)
    tidier = Tidier(document)
    document = Document(tidier.tidy(CloudConfig, document.data, ()), tidier.places)
    bound = bind_leniently(CloudConfig, document.data, document, whole=WHOLE)
    told.problems += [f"{problem}{_hint(problem)}" for problem in bound.problems]
    if bound.more:
        told.problems.append(f"{label}: and {bound.more} more mistakes")
    config = bound.value or CloudConfig()
    return Reading(config, document, (*told.unknown, *tidier.unknown), tuple(told.problems), bound.kept)


def _mergers(found: Document, part: Part, told: _Told) -> Mergers:
    """How a part is merged with the earlier ones."""
    key = next((key for key in KEYS if key in found.data), None)
    place, name = (found.place((key,)), key) if key is not None else (found.place(()), "Merge-Type")
    try:
        return mergers_of(found, part.merge)
    except ValueError as error:
        told.problems.append(f"{place}: `{name}` {error}: its keys replace earlier ones instead")
        return DEFAULT


class _Told:
    """Collects the messages about odd nodes, each only once, although an alias repeats its node."""

    def __init__(self, sections: frozenset[str] = _SECTIONS) -> None:
        self._sections = sections  # an odd node elsewhere is none of our business, and only noted
        self.unknown: list[str] = []
        self.problems: list[str] = []

    def odd(self, place: Place, path: KeyPath, text: str, lost: bool) -> None:
        if not lost:
            said, where = f"{text}, because the key is repeated ({place})", self.unknown
        elif path and str(path[0]).replace("-", "_") in self._sections:
            said, where = f"{place}: `{quotable_path(path)}`: {text}", self.problems
        else:
            said, where = f"`{quotable_path(path) or '<<'}` ({place}, {text})", self.unknown
        if said not in where:
            where.append(said)

    def unmerged(self, place: Optional[Place], what: str, mistake: bool) -> None:
        if mistake:
            self.problems.append(f"{place}: {what}")
        else:
            self.unknown.append(f"{what} ({place})")


def _hint(problem: Problem) -> str:
    return _COLON if problem.path[:1] in _COMMANDS and len(problem.path) > 1 else ""


class Archive(Record):
    """The content of a #cloud-config-archive.

    Attributes:
        parts: its parts.
        problems: messages about items that cannot be read.
    """

    parts: tuple[Part, ...] = ()
    problems: tuple[str, ...] = ()


def unarchive(part: Part, *, label: str, unpack: Callable[[bytes], bytes]) -> Archive:
    """The parts that a #cloud-config-archive lists; an odd item loses only itself.

    Args:
        part: the archive.
        label: name of the document in messages.
        unpack: decompresses an item. Raises HandlerError.

    Raises:
        ConfigError: it is no list.
    """
    # The first line is replaced by a key whose value is the list, so that the line numbers stay correct.
    text = re.sub(rb"\A\s*#cloud-config-archive[^\n]*", _items_key, part.data, flags=re.IGNORECASE)
    text = text if text.lstrip().startswith(b"items:") else b"items:\n" + text
    told = _Told(frozenset(("items",)))
    document = parse_leniently(text, file=f"{label}/{part.name}", report=told.odd)
    items = document.data.get("items")
    if not isinstance(items, list):
        raise ConfigError(f"{document.place(('items',))}: an archive must be a list of parts")
    found = []
    for i, item in enumerate(items):
        place = document.place(("items", i))
        fields = item if isinstance(item, dict) else {"content": item}
        content, kind, given = (fields.get(key) for key in ("content", "type", "filename"))
        if content is ODD:
            continue
        if not isinstance(content, (str, Secret)):
            told.problems.append(f"{place}: a part must be text, or have `content` that is text")
            continue
        try:
            data = unpack(content.encode() if isinstance(content, str) else content.reveal_bytes())
        except HandlerError as error:
            told.problems.append(f"{place}: {error.message}")
            continue
        name = given if isinstance(given, str) else f"{part.name}-{i + 1:03d}"
        found.append(part_of(data, name=name, content_type=kind if isinstance(kind, str) else None, headers=fields))
    return Archive(tuple(found), (*told.problems, *told.unknown))


def _items_key(first: re.Match[bytes]) -> bytes:
    return b"\n" * first[0].count(b"\n") + b"items:"
