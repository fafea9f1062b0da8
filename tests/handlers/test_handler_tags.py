"""`tags`: names, quoting that shells and systemd read alike, and secrets that are never written."""

from __future__ import annotations

import subprocess
from typing import Any, Callable

import pytest
from kit import Guest
from needs import require

from azurelite.handlers import Context
from azurelite.handlers.tags import Options, apply
from azurelite.metadata import Secret

ENV = "run/azurelite/tags.env"
NASTY = {
    "plain": "web",
    "empty": "",
    "quotes": 'say "hi" it\'s',
    "shell": "$(touch /tmp/owned) `id` ${HOME} $HOME \\ \\n !x",
    "blank": "  two  words  ",
    "line": "one\ntwo\r\nthree\tfour",
    "hash": "# no comment; x=1 & |",
    "unicode": "Grüße 漢字",
    "separator": "a\u2028b",
}


def systemd_reads(text: str) -> dict[str, str]:
    """Parse an `EnvironmentFile=` as systemd.exec(5) describes it, for values in double quotes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition("=")
        assert rest[0] == '"'
        value, letters = "", iter(rest[1:])
        for letter in letters:
            if letter == '"':
                break
            if letter == "\\":
                following = next(letters)
                value += following if following in '"\\`$' else "\\" + following
            else:
                value += letter
        assert next(letters, None) is None, "there is text after the quotes"
        found[name] = value
    return found


@pytest.mark.spawns
@pytest.mark.parametrize("shell", [["sh"], ["bash", "--posix"], ["busybox", "sh"]])
def test_a_shell_and_systemd_read_the_same(guest: Guest, context: Callable[..., Context], shell: list[str]) -> None:
    require(shell[0])
    apply(context(region="westeurope", tags=NASTY), Options(fields=("region",)))
    said = systemd_reads(guest.text(ENV))
    expected = {f"AZURE_TAG_{name.upper()}": value for name, value in NASTY.items()}
    expected["AZURE_TAG_LINE"] = "one two  three four"
    expected["AZURE_TAG_SEPARATOR"] = "a b"
    assert said == {"AZURE_REGION": "westeurope", **expected}
    script = f'. "{guest.path(ENV)}"\n' + "".join(f'printf "%s\\0" "${name}"\n' for name in said)
    done = subprocess.run([*shell, "-uc", script], capture_output=True, check=True, env={"HOME": "/x", "PATH": "/bin"})
    assert done.stdout.decode().split("\0")[:-1] == list(said.values())


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("role", "ROLE"),
        ("Cost-Center", "COST_CENTER"),
        ("a.b:c d", "A_B_C_D"),
        ("9", "9"),
        ("straße", "STRASSE"),
        ("漢", "_"),
    ],
)
def test_a_tags_name_becomes_a_variables(
    guest: Guest, context: Callable[..., Context], notes: list[str], tag: str, name: str
) -> None:
    apply(context(region="r", tags={tag: "x"}), Options(fields=()))
    assert guest.text(ENV) == f'AZURE_TAG_{name}="x"\n'
    assert notes == []


def test_of_two_tags_with_one_name_the_first_is_written_and_both_are_noted(
    guest: Guest, context: Callable[..., Context], notes: list[str]
) -> None:
    apply(context(region="r", tags={"a_b": "2", "a-b": "1", "A.B": "0"}), Options(fields=()))
    assert guest.text(ENV) == 'AZURE_TAG_A_B="0"\n'
    assert notes == [
        "the tags 'A.B' and 'a-b' both become AZURE_TAG_A_B: the second is skipped",
        "the tags 'A.B' and 'a_b' both become AZURE_TAG_A_B: the second is skipped",
    ]


def test_unknown_fields_are_skipped_and_secrets_cannot_be_selected(
    guest: Guest, context: Callable[..., Context]
) -> None:
    known: dict[str, Any] = {"region": "r", "username": "u", "password": Secret("canary"), "custom_data": Secret(b"x")}
    apply(context(**known), Options(path="/etc/vm.env", prefix="VM_", fields=("vm_size", "username", "region")))
    assert guest.text("etc/vm.env") == 'VM_USERNAME="u"\nVM_REGION="r"\n'
    assert guest.mode("etc/vm.env") == 0o644
    assert not {"password", "custom_data", "user_data"} & {field.name for field in Options.FIELDS}


def test_tags_that_changed_are_written_again(guest: Guest, context: Callable[..., Context]) -> None:
    for tags, expected in (({"a": "1"}, 'AZURE_TAG_A="1"\n'), ({"b": "2"}, 'AZURE_TAG_B="2"\n'), (None, "")):
        apply(context(region="r", tags=tags), Options(fields=()))
        assert guest.text(ENV) == expected


@pytest.mark.parametrize(
    "bad", [{"path": "x"}, {"path": "/a/../b"}, {"prefix": "1A"}, {"prefix": ""}, {"prefix": "A-"}]
)
def test_invalid_options_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Options(**bad)  # type: ignore[arg-type]
