"""A dataclass as the schema of a mapping: what fits, and what is said of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Optional

import pytest

from azurelite.document import parse_document
from azurelite.errors import ConfigError
from azurelite.schema import bind, unknown

CANARY = "hunter2-canary"


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Example:
    flag: bool = False
    count: int = 3
    share: float = 0.5
    name: str = "x"
    maybe: Optional[str] = None
    mode: Literal["fast", "slow"] = "fast"
    names: tuple[str, ...] = ()
    modes: tuple[Literal["a", "b"], ...] = ()
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")


def make(text: str) -> Any:
    document = parse_document(text.encode(), file="f")
    return bind(Example, document.data.get("top"), document, ("top",))


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", Example()),
        ("top:", Example()),
        ("top: {}", Example()),
        ("top: {flag: true, count: 0, share: 1.5, name: ''}", Example(flag=True, count=0, share=1.5, name="")),
        ("top: {share: 2}", Example(share=2.0)),
        ("top: {maybe: y}", Example(maybe="y")),
        ("top: {maybe: null}", Example()),
        ("top: {mode: slow}", Example(mode="slow")),
        ("top: {names: []}", Example()),
        ("top: {names: [a, b], modes: [b, a, b]}", Example(names=("a", "b"), modes=("b", "a", "b"))),
        ("top: {inner: {depth: 2}}", Example(inner=Inner(2))),
        ("top: {inner: }", Example()),
    ],
)
def test_what_fits(text, made):
    assert make(text) == made


def test_a_whole_number_becomes_a_float():
    assert type(make("top: {share: 2}").share) is float


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top: 5", "f:1:1: `top` must be a mapping of keys"),
        ("top: [flag]", "f:1:1: `top` must be a mapping of keys"),
        ("top: text", "f:1:1: `top` must be a mapping of keys"),
        ("top: {flag: 1}", "f:1:7: `top.flag` must be true or false"),
        ("top: {flag: 'true'}", "f:1:7: `top.flag` must be true or false"),
        ("top: {flag: null}", "f:1:7: `top.flag` must be true or false"),
        ("top: {count: true}", "f:1:7: `top.count` must be a whole number"),
        ("top: {count: 1.0}", "f:1:7: `top.count` must be a whole number"),
        ("top: {count: '1'}", "f:1:7: `top.count` must be a whole number"),
        ("top: {share: true}", "f:1:7: `top.share` must be a number"),
        ("top: {share: '0.5'}", "f:1:7: `top.share` must be a number"),
        ("top: {share: 1" + "0" * 400 + "}", "f:1:7: `top.share` must be a number"),
        ("top: {share: 10s}", "f:1:7: `top.share` must be a number"),
        ("top: {name: 5}", "f:1:7: `top.name` must be text"),
        ("top: {name: true}", "f:1:7: `top.name` must be text"),
        ("top: {name: null}", "f:1:7: `top.name` must be text"),
        ("top: {name: 2001-01-01}", "f:1:7: `top.name` must be text"),
        ("top: {name: [a]}", "f:1:7: `top.name` must be text"),
        ("top: {maybe: 5}", "f:1:7: `top.maybe` must be text"),
        ("top: {mode: medium}", "f:1:7: `top.mode` must be one of: fast, slow"),
        ("top: {mode: [fast]}", "f:1:7: `top.mode` must be one of: fast, slow"),
        ("top: {mode: {fast: 1}}", "f:1:7: `top.mode` must be one of: fast, slow"),
        ("top: {mode: true}", "f:1:7: `top.mode` must be one of: fast, slow"),
        ("top: {mode: Fast}", "f:1:7: `top.mode` must be one of: fast, slow"),
        ("top: {names: a}", "f:1:7: `top.names` must be a list"),
        ("top: {names: {a: b}}", "f:1:7: `top.names` must be a list"),
        ("top: {names: null}", "f:1:7: `top.names` must be a list"),
        ("top: {names: [a, 5]}", "f:1:18: `top.names[1]` must be text"),
        ("top: {names: [[a]]}", "f:1:15: `top.names[0]` must be text"),
        ("top: {modes: [a, c]}", "f:1:18: `top.modes[1]` must be one of: a, b"),
        ("top: {inner: [1]}", "f:1:7: `top.inner` must be a mapping of keys"),
        ("top: {inner: {depth: x}}", "f:1:15: `top.inner.depth` must be a whole number"),
        ("top: {count: -1}", "f:1:1: `top`: count must not be negative"),
        ("top:\n  flg: true", "f:2:3: in `top`: unknown key 'flg'; did you mean 'flag'?"),
        ("top:\n  inner:\n    dept: 1", "f:3:5: in `top.inner`: unknown key 'dept'; did you mean 'depth'?"),
        ("top: {zzzzzz: 1}", "f:1:7: in `top`: unknown key 'zzzzzz'; known: count, flag, "),
        ("top: {'': 1}", "f:1:7: in `top`: unknown key ''; known: "),
        ("top: {__class__: 1}", "f:1:7: in `top`: unknown key '__class__'"),
    ],
)
def test_what_does_not_fit_is_told_with_place_and_key(text, said):
    with pytest.raises(ConfigError) as caught:
        make(text)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("key", ["flag", "count", "share", "mode", "modes", "inner", "inner.depth"])
@pytest.mark.parametrize("value", ["{}", "[{}]", "{{depth: {}}}", "[[{}]]"])
def test_no_value_is_ever_in_a_message(key, value):
    text = f"top: {{inner: {{depth: {CANARY}}}}}" if key == "inner.depth" else f"top: {{{key}: {value.format(CANARY)}}}"
    with pytest.raises(ConfigError) as caught:
        make(text)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("hostnam", "did you mean 'hostname'?"), ("user_name", "did you mean 'user'?"), ("qqq", "known: hostname, user")],
)
def test_the_nearest_name_is_told(name, remedy):
    assert str(unknown("handler", name, {"user": 1, "hostname": 2}, where="f:1:1")) == (
        f"f:1:1: unknown handler {name!r}; {remedy}"
    )


def test_where_nothing_is_known_that_is_said():
    assert str(unknown("key", "x", (), where="f")) == "f: unknown key 'x'; known: none"
