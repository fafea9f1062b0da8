"""Positions: drop-ins that put handlers into the list below, and what is said of those that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from azurelite.config.document import Document, parse_document
from azurelite.config.layers import Layers, entry_id
from azurelite.config.schema import Problems

DEFAULTS = ("hostname", "user", "report_ready")


def lay(*texts: str) -> tuple[Document, list[str]]:
    """The files laid over one another, and what is wrong with them."""
    problems = Problems()
    layers = Layers(DEFAULTS, problems)
    for number, text in enumerate(texts):
        layers.add(parse_document(text.encode(), file=f"f{number}"))
    return layers.document, [str(problem) for problem in problems.found]


def ids(document: Document) -> list[Any]:
    return [entry_id(item) for item in document.data["handlers"]]


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["handlers: [a, b]"], "a b"),
        (["handlers: [a, b]", "handlers: [c]"], "c"),
        (["handlers: [a, b]", "handlers: []"], ""),
        (["handlers: [{x: {before: user}}]"], "hostname x user report_ready"),
        (["handlers: [{x: {after: user}}]"], "hostname user x report_ready"),
        (["handlers: [{x: {after: report_ready}}]"], "hostname user report_ready x"),
        (["handlers: [{x: {before: hostname}}]"], "x hostname user report_ready"),
        (["datasource: {}", "handlers: [{x: {after: user}}]"], "hostname user x report_ready"),
        (["handlers: [a, b]", "handlers: [{x: {after: a}}]"], "a x b"),
        (["handlers: [a]", "handlers: [b]", "handlers: [{x: {after: b}}]"], "b x"),
        (["handlers: [{x: {after: user}}]", "handlers: [b]"], "b"),
        (["handlers: [a, b]", "handlers: [{x: {after: a}}, {y: {after: a}}, {z: {after: a}}]"], "a x y z b"),
        (["handlers: [a, b]", "handlers: [{x: {before: b}}, {y: {before: b}}]"], "a x y b"),
        (["handlers: [a, b]", "handlers: [{x: {after: a}}]", "handlers: [{y: {after: a}}]"], "a x y b"),
        (["handlers: [a, b]", "handlers: [{x: {before: b}}]", "handlers: [{y: {before: b}}]"], "a x y b"),
        (["handlers: [a, b]", "handlers: [{x: {after: a}}, {y: {after: x}}, {z: {after: a}}]"], "a x y z b"),
        (["handlers: [a, b]", "handlers: [{x: {after: a}}, {y: {before: x}}]"], "a y x b"),
        (["handlers: [a, b]", "handlers: [{x: {after: a}}, {y: {before: b}}]"], "a x y b"),
        (["handlers: [a, b, c]", "handlers: [{a: {after: c}}]"], "b c a"),
        (["handlers: [a, b, c]", "handlers: [{c: {before: a}}]"], "c a b"),
        (["handlers: [a, b]", "handlers: [{x: {after: a}}]", "handlers: [{x: {after: b}}]"], "a b x"),
        (["handlers: [{run: {id: one}}, b]", "handlers: [{run: {id: two, after: one}}]"], "one two b"),
        (["handlers: [{run: {id: one}}, b]", "handlers: [{run: {id: one, after: b}}]"], "b one"),
        (["handlers: [a]", "handlers: [{x: {after: a, before: null}}]"], "a x"),
        (["handlers: [a]", "handlers: [{x: {after: null}}, y]"], "x y"),
        (["handlers: [a, 'b c.d:e']", "handlers: [{x: {before: 'b c.d:e'}}]"], "a x b c.d:e"),
    ],
)
def test_the_order(texts: list[str], order: str) -> None:
    document, problems = lay(*texts)
    assert problems == []
    assert " ".join(ids(document)) == order


def test_an_entry_keeps_its_options_and_loses_its_position() -> None:
    document, _ = lay("handlers: [a]", "handlers: [{x: {after: a, id: y, n: 1}}]")
    assert document.data["handlers"] == ["a", {"x": {"id": "y", "n": 1}}]


def test_an_entry_that_is_put_in_again_has_the_options_of_the_last() -> None:
    document, _ = lay("handlers: [{a: {n: 1, m: 1}}, b]", "handlers: [{a: {after: b, n: 2}}]")
    assert document.data["handlers"] == ["b", {"a": {"n": 2}}]


def test_every_entry_keeps_the_place_in_its_own_file() -> None:
    document, _ = lay(
        "\nhandlers:\n- a: {n: 1}\n- b\n",
        "handlers:\n- x: {after: a,\n      n: 1}\n- y: {before: a}\n",
        "handlers:\n- z: {after: x, m: [1,\n   2]}",
    )
    assert ids(document) == ["y", "a", "x", "z", "b"]
    assert document.place(("handlers", 0, "y")) == "f1:4:3"
    assert document.place(("handlers", 1, "a", "n")) == "f0:3:7"
    assert document.place(("handlers", 2, "x", "n")) == "f1:3:7"
    assert document.place(("handlers", 3, "z", "m", 1)) == "f2:3:4"
    assert document.place(("handlers", 4)) == "f0:4:3"


def test_the_built_in_list_has_no_place() -> None:
    document, _ = lay("handlers: [{x: {after: user}}]")
    assert ("handlers", 0) not in document.places
    assert document.place(("handlers", 2, "x")) == "f0:1:13"


def test_other_sections_of_a_drop_in_are_laid_over_as_ever() -> None:
    document, _ = lay("a: {b: 1, c: 1}", "a: {b: 2}\nhandlers: [{x: {after: user}}]")
    assert document.data["a"] == {"b": 2, "c": 1}
    assert document.place(("a", "b")) == "f1:1:5"
    assert document.place(("a", "c")) == "f0:1:11"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            ["handlers: [{x: {after: usr}}]"],
            ["f0:1:17: the default list has no entry 'usr'; did you mean 'user'?"],
        ),
        (
            ["handlers: [a]", "handlers: [{x: {before: user}}]"],
            ["f1:1:17: the list of f0:1:1 has no entry 'user'; its entries: a"],
        ),
        (
            ["handlers: []", "handlers: [{x: {before: user}}]"],
            ["f1:1:17: the list of f0:1:1 is empty, so it has no entry 'user': name the entries there"],
        ),
        (["handlers: [{x: {after: x}}]"], ["f0:1:17: 'x' refers to itself: name another entry"]),
        (
            ["handlers: [{x: {after: y}}, {y: {after: user}}]"],
            ["f0:1:17: 'y' comes later in this file: move it up"],
        ),
        (
            ["handlers: [{x: {after: user}}, {x: {before: user}}]"],
            ["f0:1:37: this file inserts 'x' twice: give one of them its own `id`"],
        ),
        (
            ["handlers:\n- x: {after: user}\n- y\n"],
            ["f0:3:3: this entry has no position, but others here have: give all of them"],
        ),
        (
            ["handlers:\n- y: {n: 1}\n- x: {after: user}\n"],
            ["f0:2:3: this entry has no position"],
        ),
        (
            ["handlers: [{x: {after: user, before: report_ready}}]"],
            ["f0:1:17: an entry has `before` or `after`, not both"],
        ),
        (["handlers: [{x: {after: 5}}]"], ["f0:1:17: `after` must be the name of an entry"]),
        (["handlers: [{x: {before: [user]}}]"], ["f0:1:17: `before` must be the name of an entry"]),
        (
            ["handlers: [{x: {after: nope1}}, {y: {after: nope2}}]"],
            ["f0:1:17: the default list has no entry 'nope1'", "f0:1:38: the default list has no entry 'nope2'"],
        ),
    ],
)
def test_invalid_positions_are_reported_with_place_and_remedy(texts: list[str], said: list[str]) -> None:
    _, problems = lay(*texts)
    assert len(problems) == len(said)
    assert all(problem.startswith(start) for problem, start in zip(problems, said))


@pytest.mark.parametrize("listed", ["hostname", "{hostname: {}}", "5", ""])
def test_where_the_list_below_is_none_it_stays_as_it_is(listed: str) -> None:
    document, problems = lay(f"handlers: {listed}", "handlers: [{x: {after: user}}]")
    assert problems == []
    assert not isinstance(document.data["handlers"], list)


@pytest.mark.parametrize(
    "listed",
    ["[5]", "[[x]]", "[null]", "[{}]", "[{a: {after: user}, b: {}}]", "[{a: after}]", "[{a: [after]}]"],
)
def test_what_is_no_entry_is_left_for_others_to_tell_of(listed: str) -> None:
    document, problems = lay(f"handlers: {listed}")
    assert problems == []
    assert len(document.data["handlers"]) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        ({"a": None}, "a"),
        ({"a": {}}, "a"),
        ({"a": {"id": "b"}}, "b"),
        ({"a": {"id": 5}}, "a"),
        ({"a": {}, "b": {}}, None),
        ({}, None),
        (5, None),
        (["a"], None),
    ],
)
def test_what_an_entry_is_known_by(value: Any, expected: Any) -> None:
    assert entry_id(value) == expected


def test_a_long_file_of_positions_is_laid_in_time() -> None:
    text = "handlers:\n" + "".join(f"- x{i}: {{after: user}}\n" for i in range(1500))
    document, problems = lay(text)
    assert problems == []
    assert ids(document)[2:-1] == [f"x{i}" for i in range(1500)]
