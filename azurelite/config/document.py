"""YAML text -> plain values, each with its place in the file, so that an error can name the line.

Safe for any input: no tag creates an object, aliases cannot make a small file huge, a duplicate key is an error.
This module does not know what a key means. A `Problem` is a mistake with its place, for the modules that do.
`userdata.lenient` reads documents of others with a reader that replaces `Reader`.
"""

from __future__ import annotations

import codecs
import os
import re
from typing import Any, Callable, Mapping, Optional, Union

import yaml

from azurelite.errors import ConfigError
from azurelite.metadata import Secret
from azurelite.record import Record

KeyPath = tuple[Union[str, int], ...]
_MOST_NODES = 20_000
_MOST_DEPTH = 40
_TOO_LARGE = "the file is too large or too deeply nested: simplify it"
YAML_TAG = "tag:yaml.org,2002:"
_TAGS: dict[type, tuple[str, ...]] = {
    yaml.MappingNode: (f"{YAML_TAG}map",),
    yaml.SequenceNode: (f"{YAML_TAG}seq",),
    yaml.ScalarNode: tuple(f"{YAML_TAG}{kind}" for kind in ("str", "bool", "int", "float", "null", "timestamp")),
}
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF8, "utf-8"))
MERGE = f"{YAML_TAG}merge"
_PLAIN = r"[A-Za-z0-9_./-]{0,64}"
_BLANKS = dict.fromkeys(map(ord, "\t\n\r"))
_NOT_TEXT: re.Pattern[str] = yaml.reader.Reader.NON_PRINTABLE

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(Record):
    """The place of a value: a file, with line and column counted from 1; both are 0 where `file` is the whole place."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Document(Record):
    """A mapping, and the place of each value in it.

    Attributes:
        data: the mapping.
        places: path of keys and list positions -> place; for the value of a key, the place of the key.
        file: the name of the file; empty for merged files.
    """

    data: dict[str, Any]
    places: dict[KeyPath, Place]
    file: str = ""

    def place(self, path: KeyPath) -> str:
        """The place of the value at `path`, or of the nearest value around it that has one."""
        return str(self.nearest(path) or "built-in defaults")

    def nearest(self, path: KeyPath) -> Optional[Place]:
        """As `place`, but as a Place; None where no value around it is from a file."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path)


class Problem(Record):
    """One mistake, and its place.

    Attributes:
        text: the mistake and its remedy; never a value.
        place: "file:line:column"; empty where the text contains it.
        at: the same as a Place; None for a value that is in no file.
        path: the keys that lead to the value.
    """

    text: str
    place: str = ""
    at: Optional[Place] = None
    path: KeyPath = ()

    @property
    def dotted(self) -> str:
        """The path in the form `handlers[0].user.groups`."""
        return dotted(self.path)

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


def document_of(mapping: Mapping[str, Any], *, name: str) -> Document:
    """A document from values that a program gives. The place of a value is its path, as `config.handlers[0].user`.

    Args:
        mapping: what a YAML file would hold; tuples count as lists.
        name: the first part of each path.

    Raises:
        ConfigError: a value or key has a type that YAML has not.
    """
    places: dict[KeyPath, Place] = {}
    return Document(_plain_value(mapping, (), name, places), places)


