"""Several keys in one text, and options before a key: who may give them, and what becomes of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from kit import BASE, ED25519, Guest
from needs import needs

from azurelite.datasource.imds import parse_imds
from azurelite.handlers import Context, ssh_keys, user, users
from azurelite.handlers.support.entries import Account
from azurelite.handlers.support.login import administrators_login
from azurelite.metadata import SshKey

Make = Callable[..., Context]
FILE = "home/azure/.ssh/authorized_keys"
BARE = " ".join(ED25519.split()[:2])
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAC"
FROM = 'from="10.0.0.0/8,*.corp"'

TEXTS = {
    "one": (f"{BARE} me", [f"{BARE} me"]),
    "two": (f"{BARE} me\n{OTHER} you", [f"{BARE} me", f"{OTHER} you"]),
    "two with CRLF": (f"{BARE} me\r\n{OTHER}\r\n", [f"{BARE} me", OTHER]),
    "an empty line between": (f"{BARE}\n\n  {OTHER}", [BARE, OTHER]),
    "broken by the portal": (f"{BARE[:40]}\r\n{BARE[40:]} me\r\n{OTHER[:60]}\r\n{OTHER[60:]}", [f"{BARE} me", OTHER]),
    "comment lines": (f"# mine\n{BARE}\n# yours\n{OTHER}", [BARE, OTHER]),
    "a type in the comment": (f"{BARE} my ssh-rsa key", [f"{BARE} my ssh-rsa key"]),
    "a bad one first": (f"ssh-rsa AAAA\n{OTHER}", [None, OTHER]),
    "a bad one last": (f"{BARE}\nssh-rsa AAAA", [BARE, None]),
    "DSA between": (f"{BARE}\nssh-dss AAAA x\n{OTHER}", [BARE, None, OTHER]),
    "with options after": (f"{BARE}\n{FROM} {OTHER}", [BARE, None]),
    "nonsense": ("no\nkey", [None]),
    "nothing": ("# only this", [None]),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=list(TEXTS))
def test_each_line_with_a_key_type_is_a_key(text: str, expected: list[object]) -> None:
    keys = SshKey.read_all(text)
    assert [key.key.line if key.key is not None else None for key in keys] == expected
    assert all(key.problem for key in keys if key.key is None)
    compute = {"compute": {"publicKeys": [{"keyData": text, "path": "/x"}]}}

    found = parse_imds(json.dumps(compute).encode()).public_ssh_keys
    assert found == tuple(SshKey.read_all(text, "/x"))


OPTIONS = {
    FROM: "",
    "restrict": "",
    'command="/bin/true \\"x y\\"",no-pty': "",
    'environment="A=b c",no-agent-forwarding': "",
    'RESTRICT,pty,expiry-time="20300101"': "",
    "cert-authority": "",
    "nonsense": "sshd does not know its option `nonsense`",
    "from": "its option `from` has no value",
    "restrict,command": "its option `command` has no value",
    'from="10.0.0.1': "it does not begin with the type",
}


@pytest.mark.parametrize(("options", "why"), OPTIONS.items())
def test_options_are_for_those_who_own_the_image(options: str, why: str) -> None:
    (own,) = SshKey.read_all(f"{options} {BARE} me", with_options=True)
    (foreign,) = SshKey.read_all(f"{options} {BARE} me")
    assert foreign.key is None
    if why:
        assert (own.key, why in own.problem) == (None, True)
    else:
        assert own.key is not None
        assert own.key.line == f"{options} {BARE} me"
        assert "accepted only from the configuration and from cloud-config" in foreign.problem


@needs("ssh-keygen")
@pytest.mark.spawns
def test_openssh_reads_what_is_accepted(tmp_path: Path) -> None:
    accepted = [options for options, why in OPTIONS.items() if why == ""]
    (tmp_path / "keys").write_text("".join(f"{options} {BARE}\n" for options in accepted))
    done = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "keys"], capture_output=True, text=True, check=False)
    assert done.stdout.count("SHA256:") == len(accepted)


@pytest.mark.parametrize("by", ["ssh_keys", "users"])
@pytest.mark.parametrize(
    ("before", "after", "noted"),
    [
        ("", f"{FROM} {BARE} me\n", False),
        (f"{FROM} {BARE} other words\n", f"{FROM} {BARE} other words\n", False),
        (f"restrict {BARE}\n", f"restrict {BARE}\n{FROM} {BARE} me\n", False),
        (f"{OTHER}\n", f"{OTHER}\n{FROM} {BARE} me\n", False),
        (f"{BARE}\n", f"{BARE}\n", True),
    ],
)
def test_a_key_with_options_is_installed_with_them(
    guest: Guest, context: Make, notes: list[str], by: str, before: str, after: str, noted: bool
) -> None:
    user.apply(context(username="azure"), user.Options(sudo="none"))
    guest.put({FILE: before, "etc/login.defs": "UID_MIN 1000\n"})
    given = (f"{FROM} {BARE} me",)
    for _ in range(2):
        notes.clear()
        ctx = context(username="azure")
        if by == "users":
            account = Account(name="azure", ssh_authorized_keys=given, sudo="none")
            users.apply(ctx, users.Options(accounts=(account,)))
        else:
            ssh_keys.apply(ctx, ssh_keys.Options(keys=given))
        assert guest.text(FILE) == after
        assert ["without the options" in note for note in notes] == [True] * noted
    assert len(ctx.system.journal) == 0


def test_options_from_azure_are_named_and_the_other_keys_installed(
    guest: Guest, context: Make, notes: list[str]
) -> None:
    guest.put({"etc/passwd": BASE["etc/passwd"]})
    keys = SshKey.read_all(f"{OTHER}\n{FROM} {BARE}")
    user.apply(context(username="azure"), user.Options(sudo="none"))
    ssh_keys.apply(context(username="azure", public_ssh_keys=keys), ssh_keys.Options())
    assert guest.text(FILE) == f"{OTHER}\n"
    (note,) = notes
    assert note.startswith("SSH key 2 of 2 skipped: options before a key are accepted only from")


@pytest.mark.parametrize(("options", "state"), [(FROM, "doubt"), ("restrict", "doubt"), ("no-pty", "fine")])
def test_a_key_with_options_is_no_certain_refusal(guest: Guest, context: Make, options: str, state: str) -> None:
    user.apply(context(username="azure"), user.Options(sudo="none"))
    guest.put({"usr/sbin/sshd": "", "etc/ssh/sshd_config": "", "bin/sh": ""})
    for program in ("usr/sbin/sshd", "bin/sh"):
        guest.path(program).chmod(0o755)
    given = (f"{options} {BARE}",)
    ctx = context(username="azure")
    ssh_keys.apply(ctx, ssh_keys.Options(keys=given))
    verdict = administrators_login(ctx, given)
    assert verdict is not None
    assert (verdict.state, "`from=`" in verdict.reason) == (state, state == "doubt"), verdict.reason
