"""Merging cloud-config documents by cloud-init's rules; the results of the table are those of cloud-init 22.4.2."""

# ruff: noqa: E501  # tables

from __future__ import annotations

from typing import Any, Optional

import pytest
import yaml

from azurelite.config.document import Document
from azurelite.userdata.lenient import parse_leniently
from azurelite.userdata.merging import merge, mergers_of
from azurelite.userdata.parts import Part
from azurelite.userdata.reading import read


def parse(text: str, file: str = "f") -> Document:
    return parse_leniently(text.encode(), file=file, report=lambda *_: None)


CASES: list[tuple[Optional[str], str, str, str]] = [
    # how, the earlier document, the later one, the result
    (None, "a: [1]\nb: {x: 1}", "a: [2]\nb: {y: 2}", "{a: [2], b: {y: 2}}"),
    ("list(append)+dict(recurse_array)+str()", "a: [1]\nb: x", "a: [2]\nb: y\nc: 3", "{a: [1, 2], b: x, c: 3}"),
    ("list(prepend)+dict(recurse_array)+str()", "a: [1]", "a: [2]", "{a: [2, 1]}"),
    ("list()+dict(recurse_array)+str()", "a: [1, 2]", "a: [3]", "{a: [3, 2]}"),
    ("list(no_replace)+dict(recurse_list)+str()", "a: [1, 2]", "a: [3]", "{a: [1, 2]}"),
    ("list()+dict(recurse_array)+str()", "a: [1]", "a: [3, 4]", "{a: [3]}"),
    ("list(append)+dict()+str()", "a: [1]", "a: [2]", "{a: [1]}"),
    ("list(append)+dict(replace)+str()", "a: [1]", "a: [2]", "{a: [2]}"),
    ("dict(no_replace)", "a: 1\nb: {x: 1}", "a: 2\nb: {x: 2, y: 2}", "{a: 1, b: {x: 1, y: 2}}"),
    ("dict(recurse_str)+str(append)", "a: x", "a: y", "{a: xy}"),
    ("dict(recurse_str)+str()", "a: x", "a: y", "{a: y}"),
    ("dict(allow_delete)", "a: x\nb: y", "a: null\nc: null", "{b: y, c: null}"),
    ("dict(replace, allow_delete)", "a: x\nb: y", "a: null\nb: z", "{b: z}"),
    ("dict()", "a: x", "a: null", "{a: x}"),
    ("list(recurse_dict)+dict(recurse_array)", "a: [{x: 1}]", "a: [{x: 2, y: 2}]", "{a: [{x: 1, y: 2}]}"),
    ("list(recurse_array)+dict(recurse_array)", "a: [[1, 2]]", "a: [[3]]", "{a: [[3, 2]]}"),
    ("list(recurse_str)+dict(recurse_array)+str(append)", "a: [x, 1]", "a: [y, z]", "{a: [xy, 1]}"),
    ("  LIST( Append ) + m_dict(recurse-array)+str() ", "a: [1]", "a: [2]", "{a: [1, 2]}"),
    ("list(append)+list(prepend)+dict(recurse_array)", "a: [1]", "a: [2]", "{a: [1, 2]}"),
    ("list()+dict(recurse_array)", "a: [1]", "a: x", "{a: [1]}"),
    ("list(append)", "a: [1]", "b: x", "{a: [1]}"),
]


@pytest.mark.parametrize(
    ("how", "below", "above", "expected"), CASES, ids=[f"{case[0]}-{case[1][:9]}" for case in CASES]
)
def test_documents_are_merged_as_their_merge_type_says(
    how: Optional[str], below: str, above: str, expected: str
) -> None:
    later = parse(above)
    assert merge(parse(below), later, mergers_of(later, how), lost=lambda *_: None).data == yaml.safe_load(expected)


@pytest.mark.parametrize(
    "how",
    [
        "list(append)+dict(recurse_array)",
        "[{name: list, settings: [append]}, {name: dict, settings: [recurse_array]}]",
        "[[list, append], [dict, recurse_array]]",
    ],
)
@pytest.mark.parametrize("key", ["merge_how", "merge_type"])
def test_a_document_says_itself_how_it_is_merged(key: str, how: str) -> None:
    later = parse(f"a: [2]\n{key}: {how}\n")
    mergers = mergers_of(later, "dict(no_replace)")
    assert merge(parse("a: [1]"), later, mergers, lost=lambda *_: None).data == {"a": [1, 2]}


def test_values_that_cannot_be_merged_are_named_and_places_are_kept() -> None:
    lost: list[str] = []
    later = parse("a: [2]\nb: x\nc:\n  d: 1\nmerge_how: list(append)+dict(recurse_array,recurse_str)", "two")
    found = merge(
        parse("a: [1]\nb: [2]\nc: {e: 1}", "one"),
        later,
        mergers_of(later, None),
        lost=lambda place, *_: lost.append(str(place)),
    )
    assert found.data == {"a": [1, 2], "b": [2], "c": {"e": 1, "d": 1}}
    assert [found.place(path) for path in (("a", 0), ("a", 1), ("c", "e"), ("c", "d"))] == [
        "one:1:5",
        "two:1:5",
        "one:3:5",
        "two:4:3",
    ]
    assert lost == ["two:2:1"]


