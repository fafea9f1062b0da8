"""`ssh_keys`: keys are added once and never taken away, one bad key costs no other, and no link is followed."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from typing import Callable

import pytest
from kit import BASE, ED25519, Guest

from azurelite.errors import FileError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.ssh_keys import Options, apply
from azurelite.metadata import SshKey

Make = Callable[..., Context]
FILE = "home/azure/.ssh/authorized_keys"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDCmb8xyoiG4YUEKLM5+2ujI1XQbBKWjZR/"
    "ECJC7Gh5oy8W6h0VX88YOrbIsOy1szmZ1bk/g3l4cU8FLSokepoE="
)


def key(number: int) -> str:
    """A well-formed ed25519 key."""
    data = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + number.to_bytes(32, "big")
    return f"ssh-ed25519 {base64.b64encode(data).decode()} key{number}"


def given(*texts: str) -> dict[str, object]:
    return {"username": "azure", "public_ssh_keys": tuple(SshKey(text) for text in texts)}


@pytest.fixture
def home(guest: Guest) -> Guest:
    """The guest with an account `azure` that belongs to whoever runs the tests, as its files do."""
    number = os.geteuid() or 1500
    guest.put({"etc/passwd": BASE["etc/passwd"] + f"azure:x:{number}:{number}::/home/azure:/bin/sh\n"})
    guest.put({"etc/login.defs": "UID_MIN 1\n", "home/azure/.profile": ""})
    for path in ("home/azure", "home/azure/.profile"):
        os.chown(guest.path(path), number, number if os.geteuid() == 0 else -1)
    return guest


@pytest.mark.parametrize("count", [1, 2, 20])
def test_every_key_lands_in_its_order(home: Guest, context: Make, notes: list[str], count: int) -> None:
    apply(context(**given(*map(key, range(count)))), Options())
    assert home.text(FILE) == "".join(f"{key(number)}\n" for number in range(count))
    assert (home.mode("home/azure/.ssh"), home.mode(FILE), notes) == (0o700, 0o600, [])
    for path in ("home/azure/.ssh", FILE):
        status = home.path(path).stat()
        assert status.st_uid == (os.geteuid() or 1500)


def test_no_key_at_all_harms_no_file(home: Guest, context: Make) -> None:
    home.put({FILE: "mine\n"})
    with pytest.raises(HandlerError, match="nobody could enter"):
        apply(context(**given()), Options())
    assert home.text(FILE) == "mine\n"


@pytest.mark.parametrize(
    "existing",
    [
        f"{ED25519}\n",
        f"{ED25519}",
        f"{ED25519} another comment\n",
        f"  {ED25519}\n",
        f"no-pty {ED25519}\n",
        f'command="/bin/echo hello",no-pty {ED25519} x\n',
        f"# a comment\n\n{key(1)}\n{ED25519}\n",
        f"{ED25519}\r\n",
    ],
)
def test_a_key_that_is_there_is_not_added_again(home: Guest, context: Make, existing: str) -> None:
    home.path("home/azure/.ssh").mkdir()
    home.path(FILE).write_bytes(existing.encode())
    apply(context(**given(ED25519, f"{ED25519} new comment")), Options())
    assert home.path(FILE).read_bytes().rstrip(b"\n") == existing.encode().rstrip(b"\n")


@pytest.mark.parametrize(
    "existing",
    [
        b"",
        b"mine\n",
        b"mine",
        b"# only a comment",
        b"\xff\xfe not UTF-8\n\n  \n",
        key(1).encode(),
        key(1).encode() + b"\r\n",
        ED25519[:-4].encode() + b"\n",
        b"# " + ED25519.encode() + b"\n",
        b"  #" + ED25519.encode() + b"\n",
        b"# off: " + ED25519.encode() + b"\n",
        b"\n\n",
    ],
)
def test_other_lines_are_kept_and_the_key_has_a_line_of_its_own(home: Guest, context: Make, existing: bytes) -> None:
    home.path("home/azure/.ssh").mkdir()
    home.path(FILE).write_bytes(existing)
    apply(context(**given(ED25519)), Options())
    after = home.path(FILE).read_bytes()
    assert after.startswith(existing)
    added = after[len(existing) :]
    assert added in ({f"{ED25519}\n".encode(), f"\n{ED25519}\n".encode()})
    assert f"\n{ED25519}\n".encode() in b"\n" + after


def test_duplicates_land_once(home: Guest, context: Make) -> None:
    apply(context(**given(f"{ED25519} a", ED25519, f"{ED25519} b\r\n", key(1))), Options())
    assert home.text(FILE) == f"{ED25519} a\n{key(1)}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{ED25519[:50]}\r\n{ED25519[50:]}", ED25519),
        (f"{ED25519[:50]} {ED25519[50:]} me", f"{ED25519} me"),
        (f"{ED25519}\n", ED25519),
        (f"{ED25519} me\r\n", f"{ED25519} me"),
        (f"{ED25519} me\nssh-rsa AAAA evil", f"{ED25519} me ssh-rsa AAAA evil"),
        (f'{ED25519} me\r\n{key(1)}\r\ncommand="x" {key(2)}', f'{ED25519} me {key(1)} command="x" {key(2)}'),
        (f"{ED25519} a\x0bb\x0cc\x85d\u2028e\x1cf", f"{ED25519} a b c d e f"),
        (f"{ED25519} a\0b", f"{ED25519} ab"),
    ],
)
def test_a_line_break_never_makes_a_second_line(home: Guest, context: Make, text: str, line: str) -> None:
    apply(context(**given(text)), Options())
    assert home.text(FILE) == f"{line}\n"


BAD = {
    "ssh-dss AAAAB3NzaC1kc3MAAACBA": "DSA keys are refused by today's sshd: make an ed25519 or RSA key",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQ": "its base64 part is damaged or cut off",
    "nonsense": "it does not begin with a type of OpenSSH public keys",
    "": "it does not begin with a type of OpenSSH public keys",
    f"no-pty {ED25519}": "it does not begin with a type of OpenSSH public keys",
}


@pytest.mark.parametrize(("bad", "why"), BAD.items())
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_key_is_skipped_and_named_and_the_others_land(
    home: Guest, context: Make, notes: list[str], bad: str, why: str, place: int
) -> None:
    texts = [ED25519, ECDSA]
    texts.insert(place, bad)
    apply(context(**given(*texts)), Options())
    assert home.text(FILE) == f"{ED25519}\n{ECDSA}\n"
    assert notes == [f"SSH key {place + 1} of 3 is skipped: {why}"]


def test_only_bad_keys_are_an_error_and_change_nothing(home: Guest, context: Make) -> None:
    before = home.snapshot()
    with pytest.raises(HandlerError, match=r"SSH key 1 of 2 is skipped: .*; SSH key 2 of 2 is skipped: ") as caught:
        apply(context(**given("nonsense", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQ")), Options())
    assert (caught.value.reason, caught.value.data) == ("failed to provision ssh keys", {"error": "no usable key"})
    assert "AAAAB3" not in caught.value.message
    assert home.snapshot() == before


def test_without_the_account_it_is_an_error(guest: Guest, context: Make) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="there is no account azure to give keys to") as caught:
        apply(context(**given(ED25519)), Options())
    assert caught.value.reason == "failed to provision ssh keys"
    assert guest.snapshot() == before


@pytest.mark.parametrize("name", ["root", "daemon", "nobody"])
def test_an_account_of_the_system_gets_no_key(guest: Guest, context: Make, name: str) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="it belongs to an account of the system"):
        apply(context(username=name, public_ssh_keys=(SshKey(ED25519),)), Options())
    assert guest.snapshot() == before


@pytest.mark.parametrize(
    ("at", "target"),
    [
        ("home/azure/.ssh", "/root/.ssh"),
        ("home/azure/.ssh", "../../root/.ssh"),
        ("home/azure/.ssh", "/nowhere"),
        (FILE, "/root/.ssh/authorized_keys"),
        (FILE, "../../../etc/shadow"),
        (FILE, "/nowhere"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_link_below_the_home_is_refused_and_its_target_untouched(
    home: Guest, context: Make, at: str, target: str, dry_run: bool
) -> None:
    home.put({"root/.ssh/authorized_keys": "root's\n"})
    if at == FILE:
        home.path("home/azure/.ssh").mkdir(mode=0o700)
        os.chown(home.path("home/azure/.ssh"), os.geteuid() or 1500, -1 if os.geteuid() else 1500)
    home.path(at).symlink_to(target)
    before = home.snapshot()
    with pytest.raises(FileError, match="symbolic link"):
        apply(context(dry_run=dry_run, **given(ED25519)), Options())
    assert home.snapshot() == before


def test_a_home_that_is_a_link_is_refused(home: Guest, context: Make) -> None:
    home.put({"root/.ssh/authorized_keys": "root's\n"})
    shutil.rmtree(home.path("home/azure"))
    home.path("home/azure").symlink_to("/root")
    before = home.snapshot()
    with pytest.raises(FileError, match="symbolic link"):
        apply(context(**given(ED25519)), Options())
    assert home.snapshot() == before


def test_a_home_reached_through_a_link_of_the_systems_is_fine(home: Guest, context: Make) -> None:
    home.path("home").rename(home.path("var/home"))
    home.path("home").symlink_to("/var/home")
    apply(context(**given(ED25519)), Options())
    assert home.text("var/home/azure/.ssh/authorized_keys") == f"{ED25519}\n"


def test_rights_that_are_too_wide_for_sshd_are_narrowed(home: Guest, context: Make) -> None:
    home.put({FILE: f"{ED25519}\n"})
    home.path("home/azure/.ssh").chmod(0o777)
    home.path(FILE).chmod(0o666)
    apply(context(**given(ED25519)), Options())
    assert (home.mode("home/azure/.ssh"), home.mode(FILE)) == (0o700, 0o600)


def test_other_files_of_the_folder_are_not_touched(home: Guest, context: Make) -> None:
    home.put({"home/azure/.ssh/id_rsa": "private", "home/azure/.ssh/config": "x"})
    apply(context(**given(ED25519)), Options())
    assert sorted(os.listdir(home.path("home/azure/.ssh"))) == ["authorized_keys", "config", "id_rsa"]


@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_openssh_reads_what_is_written(home: Guest, context: Make) -> None:
    apply(context(**given(*map(key, range(5)), ECDSA)), Options())
    argv = ["ssh-keygen", "-l", "-f", str(home.path(FILE))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert len(re.findall("SHA256:", done.stdout)) == 6