def _plain_value(value: Any, path: KeyPath, name: str, places: dict[KeyPath, Place]) -> Any:
    place = Place(quotable_path((name, *path) if name else path), 0, 0)
    if len(path) > _MOST_DEPTH or len(places) > _MOST_NODES:
        raise ConfigError(f"{name}: it is too large or too deeply nested: simplify it")
    places[path] = place
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise ConfigError(f"{place}: a key must be text, not {type(odd[0]).__name__}")
        return {key: _plain_value(item, (*path, key), name, places) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(item, (*path, number), name, places) for number, item in enumerate(value)]
    if value is None or isinstance(value, (str, bool, int, float, bytes, Secret)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise ConfigError(f"{place}: it must not be of type {type(value).__name__}: use text, numbers, lists and mappings")


def dotted(path: KeyPath) -> str:
    """A path in the form `handlers[0].user.groups`."""
    text = ".".join(part if isinstance(part, str) else f"[{part}]" for part in path)
    return text.replace(".[", "[")


def quotable(key: str) -> str:
    """The part of a key that a message may quote. `password:SECRET`, without a space, is one key."""
    found = re.match(_PLAIN, key)
    plain = found[0] if found else ""
    return key if plain == key else f"{plain}…"


def quotable_path(path: KeyPath) -> str:
    """A path for messages, as `dotted`; each key only as far as it may be quoted."""
    return dotted(tuple(quotable(part) if isinstance(part, str) else part for part in path))


def parse_document(text: bytes, *, file: str, make: Optional[Callable[[str], Reader]] = None) -> Document:
    """Parse one YAML file, whose top level must be a mapping or empty.

    Args:
        text: the file's bytes.
        file: its name, for errors.
        make: makes the reader of the nodes from the name of the file; `Reader` when left out.

    Raises:
        ConfigError: with file, line and column; never with a value.
    """
    plain = _decoded(text, file=file)
    try:
        _check_size(plain, file=file)
        node = yaml.compose(plain, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        problem = error.problem or error.context or ""
        if "nesting" in problem:  # PyYAML has its own limit since 6.0.4, with its own message
            raise ConfigError(f"{place}: {_TOO_LARGE}") from None
        if "undefined" in problem:  # PyYAML quotes the name of an alias or tag next, which may be a value
            problem = problem.partition(" '")[0]
        raise ConfigError(f"{place}: not valid YAML: {problem}. Correct it there or above") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid YAML ({type(error).__name__}): check that it is a text file") from error
    if node is None:
        return Document({}, {}, file)
    reader = (make or Reader)(file)
    data = reader.read(node, (), depth=0)
    if not isinstance(data, dict):
        raise ConfigError(f"{reader.places[()]}: {reader.MAPPING}")
    return Document(data, reader.places, file)


def _decoded(text: bytes, *, file: str) -> str:
    """The bytes as text that YAML accepts. Raises ConfigError with the place of the first byte that it does not."""
    mark, encoding = next((pair for pair in _MARKS if text.startswith(pair[0])), (b"", "utf-8"))
    data = text[len(mark) :]
    try:
        plain = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        raise ConfigError(
            f"{_end_of(before, file=file)}: not valid YAML: the file is not UTF-8. Save it as UTF-8"
        ) from None
    if plain.translate(_BLANKS).isprintable():  # stricter than YAML, but much faster than its pattern
        return plain
    found = _NOT_TEXT.search(plain)
    if found is not None:
        place = _end_of(plain[: found.start()], file=file)
        raise ConfigError(f"{place}: not valid YAML: remove the control character")
    return plain


def _end_of(text: str, *, file: str) -> Place:
    return Place(file, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _check_size(text: str, *, file: str) -> None:
    """Check before composing, which uses one level of the C stack per level of the file. Raises ConfigError."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > _MOST_DEPTH or count > _MOST_NODES:
            mark = event.start_mark
            place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
            raise ConfigError(f"{place}: {_TOO_LARGE}")


class Reader:
    """Turns nodes into plain values. Every oddity is a ConfigError.

    Attributes:
        file: the name of the file.
        places: path -> place of each value read so far.
    """

    MAPPING = "the file must be a mapping of keys: begin with `datasource:` or `handlers:`"

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[KeyPath, Place] = {}
        self._count = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, node: Any, path: KeyPath, *, depth: int) -> Any:
        """The value of a node. Raises ConfigError."""
        place = self.place_of(node)
        self.places[path] = place
        self._count += 1
        if self._count > _MOST_NODES or depth > _MOST_DEPTH:
            raise ConfigError(f"{place}: {_TOO_LARGE}")
        if node.tag not in _TAGS[type(node)]:
            return self.tagged(node, path, depth=depth)
        return self.plain(node, path, depth=depth)

    def plain(self, node: Any, path: KeyPath, *, depth: int) -> Any:
        """The value of a node by its kind, whatever its tag."""
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth=depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i), depth=depth + 1) for i, item in enumerate(node.value)]
        return self.scalar(node)

    def place_of(self, node: Any) -> Place:
        """Where a node begins."""
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def tagged(self, node: Any, path: KeyPath, *, depth: int) -> Any:  # noqa: ARG002 - for readers that go on
        """The value of a node that has a tag."""
        raise ConfigError(f"{self.place_of(node)}: YAML tags are not accepted: remove the tag")

    def mapping(self, node: Any, path: KeyPath, *, depth: int) -> dict[str, Any]:
        """The value of a mapping."""
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self.place_of(key_node)
            if key_node.tag == MERGE:
                raise ConfigError(f"{place}: merge keys (`<<`) are not accepted: write the keys out")
            key = self.scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise ConfigError(f"{place}: a key must be text: put it in quotes")
            if key in values:
                raise ConfigError(f"{place}: duplicate key {quotable(key)!r}: remove one of them")
            self.enter(values, key, key_node, value_node, path, depth=depth)
        return values

    def enter(
        self, values: dict[str, Any], key: str, key_node: Any, value_node: Any, path: KeyPath, *, depth: int
    ) -> None:
        """Read one value of a mapping into `values`; its place is that of its key."""
        values[key] = self.read(value_node, (*path, key), depth=depth + 1)
        self.places[(*path, key)] = self.place_of(key_node)

    def scalar(self, node: Any) -> Any:
        """The value of a scalar."""
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError):
            # PyYAML's constructors fail in many ways, and their messages quote the value: the cause is not kept.
            raise ConfigError(
                f"{self.place_of(node)}: the value does not fit its YAML type: put it in quotes"
            ) from None