def reading(*texts: str, **header: Any) -> Any:
    parts = [Part(f"p{i}", "cloud-config", text.encode(), merge=header.get(f"p{i}")) for i, text in enumerate(texts)]
    return read(parts, label="user_data")


def test_sections_of_several_parts_are_merged_and_errors_name_the_part() -> None:
    found = reading(
        "runcmd: [one]\nlocale: C", "runcmd: [two, {x: y}]\nlocale: D", p1="list(append)+dict(recurse_array)"
    )
    assert (found.config.runcmd, found.config.locale) == (("one", "two"), "C")
    lost, problem = found.problems
    assert lost.startswith("user_data/p1:2:")
    assert problem.startswith("user_data/p1:1:15: `runcmd[2]` must be")
    assert found.unknown == ()


@pytest.mark.parametrize(
    "how", ["list", "lists(append)", "5", "{a: b}", "[5]", "[[]]", "[{name: list, settings: x}]", "[{}]"]
)
def test_a_merge_type_that_nobody_understands_is_named_and_replaces(how: str) -> None:
    found = reading("runcmd: [one]\ntimezone: UTC", f"runcmd: [two]\nmerge_how: {how}")
    assert (found.config.runcmd, found.config.timezone) == (("two",), "UTC")
    (problem,) = found.problems
    assert problem.startswith("user_data/p1:2:1: `merge_how` must be as in `list(append)")
    (problem,) = reading("runcmd: [one]", "runcmd: [two]", p1="list").problems
    assert problem.startswith("user_data/p1:1:1: `Merge-Type` must be")


def test_a_part_that_loses_everything_is_named() -> None:
    found = reading("runcmd: [one]", "runcmd: [two]", p1="list(append)")
    assert found.config.runcmd == ("one",)
    (problem,) = found.problems
    assert problem.startswith("user_data/p1:1:1: it is skipped, because its merge type")
    assert reading("runcmd: [one]", p0="list(append)").config.runcmd == ("one",)


SKIPPED = "it is skipped, because its merge type "
KEPT = "it is skipped: `no_replace` keeps the earlier value"


@pytest.mark.parametrize(
    ("how", "first", "second", "problems", "notes"),
    [  # a value that merging drops is named where it stands: a mistake, or a note where it was asked for
        (None, "runcmd: [a]", "runcmd: [b]", [], ["`runcmd` is replaced by a later part, set `merge_how` there to keep both (u/p0:1:1)"]),
        (None, "runcmd: [a]", "runcmd: [a]", [], []),
        (None, "runcmd: [a]", "locale: C", [], []),
        ("dict(replace)+list()+str()", "runcmd: [a]", "runcmd: [b]", [], []),
        ("dict(replace)", "runcmd: [a]", "runcmd: [b]", [], []),
        ("list(append)+dict(recurse_array)", "runcmd: [a]", "runcmd: [b]", [], []),
        ("list(no_replace)+dict(recurse_array)", "runcmd: [a]", "runcmd: [b, c]", [], [f"{KEPT} (u/p1:1:10)", f"{KEPT} (u/p1:1:13)"]),
        ("list(no_replace)+dict(recurse_array)", "runcmd: [a]", "runcmd: []", [], []),
        ("list()+dict(recurse_array)", "runcmd: [a]", "runcmd: [b]", [], []),
        ("list(replace)+dict(recurse_array)", "runcmd: [a]", "runcmd: [b, c, d]", [f"u/p1:1:13: {SKIPPED}replaces only", f"u/p1:1:16: {SKIPPED}replaces only"], []),
        ("list(recurse_array)+dict(recurse_array)", "mounts: [[a]]", "mounts: [[b, c]]", [f"u/p1:1:14: {SKIPPED}replaces only"], []),
        ("list(append)+dict(recurse_array)", "runcmd: [a]", "runcmd: b", [f"u/p1:1:1: {SKIPPED}does not merge"], []),
        ("list(no_replace)+dict(recurse_array)", "runcmd: [a]", "runcmd: b", [f"u/p1:1:1: {SKIPPED}does not merge"], []),
        ("dict()", "locale: C", "locale: D", [f"u/p1:1:1: {SKIPPED}does not merge"], []),
        ("dict(no_replace)", "locale: C", "locale: D", [], [f"{KEPT} (u/p1:1:1)"]),
        ("dict(no_replace)", "swap: {size: 1G}", "swap: {size: 2G, maxsize: 3G}", [], [f"{KEPT} (u/p1:1:8)"]),
        ("dict(allow_delete)", "locale: C", "locale: null", [], []),
        ("dict(recurse_str)+str()", "locale: C", "locale: D", [], []),
        ("dict(recurse_str)", "locale: C", "locale: D", [f"u/p1:1:1: {SKIPPED}does not merge"], []),
    ],
)  # fmt: skip
def test_what_merging_drops_is_named(
    how: Optional[str], first: str, second: str, problems: list[str], notes: list[str]
) -> None:
    parts = [Part("p0", "cloud-config", first.encode()), Part("p1", "cloud-config", second.encode(), merge=how)]
    found = read(parts, label="u")
    said = [problem for problem in found.problems if SKIPPED in problem]
    assert [line[: len(start)] for line, start in zip(said, problems)] == problems
    assert len(said) == len(problems)
    assert list(found.unknown) == notes
