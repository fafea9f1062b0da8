"""Documents that others wrote for cloud-init: one odd node costs only itself, and is named with its position."""

# ruff: noqa: E501  # tables

from __future__ import annotations

from typing import Any

import pytest

from azurelite.config.document import KeyPath, Place, parse_document
from azurelite.config.schema import ODD
from azurelite.errors import ConfigError
from azurelite.metadata import Secret
from azurelite.userdata.lenient import parse_leniently
from azurelite.userdata.parts import Part
from azurelite.userdata.reading import read
from azurelite.userdata.steps import HandlerStep, ScriptStep
from azurelite.userdata.translate import Translation


def parse(text: str) -> tuple[dict[str, Any], list[tuple[str, str, bool]]]:
    told: list[tuple[str, str, bool]] = []

    def report(place: Place, _: KeyPath, text: str, lost: bool) -> None:
        told.append((str(place), text.partition(":")[0], lost))

    return parse_leniently(text.encode(), file="f", report=report).data, told


READ: list[tuple[str, dict[str, Any]]] = [
    ("00: a\n01: b", {"00": "a", "01": "b"}),
    ("on: x\noff: y", {"on": "x", "off": "y"}),
    ("~: x\nnull: y", {"~": "x", "null": "y"}),
    ("1.5: x\n2030-01-02: y\n0x1f: z", {"1.5": "x", "2030-01-02": "y", "0x1f": "z"}),
    ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
    ("a: &a {x: 1}\nb: {y: 3, x: 4, <<: *a}", {"a": {"x": 1}, "b": {"x": 4, "y": 3}}),
    ("a: {<<: [{x: 1}, {x: 2, y: 2}]}", {"a": {"x": 1, "y": 2}}),
    ("a: {<<: {<<: {x: 1}, y: 2}}", {"a": {"x": 1, "y": 2}}),
    ("a: !!binary aGVsbG8=", {"a": "hello"}),
    ("a: !!binary |\n  /w\n  ==\n", {"a": Secret(b"\xff")}),
    ("a: !!binary |\n  aGVs\n  ....\n  bG8=\n", {"a": "hello"}),
    ("a: !!set {x, y}", {"a": {"x": None, "y": None}}),
    ("a: !!omap [x: 1]", {"a": [{"x": 1}]}),
    ("a: !!pairs [x: 1]", {"a": [{"x": 1}]}),
    ("a: !!str 5\nb: !!int '5'\nc: ! 'x'", {"a": "5", "b": 5, "c": "x"}),
    ("a: !!python/unicode x", {"a": "x"}),
    ("a: [b, =, c]\nd: <<", {"a": ["b", "=", "c"], "d": "<<"}),
    ("a: 2030-02-31", {"a": "2030-02-31"}),
    ("a: !!int many", {"a": "many"}),
]


@pytest.mark.parametrize(("text", "expected"), READ, ids=[text[:30] for text, _ in READ])
def test_what_our_own_yaml_refuses_is_read(text: str, expected: dict[str, Any]) -> None:
    assert parse(text) == (expected, [])


SKIPPED: list[tuple[str, dict[str, Any], tuple[str, str, bool]]] = [
    ("a: !Ref x\nb: 1", {"a": ODD, "b": 1}, ("f:1:4", "its YAML tag is unknown", True)),
    ("a: [1, !foo {x: y}, 2]", {"a": [1, ODD, 2]}, ("f:1:8", "its YAML tag is unknown", True)),
    ("a: !!python/object/apply:os.system [ls]", {"a": ODD}, ("f:1:4", "its YAML tag is unknown", True)),
    ("a: !!binary abc\nb: 1", {"a": ODD, "b": 1}, ("f:1:4", "`!!binary` needs base64", True)),
    ("? [x, y]\n: 1\nb: 1", {"b": 1}, ("f:1:3", "a key that is no text", True)),
    ("{? {x: y} : 1, b: 1}", {"b": 1}, ("f:1:4", "a key that is no text", True)),
    ("a: {<<: 5, x: 1}", {"a": {"x": 1}}, ("f:1:9", "`<<` needs a mapping", True)),
    ("a: {<<: [{y: 2}, 5], x: 1}", {"a": {"x": 1, "y": 2}}, ("f:1:18", "`<<` needs a mapping", True)),
    ("a: &a [1, *a]\nb: 1", {"a": [1, ODD], "b": 1}, ("f:1:4", "it contains itself", True)),
    ("a: &a {x: {y: *a}}\nb: 1", {"a": {"x": {"y": ODD}}, "b": 1}, ("f:1:4", "it contains itself", True)),
    ("a: &a {<<: *a, x: 1}", {"a": {"x": 1}}, ("f:1:4", "it contains itself", True)),
    ("a: *x\nb: 1", {"a": ODD, "b": 1}, ("f:1:4", "its YAML alias (`*`) has no anchor", True)),
    (
        "ä: é\na: [1, *x, 2]\nb: &x 1",
        {"ä": "é", "a": [1, ODD, 2], "b": 1},
        ("f:2:8", "its YAML alias (`*`) has no anchor", True),
    ),
    ("a: {<<: *x, y: 1}", {"a": {"y": 1}}, ("f:1:9", "its YAML alias (`*`) has no anchor", True)),
    ("*x : 1\nb: 1", {"b": 1}, ("f:1:1", "a key that is no text", True)),
    ("!foo a: 1\nb: 1", {"b": 1}, ("f:1:1", "a key that is no text", True)),
    ("a: 1\nb: 2\na: 3", {"a": 3, "b": 2}, ("f:3:1", "an earlier `a`", False)),
]


