"""Read the cloud-config parts of user data into one typed `CloudConfig`, section by section.

A section with a wrong type is refused with its line; the others are used. Parts are merged key by key, and the later
one wins, as in cloud-init by default.
"""

from __future__ import annotations

import itertools
import re
from typing import Any, Mapping, Sequence

import yaml

from azurelite.config.document import Document, parse_document, quotable, quotable_path
from azurelite.config.schema import ConfigProblemsError, bind
from azurelite.errors import ConfigError
from azurelite.record import Record, field
from azurelite.userdata.cloudconfig import CloudConfig, FileEntry, UserEntry
from azurelite.userdata.parts import Part, part_of
from azurelite.userdata.tidy import Tidier

# Lists in which an invalid item is refused and the others are used.
_ITEMS: dict[str, Any] = {"users": UserEntry, "write_files": FileEntry}
_COMMANDS = ("bootcmd", "runcmd")
_COLON = ': YAML reads a line with ": " in it as a mapping, so put the line in quotes'
_BINARY = "!!binary"
_MOST_EVENTS = 50_000  # more than a document may have
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Reading(Record):
    """The content of the cloud-config.

    Attributes:
        config: the valid sections.
        document: the plain values, with their files and lines.
        unknown: messages about ignored keys.
        problems: messages about refused sections and items.
        indexes: for lists whose invalid items are refused: the original positions of the valid items.
        packed: positions in `write_files` of content that is tagged `!!binary` (base64) in YAML.
    """

    config: CloudConfig
    document: Document
    unknown: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    indexes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    packed: frozenset[int] = frozenset()


def read(parts: Sequence[Part], *, label: str) -> Reading:
    """Read all cloud-config parts.

    Args:
        parts: those of the kind "cloud-config", in order.
        label: name of the document in messages, for example "user_data".
    """
    problems: list[str] = []
    repeated: list[str] = []
    document = Document({}, {})
    binary_lines: set[tuple[str, int]] = set()
    for part in parts:
        file = label if len(parts) == 1 else f"{label}/{part.name}"
        text, lines = _without_binary_tags(part.data)
        try:
            document = _overlay(
                document,
                parse_document(text, file=file, on_duplicate=lambda place, key: repeated.append(_again(place, key))),
            )
        except ConfigError as error:
            problems.append(str(error))
        else:
            binary_lines |= {(file, line) for line in lines}
    tidier = Tidier(document)
    data = tidier.tidy(CloudConfig, document.data, ())
    document = Document(data, tidier.places)
    values, indexes = _bind_sections(document, tidier, problems)
    packed = _packed(document, binary_lines)
    unknown = (*repeated, *tidier.unknown)
    return Reading(CloudConfig(**values), document, unknown, tuple(problems), indexes, packed)


def unarchive(part: Part, *, label: str) -> list[Part]:
    """The parts that a #cloud-config-archive lists. Raises ConfigError."""
    # The first line is replaced by a key whose value is the list, so that the line numbers stay correct.
    text = re.sub(rb"\A#cloud-config-archive[^\n]*", b"items:", part.data)
    text = text if text.startswith(b"items:") else b"items:\n" + text
    document = parse_document(text, file=f"{label}/{part.name}")
    items = document.data.get("items")
    if not isinstance(items, list):
        raise ConfigError(f"{document.place(('items',))}: an archive must be a list of parts")
    found = []
    for i, item in enumerate(items):
        name = f"{part.name}-{i + 1:03d}"
        fields = item if isinstance(item, dict) else {"content": item}
        content, kind, given = (fields.get(key) for key in ("content", "type", "filename"))
        if not isinstance(content, str) or not isinstance(kind, (str, type(None))):
            raise ConfigError(f"{document.place(('items', i))}: a part must be text, or have `content` that is text")
        found.append(part_of(content.encode(), name=given if isinstance(given, str) else name, content_type=kind))
    return found


def _again(place: str, key: str) -> str:
    """The message about a repeated key. The last one wins, as in every reader of cloud-config."""
    return f"an earlier `{quotable(key)}`, because the key is repeated ({place})"


def _bind_sections(
    document: Document, tidier: Tidier, problems: list[str]
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    values: dict[str, Any] = {}
    indexes: dict[str, tuple[int, ...]] = {}
    for key, value in document.data.items():
        try:
            if key in _ITEMS and isinstance(value, list):
                good = _bind_items(key, value, document, tidier, problems)
                indexes[key] = tuple(good)
                values[key] = tuple(good.values())
            else:
                values[key] = getattr(bind(CloudConfig, {key: value}, document, ()), key)
        except ConfigProblemsError as error:
            hint = _COLON if key in _COMMANDS and isinstance(value, list) else ""
            problems += [f"{problem}{hint}" for problem in error.problems]
    return values, indexes


def _bind_items(key: str, items: list[Any], document: Document, tidier: Tidier, problems: list[str]) -> dict[int, Any]:
    good = {}
    for i, item in enumerate(items):
        path = (key, i)
        if (*path, "source") in tidier.dropped:  # content to download: an empty file would be worse than none
            place = document.place(path)
            problems.append(f"{place}: `{quotable_path(path)}`: `source` is not supported: use `content`")
            continue
        try:
            good[i] = item if key == "users" and isinstance(item, str) else bind(_ITEMS[key], item, document, path)
        except ConfigProblemsError as error:
            problems += map(str, error.problems)
    return good


def _overlay(below: Document, above: Document) -> Document:
    places = {path: place for path, place in below.places.items() if not path or path[0] not in above.data}
    return Document({**below.data, **above.data}, {**places, **above.places})


def _without_binary_tags(data: bytes) -> tuple[bytes, set[int]]:
    """The text with each `!!binary` replaced by blanks, and the lines that had one.

    The document's parser accepts no tags.
    """
    if _BINARY.encode() not in data:
        return data, set()
    lines: set[int] = set()
    try:
        text = data.decode()
        for event in itertools.islice(yaml.parse(data.decode(), Loader=_LOADER), _MOST_EVENTS):
            if isinstance(event, yaml.ScalarEvent) and event.tag == "tag:yaml.org,2002:binary":
                mark = event.start_mark
                if mark is not None and text.startswith(_BINARY, mark.index):
                    text = text[: mark.index] + " " * len(_BINARY) + text[mark.index + len(_BINARY) :]
                    lines.add(mark.line + 1)
    except (UnicodeDecodeError, yaml.YAMLError):  # the document's parser reports it
        return data, set()
    return text.encode(), lines


def _packed(document: Document, lines: set[tuple[str, int]]) -> frozenset[int]:
    files = document.data.get("write_files")
    found = set()
    for i in range(len(files) if isinstance(files, list) else 0):
        place = document.places.get(("write_files", i, "content"))
        if place is not None and (place.file, place.line) in lines:
            found.add(i)
    return frozenset(found)
