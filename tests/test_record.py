"""azurelite's frozen dataclasses beside the standard library's: the same class made by both behaves alike."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, Callable, Optional, Union

import pytest

from azurelite import record


@record.dataclass(frozen=True)
class Ours:
    """Made by azurelite."""

    name: str
    count: int = 3
    tags: dict[str, str] = record.field(default_factory=dict, compare=False)
    secret: Optional[str] = record.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is below 0")

    @property
    def twice(self) -> int:
        return 2 * self.count


@dataclasses.dataclass(frozen=True)
class Standard:
    """Made by the standard library."""

    name: str
    count: int = 3
    tags: dict[str, str] = dataclasses.field(default_factory=dict, compare=False)
    secret: Optional[str] = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is below 0")

    @property
    def twice(self) -> int:
        return 2 * self.count


Either = Union[type[Ours], type[Standard]]
CASES: dict[str, Callable[[Any], Any]] = {
    "defaults": lambda cls: vars(cls("a")),
    "by place": lambda cls: vars(cls("a", 1, {"x": "y"}, "s")),
    "by name": lambda cls: vars(cls(secret="s", name="a")),
    "each its own default": lambda cls: cls("a").tags is cls("b").tags,
    "a default is an attribute of the class": lambda cls: (cls.count, cls.secret, hasattr(cls, "tags")),
    "text": lambda cls: repr(cls("a", secret="hidden")).partition("(")[2],
    "equal": lambda cls: cls("a") == cls("a"),
    "equal but for what is not compared": lambda cls: cls("a", tags={"x": "y"}) == cls("a"),
    "not equal": lambda cls: cls("a") == cls("a", 4),
    "not equal to others": lambda cls: cls("a") == ("a", 3, {}, None),
    "hash": lambda cls: hash(cls("a")) == hash(cls("a", tags={"x": "y"})) != hash(cls("b")),
    "names for match": lambda cls: cls.__match_args__ if hasattr(Standard, "__match_args__") else None,
    "a property": lambda cls: cls("a").twice,
    "copied": lambda cls: vars(copy.deepcopy(cls("a", 5))),
    "pickled": lambda cls: vars(pickle.loads(pickle.dumps(cls("a", 5)))),
    "replaced by ours": lambda cls: vars(record.replace(cls("a"), count=4)),
    "replaced by the other": lambda cls: vars(dataclasses.replace(cls("a"), count=4)),
    "as a dict": lambda cls: dataclasses.asdict(cls("a")),
    "fields by ours": lambda cls: [(field.name, field.type, field.repr) for field in record.fields(cls)],
    "fields by the other": lambda cls: [(field.name, field.type, field.compare) for field in dataclasses.fields(cls)],
    "defaults by the other": lambda cls: [field.default is dataclasses.MISSING for field in dataclasses.fields(cls)],
    "factories by the other": lambda cls: [field.default_factory for field in dataclasses.fields(cls("a"))][2] is dict,
    "a dataclass for both": lambda cls: (dataclasses.is_dataclass(cls), record.is_dataclass(cls("a"))),
    "a standard one above": lambda cls: repr(dataclasses.make_dataclass("Child", [], bases=(cls,), frozen=True)("a")),
    "no value": lambda cls: cls(),
    "too many": lambda cls: cls(1, 2, {}, "", 5),
    "twice": lambda cls: cls("a", name="b"),
    "unknown": lambda cls: cls("a", colour="red"),
    "refused by itself": lambda cls: cls("a", -1),
    "assigned": lambda cls: setattr(cls("a"), "count", 4),
    "assigned anew": lambda cls: setattr(cls("a"), "colour", 4),
    "deleted": lambda cls: delattr(cls("a"), "count"),
    "replaced what is not there": lambda cls: record.replace(cls("a"), colour="red"),
    "an unhashable value": lambda cls: hash(cls(["a"])),
}


def outcome(case: Callable[[Any], Any], cls: Either) -> Any:
    try:
        return case(cls)
    except (TypeError, ValueError, AttributeError) as error:
        return type(error)


@pytest.mark.parametrize("name", CASES)
def test_both_behave_alike(name: str) -> None:
    assert outcome(CASES[name], Ours) == outcome(CASES[name], Standard)


def test_a_class_that_is_none_is_told_apart() -> None:
    assert not record.is_dataclass(int)
    with pytest.raises(TypeError):
        record.fields(int)  # type: ignore[arg-type]
