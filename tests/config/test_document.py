"""YAML text to plain values with places; whatever is wrong is one error with file, line and column."""

from __future__ import annotations

from typing import Any, Optional, Union

import pytest

from azurelite.config.document import Document, Problem, dotted, parse_document, quotable_path
from azurelite.errors import ConfigError

CANARY = "hunter2-canary"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def parse(text: str) -> Document:
    return parse_document(text.encode(), file="f.yaml")


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("\n\n", {}),
        ("# nothing but a comment\n", {}),
        ("---\n", None),
        ("{}", {}),
        ("a: 1", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("%YAML 1.1\n---\na: 1\n...\n", {"a": 1}),
        (
            "a: {b: [c, d], e: 1.5, f: true, g: null, h: }",
            {"a": {"b": ["c", "d"], "e": 1.5, "f": True, "g": None, "h": None}},
        ),
        ("a: yes\nb: 'yes'\nc: 0x10\nd: 017\ne: \"x\\ty\"", {"a": True, "b": "yes", "c": 16, "d": 15, "e": "x\ty"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("'1': a\n'': b", {"1": "a", "": "b"}),
        ("größe: ß𝄞", {"größe": "ß𝄞"}),
        ("a: !!str 1\nb: !!int '2'\nc: !!float 3", {"a": "1", "b": 2, "c": 3.0}),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str) else "",
)
def test_plain_values(text: str, data: Optional[dict[str, Any]]) -> None:
    if data is None:
        with pytest.raises(ConfigError, match=r"f\.yaml:[12]:1: the file must be a mapping of keys"):
            parse(text)
    else:
        assert parse(text).data == data


def test_utf_16_is_understood() -> None:
    assert parse_document("a: ß".encode("utf-16"), file="f").data == {"a": "ß"}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), "f.yaml:2:1"),
        (("a",), "f.yaml:2:1"),
        (("a", "b"), "f.yaml:3:3"),
        (("a", "b", 1), "f.yaml:5:7"),
        (("a", "b", 9), "f.yaml:3:3"),
        (("a", "nowhere", "at all"), "f.yaml:2:1"),
        (("c",), "f.yaml:6:1"),
        (("nowhere",), "f.yaml:2:1"),
    ],
)
def test_every_value_has_a_place(path: tuple[Union[int, str], ...], place: str) -> None:
    assert parse("# comment\na:\n  b:\n    - x\n    - y\nc: {d: 1}\n").place(path) == place


def test_a_value_in_no_file_is_a_default() -> None:
    assert parse("").place(("a",)) == "built-in defaults"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2}", "f.yaml:1:9: not valid YAML"),
        ("a: 1\nb: {c: 2\nd: 3", "f.yaml:3:2: not valid YAML"),
        ("a:\n\t- b", "f.yaml:2:1: not valid YAML"),
        ("a: b: c", "f.yaml:1:5: not valid YAML"),
        ("a: 'x", "f.yaml:1:6: not valid YAML"),
        ('a: "\\q"', "f.yaml:1:"),
        ("a: *nowhere", "f.yaml:1:4: not valid YAML"),
        ("a: @x", "f.yaml:1:4: not valid YAML"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: not valid YAML"),
        ("a: 1\n b: 2", "f.yaml:2:3: not valid YAML"),
        ("%TAG ! !\n%TAG ! !\n---\na: 1", "f.yaml:2:1: not valid YAML"),
        ("- a", "f.yaml:1:1: the file must be a mapping"),
        ("just text", "f.yaml:1:1: the file must be a mapping"),
        ("5", "f.yaml:1:1: the file must be a mapping"),
        ("1: a", "f.yaml:1:1: a key must be text"),
        ("x:\n  true: a", "f.yaml:2:3: a key must be text"),
        ("x:\n  on: a", "f.yaml:2:3: a key must be text"),
        ("null: a", "f.yaml:1:1: a key must be text"),
        ("? [a, b]\n: c", "f.yaml:1:3: a key must be text"),
        ("? {a: b}\n: c", "f.yaml:1:3: a key must be text"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: duplicate key 'a'"),
        ("x: {a: 1, 'a': 2}", "f.yaml:1:11: duplicate key 'a'"),
        ("x: &x {a: 1}\ny:\n  <<: *x", "f.yaml:3:3: merge keys (`<<`) are not accepted: write the keys out"),
        ("x: <<", "f.yaml:1:4: YAML tags are not accepted"),
        ("a: 2001-99-99", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: !!int x", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: !!int ''", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: !!float x", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: !!float ''", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: !!bool maybe", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: !!timestamp x", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: " + "1:" * 300 + "1.0", "f.yaml:1:4: the value does not fit its YAML type"),
        ("a: =", "f.yaml:1:4: "),
        ("!!int a: b", "f.yaml:1:1: the value does not fit its YAML type"),
        ("!secret a: b", "f.yaml:1:1: "),
        ("!!seq a: b", "f.yaml:1:1: "),
    ],
    ids=lambda value: value[:30].encode("unicode_escape").decode(),
)
def test_mistakes_are_reported_with_file_line_and_column(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: \xff\xfe", "1:4: not valid YAML: the file is not UTF-8. Save it as UTF-8"),
        (b"handlers: [hostname] # caf\xe9\n", "1:27: not valid YAML: the file is not UTF-8"),
        ("\ufeffa: 1\n# ß€\n".encode() + b"b\xe9\n", "3:2: not valid YAML: the file is not UTF-8"),
        (b"\xff\xfe\x00", "1:1: not valid YAML: the file is not UTF-8"),
        ("a: 1\nb: 2".encode("utf-16") + b"x", "2:5: not valid YAML: the file is not UTF-8"),
        (b"\xc3\x28: x", "1:1: not valid YAML: the file is not UTF-8"),
        (b"a: \x00", "1:4: not valid YAML: remove the control character"),
        (b"# one\na: \x1b[2J", "2:4: not valid YAML: remove the control character"),
        (b"\x00" * 100, "1:1: not valid YAML: remove the control character"),
    ],
)
def test_bytes_that_are_no_text_are_reported_with_line_and_column(text: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, file="f.yaml")
    assert str(caught.value).startswith(f"f.yaml:{said}")


