"""What the code says of its own options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Mapping, Optional, Union

import pytest

from azurelite.config.option_types import plain
from azurelite.config.schema import fields_of
from azurelite.describe.options import attribute_texts, default_of, kind_of, options_of
from azurelite.metadata import Secret


@dataclass(frozen=True)
class Inner:
    """Inside.

    Attributes:
        depth: how deep.
    """

    depth: int = 1


@dataclass(frozen=True)
class Outer:
    """Outside: it has more to say.

    Attributes:
        one: in one line: with a colon.
        two: in
            three
            lines.

        three:
            below.

    Not of the attributes: at all.
    """

    one: str = "x"
    two: tuple[Inner, ...] = ()
    three: Mapping[str, Inner] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    seconds: float = 5.0
    untold: Optional[Secret] = None


@dataclass(frozen=True)
class Bare:
    key: int = 1


def test_texts_come_from_the_docstring() -> None:
    assert attribute_texts(Outer) == {"one": "in one line: with a colon.", "two": "in three lines.", "three": "below."}
    assert attribute_texts(Bare) == {}


def test_every_key_and_those_inside_are_listed() -> None:
    assert [(doc.name, doc.kind, doc.default, doc.text) for doc in options_of(Outer)] == [
        ("one", "text", "x", "in one line: with a colon."),
        ("two", "list of mappings", [], "in three lines."),
        ("two[].depth", "whole number", 1, "how deep."),
        ("three", "mapping of names to mapping", {}, "below."),
        ("three.NAME.depth", "whole number", 1, "how deep."),
        ("inner", "mapping", {"depth": 1}, ""),
        ("inner.depth", "whole number", 1, "how deep."),
        ("seconds", "number", 5, ""),
        ("untold", "secret text", None, ""),
    ]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (bool, "true or false"),
        (int, "whole number"),
        (str, "text"),
        (Secret, "secret text"),
        (Any, "anything"),
        (Optional[int], "whole number"),
        (Union[int, str], "whole number or text"),
        (Literal["a", "b"], "a | b"),
        (Union[bool, Literal["auto"]], "true or false or auto"),
        (Literal[True, "x"], "true | x"),
        (tuple[str, ...], "list of text"),
        (tuple[int, ...], "list of whole numbers"),
        (tuple[Literal["a", "b"], ...], "list of (a | b)"),
        (tuple[Union[str, tuple[str, ...]], ...], "list of (text or list of text)"),
        (tuple[tuple[str, ...], ...], "list of lists of text"),
        (Mapping[str, Union[int, str]], "mapping of names to whole number or text"),
        (Inner, "mapping"),
    ],
)
def test_kinds_in_a_readers_words(kind: Any, words: str) -> None:
    assert kind_of(kind) == words


def test_defaults_are_plain() -> None:
    fields = {one.name: one for one in fields_of(Outer)}
    assert default_of(fields["inner"]) == {"depth": 1}
    assert default_of(fields["two"]) == []
    assert plain((Inner(2), {"x": (1.0, 1.5)})) == [{"depth": 2}, {"x": [1, 1.5]}]
