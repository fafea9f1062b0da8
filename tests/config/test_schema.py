"""A dataclass as the schema of a mapping: what fits, and what is said of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Mapping, Optional, Union

import pytest

from azurelite.config.document import Document, parse_document
from azurelite.config.schema import MOST_PROBLEMS, ConfigProblemsError, Problems, bind, nearest, unknown
from azurelite.errors import ConfigError
from azurelite.metadata import Secret

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
def test_what_fits(text: str, made: Example) -> None:
    assert make(text) == made


def test_a_whole_number_becomes_a_float() -> None:
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
def test_wrong_values_are_reported_with_place_and_key(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(text)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("key", ["flag", "count", "share", "mode", "modes", "inner", "inner.depth"])
@pytest.mark.parametrize("value", ["{}", "[{}]", "{{depth: {}}}", "[[{}]]"])
def test_no_value_is_ever_in_a_message(key: str, value: str) -> None:
    text = f"top: {{inner: {{depth: {CANARY}}}}}" if key == "inner.depth" else f"top: {{{key}: {value.format(CANARY)}}}"
    with pytest.raises(ConfigError) as caught:
        make(text)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("hostnam", "did you mean 'hostname'?"), ("user_name", "did you mean 'user'?"), ("qqq", "known: hostname, user")],
)
def test_the_nearest_name_is_suggested(name: str, remedy: str) -> None:
    assert str(unknown("handler", name, {"user": 1, "hostname": 2}, where="f:1:1")) == (
        f"f:1:1: unknown handler {name!r}; {remedy}"
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("nope", None),
        ("x", None),
        ("", None),
        ("ab", None),
        ("frobnicate", None),
        ("hostnam", "hostname"),
        ("hotsname", "hostname"),
        ("host-name", "hostname"),
        ("HostName", "hostname"),
        ("host", "hostname"),
        ("user_name", "user"),
        ("usr", "user"),
        ("ssh_key", "ssh_keys"),
        ("sshkeys", "ssh_keys"),
        ("swpa", "swap"),
        ("randomseed", "random_seed"),
        ("random_sede", "random_seed"),
        ("raport_raedy", "report_ready"),
        ("a" * 10_000, None),
    ],
)
def test_a_hint_is_a_typing_error_or_a_form_of_the_name(typed: str, meant: Optional[str]) -> None:
    known = ["hostname", "user", "users", "ssh_keys", "sshd", "swap", "random_seed", "report_ready"]
    assert nearest(typed, known) == meant


def test_where_nothing_is_known_that_is_said() -> None:
    assert str(unknown("key", "x", (), where="f")) == "f: unknown key 'x'; known: none"


@dataclass(frozen=True)
class Rich:
    """Every type that YAML can say."""

    secret: Secret = Secret("")  # noqa: RUF009
    maybe_secret: Optional[Secret] = None
    either: Union[bool, Literal["auto"]] = "auto"
    size: Union[int, str] = 0
    share: Union[float, str] = 0.0
    words: Union[str, tuple[str, ...]] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    inners: tuple[Inner, ...] = ()
    named: Mapping[str, Inner] = field(default_factory=dict)
    switch: Literal["yes", "no", "keep"] = "keep"
    mixed: Literal["auto", True, 3] = "auto"


def rich(text: str) -> Any:
    document = parse_document(text.encode(), file="f")
    return bind(Rich, document.data, document, ())


@pytest.mark.parametrize(
    ("text", "key", "made"),
    [
        ("secret: x", "secret", Secret("x")),
        ("maybe_secret: x", "maybe_secret", Secret("x")),
        ("maybe_secret: null", "maybe_secret", None),
        ("either: true", "either", True),
        ("either: yes", "either", True),
        ("either: auto", "either", "auto"),
        ("size: 5", "size", 5),
        ("size: 5G", "size", "5G"),
        ("share: 5", "share", 5.0),
        ("share: 0.5", "share", 0.5),
        ("share: half", "share", "half"),
        ("words: a b", "words", "a b"),
        ("words: [a, b]", "words", ("a", "b")),
        ("env: {A: b, 'c d': ''}", "env", {"A": "b", "c d": ""}),
        ("inners: [{depth: 2}, {}, null]", "inners", (Inner(2), Inner(), Inner())),
        ("named: {x: {depth: 2}, y: }", "named", {"x": Inner(2), "y": Inner()}),
        ("switch: yes", "switch", "yes"),
        ("switch: off", "switch", "no"),
        ("switch: 'no'", "switch", "no"),
        ("switch: keep", "switch", "keep"),
        ("mixed: true", "mixed", True),
        ("mixed: 3", "mixed", 3),
    ],
)
def test_what_fits_richer_types(text: str, key: str, made: object) -> None:
    value = getattr(rich(text), key)
    assert value == made
    assert type(value) is type(made)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secret: 5", "f:1:1: `secret` must be text: put it in quotes"),
        ("secret: [x]", "f:1:1: `secret` must be text"),
        ("secret: null", "f:1:1: `secret` must be text"),
        ("either: x", "f:1:1: `either` must be true or false or auto"),
        ("size: true", "f:1:1: `size` must be a whole number or text"),
        ("size: [1]", "f:1:1: `size` must be a whole number or text"),
        ("share: .nan", "f:1:1: `share` must be a number or text"),
        ("words: {a: b}", "f:1:1: `words` must be text or a list"),
        ("words: [5]", "f:1:9: `words[0]` must be text: put it in quotes"),
        ("env: {A: 5}", "f:1:7: `env.A` must be text: put it in quotes"),
        ("env: [A]", "f:1:1: `env` must be a mapping of keys"),
        ("inners: {depth: 1}", "f:1:1: `inners` must be a list"),
        ("inners: [5]", "f:1:10: `inners[0]` must be a mapping of keys"),
        ("inners: [{}, {dept: 1}]", "f:1:15: in `inners[1]`: unknown key 'dept'; did you mean 'depth'?"),
        ("named: {x: {depth: y}}", "f:1:13: `named.x.depth` must be a whole number"),
        ("switch: maybe", "f:1:1: `switch` must be one of: yes, no, keep"),
        ("mixed: false", "f:1:1: `mixed` must be one of: auto, true, 3"),
        ("mixed: 3.0", "f:1:1: `mixed` must be one of: auto, true, 3"),
    ],
)
def test_what_does_not_fit_richer_types(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rich(text)
    assert str(caught.value) == said


def test_a_secret_that_is_one_already_stays_one() -> None:
    made = bind(Rich, {"secret": Secret("x"), "maybe_secret": Secret("y")}, Document({}, {}), ())
    assert (made.secret, made.maybe_secret) == (Secret("x"), Secret("y"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top: {flg: true, nme: x}", ["f:1:7: in `top`: unknown key 'flg'", "f:1:18: in `top`: unknown key 'nme'"]),
        (
            "top: {flag: 1, names: [5, a, 6], inner: {depth: x, dept: 1}, mode: x}",
            [
                "f:1:7: `top.flag`",
                "f:1:24: `top.names[0]`",
                "f:1:30: `top.names[2]`",
                "f:1:42: `top.inner.depth`",
                "f:1:52: in `top.inner`: unknown key 'dept'",
                "f:1:62: `top.mode`",
            ],
        ),
        ("top: {count: -1, flag: 5}", ["f:1:18: `top.flag`", "f:1:1: `top`: count must not be negative"]),
        ("top: {count: -1, flg: 5}", ["f:1:18: in `top`: unknown key 'flg'", "f:1:1: `top`: count must not be"]),
    ],
)
def test_all_mistakes_are_reported_at_once(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigProblemsError) as caught:
        make(text)
    problems = [str(problem) for problem in caught.value.problems]
    assert len(problems) == len(said)
    assert all(problem.startswith(start) for problem, start in zip(problems, said))
    assert str(caught.value).startswith(problems[0])
    assert str(caught.value).endswith(f"(and {len(said) - 1} more: `azurelite config check` lists them)")


@dataclass(frozen=True)
class Keyed:
    name: Optional[Secret] = None
    inner: Inner = Inner()
    secrets: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True)
class Needy:
    path: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must be given")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path: 5", ["f:1:1: `path` must be text: put it in quotes"]),
        ("pth: x", ["f:1:1: in the file: unknown key 'pth'; did you mean 'path'?"]),
        ("zzz: x", ["f:1:1: in the file: unknown key 'zzz'; known: path", "f:1:1: the file: path must be given"]),
    ],
)
def test_one_mistake_is_reported_once(text: str, said: list[str]) -> None:
    document = parse_document(text.encode(), file="f")
    with pytest.raises(ConfigProblemsError) as caught:
        bind(Needy, document.data, document, ())
    assert [str(problem) for problem in caught.value.problems] == said


def test_very_many_problems_are_counted_not_kept() -> None:
    document = parse_document("".join(f"k{i}: 1\n" for i in range(5000)).encode(), file="f")
    with pytest.raises(ConfigProblemsError, match=r"\(and 4999 more") as caught:
        bind(Example, document.data, document, ())
    assert len(caught.value.problems) == MOST_PROBLEMS


def test_a_long_name_is_cut_in_messages() -> None:
    document = parse_document(f"? {'k' * 500_000}\n: 1".encode(), file="f")
    with pytest.raises(ConfigProblemsError) as caught:
        bind(Example, document.data, document, ())
    assert len(str(caught.value)) < 300


def refuse(text: str) -> None:
    raise ConfigError(text)


def test_problems_take_errors_of_both_kinds_and_know_their_places() -> None:
    problems = Problems()
    with problems.collecting():
        make("top: {flg: 1, nme: 2}")
    with problems.collecting():
        refuse("/etc/x.yaml:3:7: is wrong: see: 1:2")
    with problems.collecting():
        refuse("/etc/x.yaml: Permission denied")
    problems.add(parse_document(b"a: 1", file="f"), ("a", "b"), "is odd")
    assert [str(problem.at) for problem in problems.found] == ["f:1:7", "f:1:15", "/etc/x.yaml:3:7", "None", "f:1:1"]
    assert [str(problem) for problem in problems.found][2:] == [
        "/etc/x.yaml:3:7: is wrong: see: 1:2",
        "/etc/x.yaml: Permission denied",
        "f:1:1: is odd",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{name:hunter2-canary}",
        "{inner: {name:hunter2-canary, depth: 1}}",
        "{secrets: {TOKEN:hunter2-canary}}",
        "{'hunter2 canary:': 1}".replace("hunter2", ":hunter2"),
    ],
)
def test_a_value_that_became_part_of_a_key_is_not_quoted(text: str) -> None:
    document = parse_document(text.encode(), file="f")
    with pytest.raises(ConfigProblemsError) as caught:
        bind(Keyed, document.data, document, ())
    assert "canary" not in "".join(map(str, caught.value.problems))
    assert "…" in str(caught.value)


def test_no_problem_is_no_error() -> None:
    Problems().raise_if_any()


def test_other_errors_are_not_collected() -> None:
    problems = Problems()
    with pytest.raises(KeyError), problems.collecting():
        raise KeyError("x")
    assert problems.found == []
