"""The base class of values: what it gives, and what it refuses.

`tox -e type` checks this file as well: each `type: ignore` below marks a use that a type checker must refuse, and an
ignore that is not needed is an error there.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pydoc
import re
from typing import Any, Callable, ClassVar, Generic, Optional, TypeVar

import pytest

from azurelite import record
from azurelite.record import Record, field, replace

T = TypeVar("T")


class Value(Record):
    """A value with a field of each kind."""

    name: str
    count: int = 3
    tags: dict[str, str] = field(default_factory=dict)
    secret: Optional[str] = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is below 0")

    @property
    def twice(self) -> int:
        """A property is no field."""
        return 2 * self.count


class Other(Record):
    """The same fields in another class."""

    name: str
    count: int = 3
    tags: dict[str, str] = field(default_factory=dict)
    secret: Optional[str] = None


class Names(Record):
    """A value that can be hashed."""

    names: tuple[str, ...] = ()
    most: int = 1


class Box(Record, Generic[T]):
    """A generic value."""

    held: T


class Empty(Record):
    """A value without fields."""


class Mixin:
    """A base that is no Record: its annotations are not fields."""

    colour: str


class Mixed(Mixin, Record):
    """Without annotations of its own."""


SHARED = Value("a")
FULL: dict[str, Any] = {"name": "a", "count": 3, "tags": {}, "secret": None}
GOOD: dict[str, tuple[Callable[[], object], object]] = {
    "defaults": (lambda: vars(Value("a")), FULL),
    "values by place": (lambda: vars(Value("a", 1, {"x": "y"}, "s")), dict(zip(FULL, ["a", 1, {"x": "y"}, "s"]))),
    "values by name": (lambda: vars(Value(secret="s", name="a")), {**FULL, "secret": "s"}),
    "values are in the order of the fields": (lambda: list(vars(Value(count=1, name="a"))), list(FULL)),
    "each value has its own made default": (lambda: Value("a").tags is Value("a").tags, False),
    "a default is an attribute of the class": (lambda: (Value.count, Value.secret), (3, None)),
    "what has no default is none": (lambda: (hasattr(Value, "name"), hasattr(Value, "tags")), (False, False)),
    "a property": (lambda: Value("a").twice, 6),
    "repr": (lambda: repr(Value("a", secret="hidden")), "Value(name='a', count=3, tags={})"),
    "equal": (lambda: Value("a") == Value("a"), True),
    "not equal": (lambda: Value("a") == Value("a", 4), False),
    "not equal: another class": (lambda: Value("a") == Other("a"), False),
    "not equal: a tuple": (lambda: Names() == ((), 1), False),
    "equal values have one hash": (lambda: len({Names(("a",)), Names(("a",), 1), Names(("b",))}), 2),
    "deepcopy": (lambda: vars(copy.deepcopy(Value("a", 5))), {**FULL, "count": 5}),
    "a deep copy shares nothing": (lambda: copy.deepcopy(SHARED).tags is SHARED.tags, False),
    "pickle": (lambda: pickle.loads(pickle.dumps(Value("a", 5))), Value("a", 5)),
    "replace": (lambda: replace(Value("a"), count=4), Value("a", 4)),
    "fields": (
        lambda: [(one.name, one.type, one.required, one.repr) for one in Value.FIELDS],
        [
            ("name", "str", True, True),
            ("count", "int", False, True),
            ("tags", "dict[str, str]", False, True),
            ("secret", "Optional[str]", False, False),
        ],
    ),
    "no fields": (lambda: (Empty(), repr(Empty())), (Empty(), "Empty()")),
    "annotations of another base": (lambda: Mixed.FIELDS, ()),
    "a generic one": (lambda: Box[int](3) == Box(3), True),
    "signature": (
        lambda: str(inspect.signature(Value)).replace("'", ""),
        "(name: str, count: int = 3, tags: dict[str, str] = {}, secret: Optional[str] = None)",
    ),
    "signature of an empty one": (lambda: str(inspect.signature(Empty)), "()"),
    "no dataclass: is_dataclass": (lambda: dataclasses.is_dataclass(Value("a")), False),
    "no dataclass: attributes": (lambda: [n for n in dir(Value) if n.startswith("__dataclass")], []),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_record_gives(name: str) -> None:
    case, expected = GOOD[name]
    assert case() == expected


def test_the_standard_library_replaces_fields() -> None:
    by_copy = getattr(copy, "replace", lambda value, **changes: value.__replace__(**changes))  # Python 3.13 has it
    assert by_copy(Value("a"), count=4) == Value("a", 4)


def test_help_shows_the_fields() -> None:
    shown = " ".join(re.sub(r"['|]", "", pydoc.plain(pydoc.render_doc(Value))).split())  # 3.13 breaks the line
    fields = "name: str, count: int = 3, tags: dict[str, str] = {}, secret: Optional[str] = None"
    assert re.search(re.escape(f"Value({fields})").replace(r"\(", r"\(\s?").replace(r"\)", r"\s?\)"), shown)


BAD: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no value": (lambda: Value(), TypeError, "Value.* value for 'name'"),  # type: ignore[call-arg]  # noqa: PLW0108
    "too many": (lambda: Value("a", 1, {}, "", 5), TypeError, "Value.* takes"),  # type: ignore[call-arg]
    "one twice": (lambda: Value("a", name="b"), TypeError, "Value.* takes.*once"),  # type: ignore[misc]
    "an unknown one": (lambda: Value("a", colour="red"), TypeError, "Value.* takes.*once"),  # type: ignore[call-arg]
    "one of a wrong type": (lambda: Value("a", "4"), TypeError, "'<' not supported"),  # type: ignore[arg-type]
    "one that it refuses": (lambda: Value("a", -1), ValueError, "below 0"),
    "replaced: one that it refuses": (lambda: replace(Value("a"), count=-1), ValueError, "below 0"),
    "replaced: an unknown one": (lambda: replace(Value("a"), colour="red"), TypeError, "Value.* takes"),
    "assigned": (lambda: setattr(Value("a"), "count", 4), AttributeError, "Value.count is frozen"),
    "assigned: an unknown one": (lambda: setattr(Value("a"), "x", 4), AttributeError, "Value.x is frozen"),
    "deleted": (lambda: delattr(Value("a"), "count"), AttributeError, "Value.count is frozen"),
    "hash of a dict": (lambda: hash(Value("a")), TypeError, "unhashable"),
    "fields by the standard library": (lambda: dataclasses.fields(Value), TypeError, "dataclass"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_record_refuses(name: str) -> None:
    case, kind, words = BAD[name]
    with pytest.raises(kind, match=words):
        case()


def test_a_type_checker_knows_that_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Value("a").count = 4  # type: ignore[misc]


def extended() -> None:
    class Child(Value):
        more: int = 1


def extended_without_a_field_of_its_own() -> None:
    class Child(Value):
        """Nothing."""


def extended_beside_another_base() -> None:
    class Child(Mixin, Value):
        """Nothing."""


def class_variable() -> None:
    class Child(Record):
        name: str
        most: ClassVar[int] = 3


def init_variable() -> None:
    class Child(Record):
        name: dataclasses.InitVar[str]


def shared_list() -> None:
    class Child(Record):
        name: list[str] = []  # noqa: RUF012


def shared_dict_by_field() -> None:
    class Child(Record):
        name: dict[str, str] = field(default={})


def shared_value_that_can_change() -> None:
    class Child(Record):
        name: set[str] = set()  # noqa: RUF012


def default_before_a_required_one() -> None:
    class Child(Record):
        first: int = 1
        second: int  # type: ignore[misc]


def made_default_before_a_required_one() -> None:
    class Child(Record):
        first: list[str] = field(default_factory=list)
        second: int  # type: ignore[misc]


REFUSED: dict[Callable[[], None], str] = {
    extended: "Child: Value has fields",
    extended_without_a_field_of_its_own: "Child: Value has fields",
    extended_beside_another_base: "Child: Value has fields",
    class_variable: r"Child\.most: .* not ClassVar",
    init_variable: r"Child\.name: .* not dataclasses\.InitVar",
    shared_list: r"Child\.name: all values would share its default",
    shared_dict_by_field: r"Child\.name: all values would share its default",
    shared_value_that_can_change: r"Child\.name: all values would share its default",
    default_before_a_required_one: r"Child\.second has no default, and first before it has one",
    made_default_before_a_required_one: r"Child\.second has no default, and first before it has one",
}


@pytest.mark.parametrize("define", REFUSED, ids=lambda define: define.__name__)
def test_a_class_that_it_cannot_hold_is_refused_and_named(define: Callable[[], None]) -> None:
    with pytest.raises(TypeError, match=REFUSED[define]):
        define()


def test_annotations_that_are_no_text_are_fields_as_well() -> None:
    """A plug-in's module without `from __future__ import annotations`; on Python 3.14 they are made late."""
    space: dict[str, Any] = {"Record": Record}
    source = "class Plain(Record):\n    name: str\n    count: int = 3\n"
    exec(compile(source, "plugin", "exec", dont_inherit=True), space)
    assert [(one.name, one.type) for one in space["Plain"].FIELDS] == [("name", str), ("count", int)]
    assert vars(space["Plain"]("a")) == {"name": "a", "count": 3}
    refused = compile("class Plain(Record):\n    name: 'ClassVar[str]'\n", "plugin", "exec", dont_inherit=True)
    with pytest.raises(TypeError, match=r"Plain\.name"):
        exec(refused, space)


def test_nothing_of_the_standard_librarys_is_imitated() -> None:
    assert not {"dataclass", "fields", "asdict", "is_dataclass", "astuple"} & set(vars(record))
