"""Read YAML that others wrote for cloud-init: one odd node costs only itself, and is reported with its place.

Keys that are no text (`00:`, `on:`) count as they are written, merge keys and the tags of YAML itself are followed.
What cannot be read becomes ODD, which `config.schema` refuses without another message.
"""

from __future__ import annotations

import base64
from typing import Any, Callable, Optional

import yaml

from azurelite.config.document import MERGE, YAML_TAG, Document, KeyPath, Place, Reader, parse_document, quotable
from azurelite.config.schema import ODD
from azurelite.errors import ConfigError
from azurelite.metadata import Secret

Report = Callable[[Place, KeyPath, str, bool], None]
_BINARY = f"{YAML_TAG}binary"
_UNDEFINED = "undefined alias"  # PyYAML's words
_AS_THEIR_KIND = (  # tags of YAML 1.1 and of Python's text, by the kind of their nodes
    (yaml.MappingNode, ("set",)),
    (yaml.SequenceNode, ("omap", "pairs")),
)
_AS_TEXT = ("value", "merge", "python/str", "python/unicode")  # a bare `=` or `<<` as a value


def parse_leniently(text: bytes, *, file: str, report: Report) -> Document:
    """Parse one document as `parse_document`, and report odd nodes instead of raising.

    Args:
        text: the document.
        file: its name, for messages.
        report: called with the place and path of an odd node, a text about it, and whether the value is lost: False
            for one that a later one replaces.

    Raises:
        ConfigError: it is not valid YAML, too large, or no mapping.
    """
    try:
        return parse_document(text, file=file, make=lambda name: _Lenient(name, report))
    except ConfigError as error:
        if _UNDEFINED not in error.message:
            raise
    text, undefined = _without_undefined_aliases(text)
    return parse_document(text, file=file, make=lambda name: _Lenient(name, report, undefined))


def _without_undefined_aliases(text: bytes) -> tuple[bytes, frozenset[tuple[int, int]]]:
    """The text with `!` for the `*` of each alias that has no anchor before it, and where they are."""
    plain = text.decode()
    known: set[Optional[str]] = set()
    found = []
    for event in yaml.parse(plain, Loader=yaml.SafeLoader):  # the size was checked when the text was parsed first
        if isinstance(event, yaml.AliasEvent):
            mark = event.start_mark
            if event.anchor not in known and mark is not None:
                found.append(mark)
        elif isinstance(event, yaml.NodeEvent):
            known.add(event.anchor)
    letters = list(plain)
    for mark in found:
        letters[mark.index] = "!"
    return "".join(letters).encode(), frozenset((mark.line + 1, mark.column + 1) for mark in found)


class _Lenient(Reader):
    MAPPING = "it must be a mapping of keys, such as `packages: [git]`"

    def __init__(self, file: str, report: Report, undefined: frozenset[tuple[int, int]] = frozenset()) -> None:
        super().__init__(file)
        self._report = report
        self._undefined = undefined  # lines and columns of aliases without an anchor
        self._open: list[Any] = []  # the nodes around the one that is read

    def read(self, node: Any, path: KeyPath, *, depth: int) -> Any:
        if any(node is other for other in self._open):
            return self._odd(node, path, "it contains itself: write it out")
        self._open.append(node)
        try:
            return super().read(node, path, depth=depth)
        finally:
            self._open.pop()

    def tagged(self, node: Any, path: KeyPath, *, depth: int) -> Any:
        kind = node.tag[len(YAML_TAG) :] if node.tag.startswith(YAML_TAG) else ""
        if any(isinstance(node, shape) and kind in kinds for shape, kinds in _AS_THEIR_KIND):
            return self.plain(node, path, depth=depth)
        if isinstance(node, yaml.ScalarNode) and kind in _AS_TEXT:
            return node.value
        if isinstance(node, yaml.ScalarNode) and node.tag == _BINARY:
            return self._binary(node, path)
        place = self.place_of(node)
        if (place.line, place.column) in self._undefined:
            return self._odd(node, path, "its YAML alias (`*`) has no anchor: put the value in quotes")
        return self._odd(node, path, "its YAML tag is unknown: remove the tag")

    def mapping(self, node: Any, path: KeyPath, *, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == MERGE:
                self._merge(values, value_node, path, depth=depth)
        own: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.tag == MERGE:
                continue
            if (
                not isinstance(key_node, yaml.ScalarNode)
                or not key_node.tag.startswith(YAML_TAG)
                or key_node.tag == _BINARY
            ):
                self._odd(key_node, path, "a key that is no text: remove it")
                continue
            key = key_node.value
            if key in own:
                self._report(self.place_of(key_node), (*path, key), f"an earlier `{quotable(key)}`", False)
            own.add(key)
            self.enter(values, key, key_node, value_node, path, depth=depth)
        return values

    def scalar(self, node: Any) -> Any:
        try:
            return super().scalar(node)
        except ConfigError:  # it only looks like a date or a number, such as 2030-02-31
            return node.value

    def _merge(self, values: dict[str, Any], node: Any, path: KeyPath, *, depth: int) -> None:
        """Add the keys of `<<: *a` or `<<: [*a, *b]`; of several mappings the first one with a key wins."""
        here = self.places[path]
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            merged = self.read(source, path, depth=depth + 1)
            if isinstance(merged, dict):
                values.update({key: value for key, value in merged.items() if key not in values})
            elif merged is not ODD:
                self._odd(source, path, "`<<` needs a mapping: write the keys out")
        self.places[path] = here

    def _binary(self, node: Any, path: KeyPath) -> Any:
        """The bytes as text, or as a Secret if they are no UTF-8: only secret values may hold any bytes."""
        try:
            data = base64.b64decode(node.value)  # as PyYAML does: characters that are not base64 are skipped
        except ValueError:
            return self._odd(node, path, "`!!binary` needs base64: correct the value")
        try:
            return data.decode()
        except UnicodeDecodeError:
            return Secret(data)

    def _odd(self, node: Any, path: KeyPath, text: str) -> Any:
        self._report(self.place_of(node), path, text, True)
        return ODD
