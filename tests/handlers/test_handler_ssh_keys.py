"""`ssh_keys`: keys are added once and never removed, an invalid key stops no other, and no link is followed."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from typing import Callable

import pytest
from kit import BASE, ED25519, Guest

from azurelite.errors import AzureliteError, FileError, HandlerError, MachineError
from azurelite.handlers import Context, user
from azurelite.handlers.ssh_keys import Options, apply
from azurelite.metadata import Secret, SshKey

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
    return {"username": "azure", "public_ssh_keys": tuple(SshKey.read(text) for text in texts)}


@pytest.fixture
def home(guest: Guest) -> Guest:
    """The guest with an account `azure` with the uid of the user who runs the tests, who also owns its files."""
    number = os.geteuid() or 1500
    guest.put({"etc/passwd": BASE["etc/passwd"] + f"azure:x:{number}:{number}::/home/azure:/bin/sh\n"})
    guest.put({"etc/login.defs": "UID_MIN 1\n", "home/azure/.profile": ""})
    for path in ("home/azure", "home/azure/.profile"):
        os.chown(guest.path(path), number, number if os.geteuid() == 0 else -1)
    return guest


@pytest.mark.parametrize("count", [1, 2, 20])
def test_keys_are_written_in_their_order(home: Guest, context: Make, notes: list[str], count: int) -> None:
    apply(context(**given(*map(key, range(count)))), Options())
    assert home.text(FILE) == "".join(f"{key(number)}\n" for number in range(count))
    assert (home.mode("home/azure/.ssh"), home.mode(FILE), notes) == (0o700, 0o600, [])
    for path in ("home/azure/.ssh", FILE):
        status = home.path(path).stat()
        assert status.st_uid == (os.geteuid() or 1500)


def test_without_any_key_the_file_is_not_changed(home: Guest, context: Make) -> None:
    home.put({FILE: "mine\n"})
    with pytest.raises(HandlerError, match="nobody could log in"):
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
        f"# a comment\n\n{key(1)}\n{ED25519}\n",
        f"{ED25519}\r\n",
    ],
)
def test_an_existing_key_is_not_added_again(home: Guest, context: Make, existing: str) -> None:
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


@pytest.mark.parametrize(
    "line",
    [f'command="/bin/false",restrict {ED25519}', f'from="10.0.0.0/8" {ED25519}', f"restrict {ED25519} x"],
)
def test_a_key_with_restricting_options_is_added_before_that_line(
    home: Guest, context: Make, notes: list[str], line: str
) -> None:
    home.put({FILE: f"# mine\n{line}\n"})
    told = []
    for dry_run in (True, False):
        ctx = context(dry_run=dry_run, **given(ED25519, key(1), ED25519))
        apply(ctx, Options())
        told.append((ctx.system.journal.since(0), notes[:]))
        notes.clear()
    assert home.text(FILE) == f"{ED25519}\n# mine\n{line}\n{key(1)}\n"
    assert told[0] == told[1]
    assert len(told[0][1]) == 1
    assert "/home/azure/.ssh/authorized_keys has a key with options that prevent a shell" in told[0][1][0]
    again = context(**given(ED25519))
    apply(again, Options())
    assert (len(again.system.journal), notes) == (0, [])


def test_an_openssh_certificate_is_skipped(home: Guest, context: Make, notes: list[str]) -> None:
    """Such certificates are made by `ssh-keygen -s ca -I x -n azure key.pub`."""
    fields = [b"ssh-ed25519-cert-v01@openssh.com", b"n" * 32, b"k" * 32]
    tail = [b"", b"", b"\0" * 16, b"", b"", b"", b"authority", b"signature"]  # the validity has no length field
    pack = [len(field).to_bytes(4, "big") + field for field in fields]
    pack += [b"\0" * 8, b"\0\0\0\1", *(f if len(f) == 16 else len(f).to_bytes(4, "big") + f for f in tail)]
    certificate = f"{fields[0].decode()} {base64.b64encode(b''.join(pack)).decode()}"
    apply(context(**given(certificate, ED25519)), Options())
    assert home.text(FILE) == f"{ED25519}\n"
    assert notes == [
        "SSH key 1 of 2 skipped: an OpenSSH certificate does not work in authorized_keys: give the public key itself"
    ]


def test_duplicate_keys_are_added_once(home: Guest, context: Make) -> None:
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
    "ssh-dss AAAAB3NzaC1kc3MAAACBA": "sshd no longer supports DSA keys: make an ed25519 or RSA key",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQ": "its base64 part is damaged or cut off",
    "nonsense": "it does not begin with the type of an OpenSSH public key",
    "": "it does not begin with the type of an OpenSSH public key",
    f"no-pty {ED25519}": "options before a key are accepted only from the configuration and from cloud-config",
}


@pytest.mark.parametrize(("bad", "why"), BAD.items())
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_key_is_skipped_and_noted_and_the_others_are_installed(
    home: Guest, context: Make, notes: list[str], bad: str, why: str, place: int
) -> None:
    texts = [ED25519, ECDSA]
    texts.insert(place, bad)
    apply(context(**given(*texts)), Options())
    assert home.text(FILE) == f"{ED25519}\n{ECDSA}\n"
    assert notes == [f"SSH key {place + 1} of 3 skipped: {why}"]


def test_only_bad_keys_are_an_error_and_change_nothing(home: Guest, context: Make) -> None:
    before = home.snapshot()
    with pytest.raises(HandlerError, match=r"SSH key 1 of 2 skipped: .*; SSH key 2 of 2 skipped: ") as caught:
        apply(context(**given("nonsense", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQ")), Options())
    assert (caught.value.reason, caught.value.data) == ("failed to provision ssh keys", {"error": "no usable key"})
    assert "AAAAB3" not in caught.value.message
    assert home.snapshot() == before


def test_without_the_account_it_is_an_error(guest: Guest, context: Make) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="the account azure does not exist") as caught:
        apply(context(**given(ED25519)), Options())
    assert caught.value.reason == "failed to provision ssh keys"
    assert guest.snapshot() == before


@pytest.mark.parametrize("name", ["root", "daemon", "nobody"])
def test_a_system_account_gets_no_key(guest: Guest, context: Make, name: str) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="it is the name of a system account"):
        apply(context(username=name, public_ssh_keys=(SshKey.read(ED25519),)), Options())
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


def test_a_link_above_the_home_is_followed(home: Guest, context: Make) -> None:
    home.path("home").rename(home.path("var/home"))
    home.path("home").symlink_to("/var/home")
    apply(context(**given(ED25519)), Options())
    assert home.text("var/home/azure/.ssh/authorized_keys") == f"{ED25519}\n"


def test_permissions_that_sshd_rejects_are_restricted(home: Guest, context: Make) -> None:
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
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen: install openssh-client")
def test_openssh_reads_what_is_written(home: Guest, context: Make) -> None:
    apply(context(**given(*map(key, range(5)), ECDSA)), Options())
    argv = ["ssh-keygen", "-l", "-f", str(home.path(FILE))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert len(re.findall("SHA256:", done.stdout)) == 6


CONFIG = "etc/ssh/sshd_config"
ROOTS_OWN = "/etc/ssh/authorized_keys.d/azure"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ("", f"/{FILE}"),
        ("AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2\n", f"/{FILE}"),
        ("AuthorizedKeysFile %h/.ssh/authorized_keys\n", f"/{FILE}"),
        ("AuthorizedKeysFile .ssh/../.ssh/./authorized_keys\n", f"/{FILE}"),
        ("authorizedkeysfile = .config/ssh/keys # x\n", "/home/azure/.config/ssh/keys"),
        ("AuthorizedKeysFile keys\n", "/home/azure/keys"),
        ("AuthorizedKeysFile .ssh/%u-%%\n", "/home/azure/.ssh/azure-%"),
        ("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n", ROOTS_OWN),
        ("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u .ssh/authorized_keys\n", f"/{FILE}"),
        ("AuthorizedKeysFile /etc/ssh/all /etc/ssh/authorized_keys.d/%u\n", ROOTS_OWN),
        ("AuthorizedKeysFile none .ssh/x\n", "/home/azure/.ssh/x"),
        ("AuthorizedKeysFile %h/../azure/.ssh/x\n", "/home/azure/.ssh/x"),
        ("AuthorizedKeysFile %h/../keys-of-%u/x\n", "/home/keys-of-azure/x"),
        ("Match User azure\nAuthorizedKeysFile .ssh/mine\n", "/home/azure/.ssh/mine"),
        ("Match Group wheel\nAuthorizedKeysFile .ssh/wheels\n", "/home/azure/.ssh/wheels"),
        ("Match User other\nAuthorizedKeysFile .ssh/mine\n", f"/{FILE}"),
        (
            "AuthorizedKeysFile .ssh/all\r\nMatch User azure\r\nAuthorizedKeysFile .ssh/mine\r\n",
            "/home/azure/.ssh/mine",
        ),
        ("Include /etc/ssh/sshd_config.d/*.conf\nAuthorizedKeysFile .ssh/late\n", "/home/azure/.ssh/included"),
        ("Match Address 10.0.0.0/8\nAuthorizedKeysFile none\n", f"/{FILE}"),
    ],
)
def test_the_keys_go_where_sshd_looks(home: Guest, context: Make, config: str, where: str) -> None:
    home.put({"etc/group": BASE["etc/group"].replace("wheel:x:10:", "wheel:x:10:azure")})
    home.put({CONFIG: config, "etc/ssh/sshd_config.d/a.conf": "AuthorizedKeysFile .ssh/included\n"})
    apply(context(**given(ED25519)), Options())
    assert home.text(where) == f"{ED25519}\n"
    assert home.mode(where) == (0o600 if where.startswith("/home/azure/") else 0o644)
    again = context(**given(ED25519))
    apply(again, Options())
    assert len(again.system.journal) == 0


def test_a_key_folder_of_root_satisfies_strictmodes(home: Guest, context: Make) -> None:
    home.put({CONFIG: "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n"})
    apply(context(**given(ED25519)), Options())
    assert home.mode("etc/ssh/authorized_keys.d") == 0o755
    for path in ("etc/ssh/authorized_keys.d", ROOTS_OWN):
        assert home.path(path).stat().st_uid == os.geteuid()
    assert not home.path("home/azure/.ssh").exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_an_existing_key_file_of_root_becomes_readable_and_is_writable_by_root_only(
    home: Guest, context: Make, mode: int
) -> None:
    home.put({CONFIG: "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n", ROOTS_OWN: f"# kept\n{key(1)}\n"})
    home.path(ROOTS_OWN).chmod(mode)
    apply(context(**given(ED25519, key(1))), Options())
    assert home.text(ROOTS_OWN) == f"# kept\n{key(1)}\n{ED25519}\n"
    assert home.mode(ROOTS_OWN) & 0o022 == 0
    assert home.mode(ROOTS_OWN) & 0o044 == 0o044


def test_a_folder_that_others_may_write_is_refused_because_sshd_refuses_it(home: Guest, context: Make) -> None:
    home.put({CONFIG: "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n", "etc/ssh/authorized_keys.d/x": ""})
    home.path("etc/ssh/authorized_keys.d").chmod(0o777)
    before = home.snapshot()
    with pytest.raises(FileError, match="chmod go-w /etc/ssh/authorized_keys"):
        apply(context(**given(ED25519)), Options())
    assert home.snapshot() == before


@pytest.mark.parametrize(
    ("words", "why"),
    [("none", "turns key files off for azure"), ("/etc/ssh/all", "all users share /etc/ssh/all")],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_without_a_key_file_per_user_it_is_an_error(
    home: Guest, context: Make, words: str, why: str, dry_run: bool
) -> None:
    home.put({CONFIG: f"AuthorizedKeysFile {words}\n"})
    before = home.snapshot()
    with pytest.raises(MachineError, match=why) as caught:
        apply(context(dry_run=dry_run, **given(ED25519)), Options())
    assert caught.value.reason == "failed to provision ssh keys"
    assert home.snapshot() == before


def test_a_key_in_another_key_file_of_the_user_is_not_added_again(home: Guest, context: Make) -> None:
    home.put({CONFIG: "AuthorizedKeysFile .ssh/a /etc/ssh/keys/%u\n", "etc/ssh/keys/azure": f"{ED25519}\n"})
    apply(context(**given(ED25519, key(1))), Options())
    assert home.text("home/azure/.ssh/a") == f"{key(1)}\n"


@pytest.mark.parametrize(
    ("config", "note"),
    [
        (
            "Match Address 10.0.0.0/8\nAuthorizedKeysFile .ssh/x\n",
            "/etc/ssh/sshd_config line 2 sets another AuthorizedKeysFile",
        ),
    ],
)
def test_settings_that_prevent_key_login_are_noted(
    home: Guest, context: Make, notes: list[str], config: str, note: str
) -> None:
    home.put({CONFIG: config})
    apply(context(**given(ED25519)), Options())
    assert len(notes) == 1
    assert notes[0].startswith(note)
    assert home.text(FILE) == f"{ED25519}\n"


PASSWORD = Secret("canary-password")
NO_KEYS = "/etc/ssh/sshd_config line 1 has `PubkeyAuthentication no`"


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_without_key_login_the_key_is_written_and_the_line_is_noted(
    home: Guest, context: Make, notes: list[str], password: object
) -> None:
    home.put({CONFIG: "PubkeyAuthentication NO\n"})
    apply(context(password=password, **given(ED25519)), Options())
    assert home.text(FILE) == f"{ED25519}\n"
    assert notes == [f"{NO_KEYS}: sshd rejects all keys: change it to `yes`"]


def test_a_link_below_the_home_is_a_note_if_the_password_works(home: Guest, context: Make, notes: list[str]) -> None:
    home.put({"etc/shadow": BASE["etc/shadow"] + "azure:*::0:99999:7:::\n"})
    home.path("home/azure/.ssh").symlink_to("/etc")
    known = {**given(ED25519), "password": PASSWORD}
    user.apply(context(**known), user.Options(sudo="none"))
    apply(context(**known), Options())
    assert len(notes) == 1
    assert notes[0].startswith("no key was installed, but the administrator can log in otherwise: ")
    assert not home.path("etc/authorized_keys").exists()


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ("AuthorizedKeysFile none\n", "/etc/ssh/sshd_config line 1"),
        ("# ours\nMatch User azure\nAuthorizedKeysFile none\n", "/etc/ssh/sshd_config line 3"),
        ("Include /etc/ssh/x\nAuthorizedKeysFile .ssh/a\n", "/etc/ssh/x line 1"),
    ],
)
def test_the_line_that_turns_key_files_off_is_named(home: Guest, context: Make, config: str, where: str) -> None:
    home.put({CONFIG: config, "etc/ssh/x": "AuthorizedKeysFile none\n"})
    with pytest.raises(MachineError) as caught:
        apply(context(**given(ED25519)), Options())
    assert caught.value.message == (
        f"{where} has `AuthorizedKeysFile none`, which turns key files off for azure: change it to "
        "`AuthorizedKeysFile .ssh/authorized_keys`, or remove the line"
    )


@pytest.mark.parametrize("line", ["AuthorizedKeysCommand /usr/bin/keys", "TrustedUserCAKeys /etc/ssh/ca.pub"])
def test_no_file_is_a_note_if_keys_may_come_from_elsewhere(
    home: Guest, context: Make, notes: list[str], line: str
) -> None:
    home.put({CONFIG: f"AuthorizedKeysFile none\n{line}\n"})
    apply(context(**given(ED25519)), Options())
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("path", "where", "noted"),
    [
        (".ssh/authorized_keys", f"/{FILE}", False),
        ("%h/.ssh/authorized_keys2", "/home/azure/.ssh/authorized_keys2", False),
        (".ssh/authorized_keys.d/azurelite", "/home/azure/.ssh/authorized_keys.d/azurelite", True),
        ("/etc/keys/%u", "/etc/keys/azure", True),
    ],
)
def test_the_path_option_is_used(
    home: Guest, context: Make, notes: list[str], path: str, where: str, noted: bool
) -> None:
    apply(context(**given(ED25519)), Options(path=path))
    assert home.text(where) == f"{ED25519}\n"
    assert notes == (
        [f"sshd does not read {where}, where the keys are written: add it to AuthorizedKeysFile"] if noted else []
    )


@pytest.mark.parametrize("path", ["", " ", "a\nb", "../x", ".ssh/", "a/../b", "%x", "a%"])
def test_an_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Options(path=path)


def test_keys_of_the_configuration_come_after_azures(home: Guest, context: Make, notes: list[str]) -> None:
    apply(context(**given(ED25519)), Options(keys=(key(1), "nonsense", key(2))))
    assert home.text(FILE) == f"{ED25519}\n{key(1)}\n{key(2)}\n"
    assert notes == ["`keys[1]` skipped: it does not begin with the type of an OpenSSH public key"]


def test_keys_of_the_configuration_suffice_without_azures(home: Guest, context: Make) -> None:
    apply(context(username="azure", disable_password_authentication=True), Options(keys=(key(1),)))
    assert home.text(FILE) == f"{key(1)}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives the home to somebody else")
def test_a_home_that_belongs_to_another_user_is_noted(home: Guest, context: Make, notes: list[str]) -> None:
    os.chown(home.path("home/azure"), 1700, 1700)
    apply(context(**given(ED25519)), Options())
    assert notes == ["azure does not own /home/azure, so sshd rejects its keys: run `chown azure /home/azure`"]


# sshd_config, a folder and its mode -> the message, "" for none
STRICT = {
    ("", "home/azure", 0o757): "/home/azure is writable by others",
    ("StrictModes yes\n", "home/azure", 0o757): "/home/azure is writable by others",
    ("StrictModes no\n", "home/azure", 0o757): "",
    ("Match User azure\nStrictModes no\n", "home/azure", 0o777): "",
    ("Match User bob\nStrictModes no\n", "home/azure", 0o777): "/home/azure is writable by others",
    ("Match Address 10.0.0.0/8\nStrictModes no\n", "home/azure", 0o777): "/home/azure is writable by others",
    ("", "home/azure", 0o775): "",  # Debian's sshd accepts that for a group without other members
    ("AuthorizedKeysFile /etc/keys/%u\n", "etc/keys", 0o757): "/etc/keys is writable by others",
    ("AuthorizedKeysFile /etc/keys/%u\n", "etc", 0o775): "/etc is writable by others",
    ("StrictModes no\nAuthorizedKeysFile /etc/keys/%u\n", "etc/keys", 0o757): "",
    ("StrictModes no\nAuthorizedKeysFile /etc/keys/%u\n", "etc", 0o775): "",
    ("StrictModes no\nAuthorizedKeysFile /etc/new/%u\n", "etc", 0o777): "",
}


@pytest.mark.parametrize("entry", STRICT)
def test_open_folders_matter_only_to_strictmodes(
    home: Guest, context: Make, notes: list[str], entry: tuple[str, str, int]
) -> None:
    config, folder, mode = entry
    home.put({CONFIG: config, "etc/keys/x": ""}).path(folder).chmod(mode)
    ctx = context(**given(ED25519))
    if "keys" in config and STRICT[entry]:
        with pytest.raises(FileError, match=STRICT[entry]):
            apply(ctx, Options())
        return
    apply(ctx, Options())
    assert [note.startswith(STRICT[entry]) for note in notes] == [True] * bool(STRICT[entry])
    target = re.findall(r"File /(.*)/%u", config)
    assert home.text(f"{target[0]}/azure" if target else FILE) == f"{ED25519}\n"


def test_in_an_open_folder_no_link_is_followed(home: Guest, context: Make) -> None:
    home.put({CONFIG: "StrictModes no\nAuthorizedKeysFile /etc/keys/%u\n", "etc/keys/x": "", "etc/precious": "kept\n"})
    home.path("etc/keys").chmod(0o777)
    home.path("etc/keys/azure").symlink_to("/etc/precious")
    with pytest.raises(FileError, match="/etc/keys/azure"):
        apply(context(**given(ED25519)), Options())
    assert home.text("etc/precious") == "kept\n"


def test_a_missing_home_is_an_error(home: Guest, context: Make) -> None:
    shutil.rmtree(home.path("home/azure"))
    for dry_run in (True, False):
        with pytest.raises(MachineError, match="/home/azure, the home of azure, does not exist"):
            apply(context(dry_run=dry_run, **given(ED25519)), Options())


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"disable_password_authentication": True, "password": PASSWORD}, "forbids passwords"),
        ({"disable_password_authentication": True}, "forbids passwords"),
        ({"disable_password_authentication": False}, "no password"),
        ({}, "no password"),
        ({"password": PASSWORD}, "does not have Azure's password"),
        ({"password": PASSWORD, "disable_password_authentication": False}, "does not have Azure's password"),
        ({"password": PASSWORD, "username": "nobody-here"}, "the account does not exist"),
    ],
)
def test_without_key_and_password_it_is_an_error(
    home: Guest, context: Make, known: dict[str, object], why: str
) -> None:
    with pytest.raises(HandlerError, match=f"{why}.*nobody could log in") as caught:
        apply(context(**{"username": "azure", **known}), Options())
    assert "canary" not in str(caught.value)
    about = "ssh keys" if why in ("forbids passwords", "no password") else "password"
    assert caught.value.reason == f"failed to provision {about}"


@pytest.mark.parametrize("field", ["$6$another$hash", "!$6$another$hash"])
def test_an_account_with_another_password_is_a_failure_of_the_password(home: Guest, context: Make, field: str) -> None:
    home.put({"etc/shadow": BASE["etc/shadow"] + f"azure:{field}:19000:0:99999:7:::\n"})
    with pytest.raises(
        HandlerError, match=r"azure has another password than Azure's \(set `password: always`"
    ) as caught:
        apply(context(username="azure", password=PASSWORD), Options())
    assert caught.value.reason == "failed to provision password"


REFUSED: dict[str, tuple[str, dict[str, str], str]] = {
    "no key": ("nonsense", {}, "does not begin with the type"),
    "a certificate": (
        "ssh-ed25519-cert-v01@openssh.com AAAA",
        {},
        "SSH key 1 of 1 skipped",
    ),
    "a DSA key": ("ssh-dss AAAA", {}, "no longer supports DSA"),
    "no key file": (ED25519, {"etc/ssh/sshd_config": "AuthorizedKeysFile none\n"}, "AuthorizedKeysFile none"),
    "a file for all": (ED25519, {"etc/ssh/sshd_config": "AuthorizedKeysFile /etc/keys\n"}, "all users share /etc/keys"),
    "a file in place of a folder": (ED25519, {"home/azure/.ssh": ""}, "/home/azure/.ssh"),
}


@pytest.mark.parametrize(("text", "files", "why"), REFUSED.values(), ids=list(REFUSED))
@pytest.mark.parametrize("way", ["password", "forbidden", "none"])
def test_a_key_that_cannot_be_used_is_a_failure_only_without_a_password(
    guest: Guest, context: Make, notes: list[str], text: str, files: dict[str, str], why: str, way: str
) -> None:
    known = {**given(text), "password": None if way == "none" else PASSWORD}
    known["disable_password_authentication"] = way == "forbidden"
    user.apply(context(**known), user.Options())
    guest.put(files)
    if way == "password":
        apply(context(**known), Options())
        assert [note for note in notes if why in note] != []
    else:
        with pytest.raises(AzureliteError, match=why):
            apply(context(**known), Options())


@pytest.mark.spawns
@pytest.mark.parametrize("flag", [None, False])
@pytest.mark.parametrize("dry_run", [True, False])
def test_without_keys_the_password_that_user_set_suffices(
    guest: Guest,
    context: Make,
    notes: list[str],
    caplog: pytest.LogCaptureFixture,
    flag: object,
    dry_run: bool,
) -> None:
    known = {"username": "azure", "password": PASSWORD, "disable_password_authentication": flag}
    ctx = context(dry_run=dry_run, **known)
    user.apply(ctx, user.Options())
    made = len(ctx.system.journal)
    with caplog.at_level("INFO"):
        apply(ctx, Options())
    said = "ssh_keys: no key is installed, but azure has Azure's password (Azure gave no SSH key)"
    assert said in [record.getMessage() for record in caplog.records]
    assert len(ctx.system.journal) == made
    assert "canary" not in str(notes)


@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install openssl")
def test_a_certificate_opens_like_its_key(home: Guest, context: Make) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=vm"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    apply(context(**given(" ".join(text.split()), text)), Options())
    assert re.fullmatch(r"ssh-rsa AAAA[A-Za-z0-9+/=]+\n", home.text(FILE))