@pytest.mark.parametrize(("text", "expected", "said"), SKIPPED, ids=[text[:30] for text, _, _ in SKIPPED])
def test_what_cannot_be_read_costs_only_itself(
    text: str, expected: dict[str, Any], said: tuple[str, str, bool]
) -> None:
    data, told = parse(text)
    assert data == expected
    assert told == [said]


@pytest.mark.parametrize("text", ["[a]", "x", "!foo {a: b}", "a: [", "a: b\n---\nc: d", f"a: {'[' * 60}{']' * 60}"])
def test_a_document_that_is_no_yaml_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^f:\d+:\d+: "):
        parse(text)


def test_aliases_do_not_make_a_small_document_huge() -> None:
    bomb = "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 9))
    with pytest.raises(ConfigError, match="too large"):
        parse(bomb)
    merges = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 8)}]}}\n" for i in range(1, 9)
    )
    with pytest.raises(ConfigError, match="too large"):
        parse(merges)


@pytest.mark.parametrize("text", [text for text, _ in READ[:8]] + [text for text, _, _ in SKIPPED])
def test_our_own_yaml_stays_strict(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_document(text.encode(), file="f")


# Text -> the handlers and scripts that remain, the problems, and what is listed as skipped.
DOCUMENTS: list[tuple[str, list[str], list[str], list[str]]] = [
    ("snap: {commands: {00: snap install x, 01: snap list}}\nruncmd: [ls]", ["runcmd"], [], ["`snap` (user_data:2:1)"]),
    ("unknown: {on: x, off: y}\nruncmd: [ls]", ["runcmd"], [], ["`unknown` (user_data:2:1)"]),
    ("other: !Ref x\nruncmd: [ls]", ["runcmd"], [], ["`other` (user_data:2:8, its YAML tag is unknown", "`other` (user_data:2:1)"]),
    ("<<: 5\nruncmd: [ls]", ["runcmd"], [], ["`<<` (user_data:2:5, `<<` needs a mapping"]),
    ("hostname: !Ref x\nruncmd: [ls]", ["runcmd"], ["user_data:2:11: `hostname`: its YAML tag is unknown: remove the tag"], []),
    ("runcmd: [ls, [echo, !x y, z], id]", ["runcmd"], ["user_data:2:21: `runcmd[1][1]`: its YAML tag is unknown"], []),
    ("users: [{name: a, gecos: !x y}]", ["users"], ["user_data:2:26: `users[0].gecos`: its YAML tag is unknown"], []),
    ("write_files: [{path: /a, permissions: !x y}, {path: /b}]", ["write_files"], ["`write_files[0].permissions`: its YAML tag"], []),
    ("x: &x {shell: /bin/sh}\nusers: [{<<: *x, name: a}, {<<: *x, name: b}]", ["users"], [], ["`x` (user_data:2:1)"]),
    ("x: &x !y z\nlocale: *x\ntimezone: *x\nruncmd: [ls]", ["runcmd"], ["user_data:2:4: `locale`: its", "user_data:2:4: `timezone`: its"], ["`x` (user_data:2:4", "`x` (user_data:2:1)"]),
    ("power_state: {mode: reboot, condition: !x y}", [], ["`power_state.condition`: its YAML tag"], []),
    ("mounts: [[/dev/sdb, /b], [/dev/sdc, {}], [/dev/sdd, /d]]", ["mounts", "mounts"], ["user_data:2:37: `mounts[1][1]` must be"], []),
    ("packages: [git, no, [a, 1.5], vim]", ["packages"], ["user_data:2:17: `packages[1]` must", "`packages[2][1]` must be text: put it in quotes"], []),
    ("ssh_authorized_keys: [one, 5, two]", ["ssh_keys"], ["user_data:2:28: `ssh_authorized_keys[1]` must be text"], []),
    ("ntp: {servers: [a, {}], pools: 5}", ["time_sync"], ["`ntp.servers[1]` must be text", "`ntp.pools` must be a list"], []),
    ("chpasswd: {expire: perhaps, users: [{name: a, type: RANDOM}, {type: RANDOM}]}", ["passwords"], ["`chpasswd.expire` must be true or false", "`chpasswd.users[1]`: `name` is missing"], []),
    ("users: [{name: a, uid: [5], system: maybe}, b]", ["users"], ["`users[0].uid` must be", "`users[0].system` must be"], []),
    ("groups: [a, 5, {b: [c, 6]}]", ["users"], ["`groups[1]` must be", "`groups[2].b[1]` must be"], []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "done", "problems", "skipped"), DOCUMENTS, ids=[case[0][:40] for case in DOCUMENTS])
def test_one_odd_value_does_not_stop_the_rest(
    text: str, done: list[str], problems: list[str], skipped: list[str]
) -> None:
    reading = read([Part("part-001", "cloud-config", f"#cloud-config\n{text}\n".encode())], label="user_data")
    translation = Translation(reading, administrator="azureuser")
    steps = translation.steps()
    names = [step.handler if isinstance(step, HandlerStep) else getattr(step, "name", "") for step in steps]
    assert names == done
    for found, expected in (
        ([*reading.problems, *translation.problems], problems),
        ([*reading.unknown, *translation.left_out], skipped),
    ):
        assert len(found) == len(expected), found
        for said, words in zip(found, expected):
            assert words in said


def test_what_is_left_of_a_list_keeps_its_positions_in_messages() -> None:
    text = (
        b"#cloud-config\nusers: [5, {name: a}, {uid: 1}]\nwrite_files: [5, {path: /a}]\nmounts: [5, [ephemeral0, /m]]\n"
    )
    reading = read([Part("part-001", "cloud-config", text)], label="user_data")
    translation = Translation(reading, administrator="azureuser")
    files, people = (step for step in translation.steps() if isinstance(step, HandlerStep))
    assert str(files.places["files", 0]) == "user_data:3:18"
    assert str(people.places["accounts", 0]) == "user_data:2:12"
    assert translation.problems == ["user_data:2:23: `users[2]`: `name` is missing"]
    assert translation.left_out == [
        "`mounts[1]` (user_data:4:13, use the handler resource_disk for the temporary disk)"
    ]


def test_a_command_with_an_odd_word_is_not_run_at_all() -> None:
    reading = read([Part("p", "cloud-config", b"runcmd: [[rm, -r, !x y], ls, [test, a, =, b]]\n")], label="u")
    (script,) = Translation(reading, administrator=None).steps()
    assert isinstance(script, ScriptStep)
    assert script.data == b"#!/bin/sh\nls\n'test' 'a' '=' 'b'\n"


def test_of_very_many_mistakes_the_number_is_named() -> None:
    reading = read([Part("p", "cloud-config", f"packages: [{'no, ' * 250}git]\n".encode())], label="u")
    assert reading.config.packages == ("git",)
    assert len(reading.problems) == 101
    assert reading.problems[-1] == "u: and 150 more mistakes"


def test_the_root_folder_as_a_home_holds_no_file_back() -> None:
    text = b"users: [{name: a, homedir: /}, {name: b}]\nwrite_files: [{path: /etc/x}, {path: /home/b/y}, {path: /home/bc/z}]\n"
    steps = Translation(read([Part("p", "cloud-config", text)], label="u"), administrator=None).steps()
    done = [
        step.options["files"][0]["path"] if step.handler == "write_files" else step.handler
        for step in steps
        if isinstance(step, HandlerStep)
    ]
    assert done == ["/etc/x", "/home/bc/z", "users", "/home/b/y"]


def test_a_random_password_that_is_refused_leaves_the_account_locked() -> None:
    text = b"users: [{name: a, plain_text_passwd: x}]\nchpasswd: {users: [{name: a, type: RANDOM}]}\n"
    users, _ = Translation(read([Part("p", "cloud-config", text)], label="u"), administrator=None).steps()
    assert isinstance(users, HandlerStep)
    assert users.options["accounts"][0]["lock_password"] == "new"


@pytest.mark.parametrize(
    ("packages", "owner", "first"),
    [
        ("[nginx]", "www-data", False),
        ("[nginx]", "www-data:adm", False),
        ("[nginx]", "daemon", True),
        ("[nginx]", "root:nginx", True),
        ("[nginx]", "33:33", True),
        ("[nginx]", ":adm", True),
        ("[]", "www-data", True),
    ],
)
def test_a_file_whose_owner_may_come_with_a_package_is_written_after_the_packages(
    packages: str, owner: str, first: bool
) -> None:
    text = f"packages: {packages}\nhostname: x\nwrite_files: [{{path: /x, owner: '{owner}'}}, {{path: /y}}]\n"
    reading = read([Part("p", "cloud-config", text.encode())], label="u")
    steps = Translation(reading, administrator=None, exists=lambda name: name == "daemon").steps()
    done = [
        step.options["files"][0]["path"] if step.handler == "write_files" else step.handler
        for step in steps
        if isinstance(step, HandlerStep)
    ]
    middle = ["hostname", "packages"] if packages != "[]" else ["hostname"]
    assert done == (["/x", "/y", *middle] if first else ["/y", *middle, "/x"])