@pytest.mark.parametrize("value", ["'touch /tmp/never'", "['touch /tmp/never']", "{cmd: 'touch /tmp/never'}"])
@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object:os.system",
        "!!python/object/apply:os.system",
        "!!python/object/new:os.system",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/none",
        "!!python/tuple",
        "!secret",
        "!<tag:example.com,2000:x>",
        "!!binary",
        "!!set",
        "!!omap",
    ],
)
def test_no_tag_makes_an_object(tag: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:1:4: YAML tags are not accepted"):
        parse(f"a: {tag} {value}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BOMB, id="an alias bomb"),
        pytest.param("a: &a [*a]", id="a list inside itself"),
        pytest.param("a: &a [*a, *a]", id="a list inside itself twice"),
        pytest.param("a: &a {b: *a}", id="a mapping inside itself"),
        pytest.param("&a b: &c {d: *c, e: *c}", id="a mapping inside itself twice"),
        pytest.param("a: [" + "x, " * 30_000 + "]", id="a long list"),
        pytest.param("a: " + "[" * 60 + "]" * 60, id="a deep list"),
        pytest.param("a: " + "{b: " * 60 + "}" * 60, id="a deep mapping"),
        # So deep that composing it would break the C stack.
        pytest.param("[" * 100_000, id="an abyss of lists"),
        pytest.param("- " * 100_000, id="an abyss of dashes"),
        pytest.param("{a: " * 50_000, id="an abyss of mappings"),
        pytest.param("? " * 100_000, id="an abyss of keys"),
    ],
)
def test_a_small_file_cannot_blow_up(text: str) -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:[0-9]+:[0-9]+: the file is too large or too deeply nested"):
        parse(text)


@pytest.mark.parametrize("text", ["a: !!seq x", "a: !!map x", "a: !!str [x]", "a: !!map [x]", "a: !!seq {b: c}"])
def test_a_tag_must_fit_its_value(text: str) -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:1:4: YAML tags are not accepted"):
        parse(text)


def test_an_alias_used_twice_is_no_bomb() -> None:
    assert parse("a: &x {b: [1, 2]}\nc: *x\nd: *x").data["d"] == {"b": [1, 2]}


@pytest.mark.parametrize(
    "text",
    [
        f"password: !unknown {CANARY}",
        f"password: *{CANARY}",
        f"password: !{CANARY}!x y",
        f"password: !<{CANARY} y",
        f"a: &{CANARY} b\npassword: &{CANARY} c",
        f"password: !!int {CANARY}",
        f"password: !!bool {CANARY}",
        f"password: !!timestamp {CANARY}",
        f"password: !!float {CANARY}",
        f"password: !!binary '{CANARY}'",
        f"password: '{CANARY}\nx: y",
        f'password: "{CANARY}\\q"',
        f"password: {CANARY}: x",
        f"password: [{CANARY}, {CANARY}",
        f"password: {{{CANARY}: {CANARY}",
        f"password: {CANARY}\npassword: {CANARY}",
        f"{{password:{CANARY}, password:{CANARY}}}",
        f"password: {CANARY}\n\tx: y",
        f"password: {CANARY}\n---\na: b",
        f"password: {CANARY}\x00",
        f"- {CANARY}",
        CANARY,
        f"a: &a [{CANARY}, *a]",
    ],
)
def test_no_value_is_ever_in_a_message(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.data)


@pytest.mark.parametrize("text", ["", "a: 1", "# nothing"])
def test_a_document_knows_its_file(text: str) -> None:
    assert parse(text).file == "f.yaml"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ((), ""),
        (("a",), "a"),
        (("a", "b"), "a.b"),
        (("a", 0), "a[0]"),
        (("a", 0, 1, "b"), "a[0][1].b"),
        (("a b", "c.d"), "a b.c.d"),
    ],
)
def test_a_path_as_a_person_writes_it(path: tuple[Union[int, str], ...], shown: str) -> None:
    assert dotted(path) == shown
    assert Problem("x", path=path).dotted == shown


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("plain_text_passwd", "plain_text_passwd"),
        ("ca-certs.x/y9", "ca-certs.x/y9"),
        (f"password:{CANARY}", "password…"),
        (f"password {CANARY}", "password…"),
        (f"password={CANARY}", "password…"),
        (f"password\n{CANARY}", "password…"),
        ("\x1b[2J", "…"),
        ("größe", "gr…"),
        ("k" * 65, "k" * 64 + "…"),
        ("", ""),
    ],
)
def test_a_key_is_quoted_as_far_as_it_can_be_a_key_only(key: str, shown: str) -> None:
    assert quotable_path(("a", 0, key)) == f"a[0].{shown}"


def test_a_problem_says_its_place() -> None:
    assert str(Problem("is wrong", "f:1:2")) == "f:1:2: is wrong"
    assert str(Problem("f: is wrong")) == "f: is wrong"
