"""Whether an account can log in: the answer for each rule of sshd. `tests/live/test_login_live.py` asks sshd itself."""

from __future__ import annotations

import os
from typing import Optional

import pytest
from kit import BASE, ED25519, FastClock, Guest

from azurelite.keys.openssh import PublicKey, parse_key
from azurelite.system.machine import System
from azurelite.system.ssh.access import Person
from azurelite.system.ssh.login import Verdict, can_log_in
from azurelite.system.ssh.revoked import revoked_obstacles
from azurelite.system.ssh.sshd_config import Setting, SshdConfig

MAIN = "etc/ssh/sshd_config"
KEY_FILE = "home/alice/.ssh/authorized_keys"
ECDSA = parse_key(
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDCmb8xyoiG4YUEKLM5+2ujI1XQbBKWjZR/"
    "ECJC7Gh5oy8W6h0VX88YOrbIsOy1szmZ1bk/g3l4cU8FLSokepoE="
)
KEY = parse_key(ED25519)
UID = 1500

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another account")


@pytest.fixture
def alice(guest: Guest) -> Guest:
    """The guest with OpenSSH's server and an account with a key."""
    guest.put({"usr/sbin/sshd": "", "bin/sh": "", MAIN: "", KEY_FILE: f"{ED25519}\n"})
    guest.put({"etc/passwd": BASE["etc/passwd"] + f"alice:x:{UID}:{UID}::/home/alice:/bin/sh\n"})
    guest.put({"etc/shadow": BASE["etc/shadow"] + "alice:*:19000:0:99999:7:::\n"})
    guest.put({"etc/group": BASE["etc/group"] + f"alice:x:{UID}:\nremote:x:1800:\nstaff:x:1801:alice\n"})
    for program in ("usr/sbin/sshd", "bin/sh"):
        guest.path(program).chmod(0o755)
    for name, mode in (("home/alice", 0o755), ("home/alice/.ssh", 0o700), (KEY_FILE, 0o600)):
        guest.path(name).chmod(mode)
        os.chown(guest.path(name), UID, UID)
    return guest


def ask(
    guest: Guest, *, keys: tuple[PublicKey, ...] = (parse_key(ED25519),), password: Optional[bool] = None
) -> Verdict:
    system = System(guest.root, clock=FastClock())
    user = system.accounts.user("alice")
    assert user is not None
    return can_log_in(system, user, keys=keys, password=None if password is None else lambda: bool(password))


# sshd_config -> the answer for alice, of the groups alice and staff, who has one key and no password
CONFIGS = {
    "": "fine",
    "AllowUsers alice": "fine",
    "AllowUsers bob\nAllowUsers alice": "fine",
    "AllowUsers bob": "refused",
    "AllowUsers ALICE": "refused",
    "AllowUsers a?ice": "fine",
    "AllowUsers bob,alice": "refused",
    "AllowUsers !bob": "refused",
    "AllowUsers alice@*": "fine",
    "AllowUsers alice@host": "doubt",
    "AllowUsers bob@host": "refused",
    "AllowUsers bob@host alice": "fine",
    "DenyUsers alice": "refused",
    "DenyUsers al*": "refused",
    "DenyUsers bob": "fine",
    "DenyUsers alice@10.*": "doubt",
    "DenyUsers alice\nAllowUsers alice": "refused",
    "AllowGroups staff": "fine",
    "AllowGroups remote st*": "fine",
    "AllowGroups remote": "refused",
    "AllowGroups remote\nAllowGroups alice": "fine",
    "DenyGroups staff": "refused",
    "DenyGroups remote": "fine",
    "DenyGroups staff\nAllowGroups alice": "refused",
    "Match User alice\nAllowUsers bob": "refused",
    "AllowUsers bob\nMatch User alice\nAllowUsers alice": "fine",
    "AllowUsers bob\nMatch User bob\nAllowUsers alice": "refused",
    "DenyUsers alice\nMatch User alice\nDenyUsers bob": "fine",
    "Match Group staff\nDenyUsers alice": "refused",
    "Match Group *,!staff\nDenyUsers alice": "fine",
    "Match Address 10.0.0.0/8\nDenyUsers alice": "doubt",
    "Match Address *\nDenyUsers alice": "refused",
    "Match Host *\nDenyUsers alice": "refused",
    "Match LocalPort 2222\nAllowUsers bob": "doubt",
    "Match User bob Address 10.0.0.0/8\nDenyUsers alice": "fine",
    "DenyUsers alice\nMatch Address 10.0.0.0/8\nDenyUsers bob": "doubt",
    "AllowUsers bob\nMatch Address 10.0.0.0/8\nAllowUsers alice": "doubt",
    "AllowUsers bob\nMatch Address 10.0.0.0/8\nAllowUsers carol": "refused",
    "AllowUsers alice\nMatch Address 10.0.0.0/8\nAllowUsers alice carol": "fine",
    "Match all\nAllowGroups remote": "refused",
    "PubkeyAuthentication no": "refused",
    "PubkeyAuthentication no\nPubkeyAuthentication yes": "refused",
    "PubkeyAuthentication yes\nPubkeyAuthentication no": "fine",
    "PubkeyAuthentication no\nMatch User alice\nPubkeyAuthentication yes": "fine",
    "PubkeyAuthentication no\nMatch Address 10.0.0.0/8\nPubkeyAuthentication yes": "doubt",
    "Match Address 10.0.0.0/8\nPubkeyAuthentication no": "doubt",
    "PubkeyAuthentication no\nMatch Address 10.0.0.0/8\nPubkeyAuthentication no": "refused",
    "AuthorizedKeysFile none": "refused",
    "AuthorizedKeysFile .ssh/other": "refused",
    "AuthorizedKeysFile .ssh/other %h/.ssh/authorized_keys": "fine",
    "AuthorizedKeysFile /home/%u/.ssh/authorized_keys": "fine",
    "AuthorizedKeysFile /keys/%U-%%": "refused",
    "Match Address 10.0.0.0/8\nAuthorizedKeysFile none": "doubt",
    "AuthorizedKeysFile none\nAuthorizedKeysCommand /bin/keys": "doubt",
    "AuthorizedKeysFile none\nAuthorizedKeysCommand none": "refused",
    "AuthorizedKeysFile none\nTrustedUserCAKeys /etc/ssh/ca": "doubt",
    "AuthorizedKeysFile none\nAuthorizedPrincipalsCommand /bin/p": "doubt",
    "AllowUsers bob\nAuthorizedKeysCommand /bin/keys": "refused",
    "RevokedKeys /etc/ssh/revoked": "doubt",
    "RevokedKeys /dev/null": "fine",
    "RevokedKeys relative": "doubt",
    "Match User bob\nRevokedKeys /etc/ssh/revoked": "fine",
    "RevokedKeys none": "fine",
    "PubkeyAcceptedAlgorithms ssh-ed25519": "fine",
    "PubkeyAcceptedAlgorithms rsa-sha2-512,ssh-ed*": "fine",
    "PubkeyAcceptedAlgorithms rsa-sha2-512": "refused",
    "PubkeyAcceptedAlgorithms ssh-*,!ssh-ed25519": "refused",
    "PubkeyAcceptedKeyTypes rsa-sha2-512": "refused",
    "PubkeyAcceptedAlgorithms +ssh-rsa": "fine",
    "PubkeyAcceptedAlgorithms ^ssh-rsa": "fine",
    "PubkeyAcceptedAlgorithms -ssh-ed25519": "doubt",
    "PubkeyAcceptedAlgorithms -ssh-rsa": "fine",
    "AuthenticationMethods any": "fine",
    "AuthenticationMethods publickey": "fine",
    "AuthenticationMethods publickey,password": "refused",
    "AuthenticationMethods publickey,password publickey": "fine",
    "AuthenticationMethods password": "refused",
    "AuthenticationMethods publickey,publickey": "doubt",
    "AuthenticationMethods publickey,gssapi-with-mic": "doubt",
    "UsePAM no\nAuthenticationMethods publickey,keyboard-interactive": "refused",
    "UsePAM yes\nAuthenticationMethods publickey,keyboard-interactive:pam": "doubt",
    "Match Address 10.0.0.0/8\nAuthenticationMethods password": "doubt",
    "RefuseConnection yes": "refused",
    "MaxAuthTries 0": "refused",
    "MaxAuthTries 1": "fine",
    "MaxSessions 0": "refused",
    "Match Address 10.0.0.0/8\nMaxSessions 0": "doubt",
    "Match User alice\nMaxSessions 0": "refused",
    "Match User bob\nMaxSessions 0": "fine",
    "AuthorizedKeysFile %x": "refused",
    "AuthorizedKeysFile keys%": "refused",
    "AuthorizedKeysFile %x .ssh/authorized_keys": "refused",
    "AuthorizedKeysFile .ssh/authorized_keys %x": "fine",
    "AuthorizedKeysFile .ssh/other %%h .ssh/authorized_keys": "fine",
    "ForceCommand /bin/menu": "fine",
}
WITH_PASSWORD = {
    "": "fine",
    "PubkeyAuthentication no": "fine",
    "PubkeyAuthentication no\nPasswordAuthentication no": "refused",
    "UsePAM yes\nPubkeyAuthentication no\nPasswordAuthentication no": "fine",
    "UsePAM yes\nPubkeyAuthentication no\nPasswordAuthentication no\nKbdInteractiveAuthentication no": "refused",
    "UsePAM yes\nPubkeyAuthentication no\nPasswordAuthentication no\nChallengeResponseAuthentication no": "refused",
    "PubkeyAuthentication no\nMatch Address 10.0.0.0/8\nPasswordAuthentication no": "doubt",
    "PubkeyAuthentication no\nMatch User alice\nPasswordAuthentication no": "refused",
    "AuthenticationMethods publickey,password": "fine",
    "AuthenticationMethods publickey,password\nPasswordAuthentication no": "refused",
    "AllowUsers bob": "refused",
}


@pytest.mark.parametrize("config", CONFIGS)
def test_each_setting_for_a_key(alice: Guest, config: str) -> None:
    alice.put({MAIN: f"{config}\n", "etc/pam.d/sshd": "account required pam_unix.so\n"})
    verdict = ask(alice)
    assert verdict.state == CONFIGS[config], verdict
    if verdict.state == "refused":
        assert verdict.reason.startswith("sshd rejects alice: ")
    else:
        assert bool(verdict.notes) is (verdict.state == "doubt"), verdict


@pytest.mark.parametrize("config", WITH_PASSWORD)
def test_each_setting_for_a_key_or_a_password(alice: Guest, config: str) -> None:
    alice.put({MAIN: f"{config}\n", "etc/pam.d/sshd": "account required pam_unix.so\n"})
    verdict = ask(alice, password=True)
    assert verdict.state == WITH_PASSWORD[config], verdict
    assert ask(alice, keys=(), password=True).state == verdict.state or "publickey" in config


def test_a_key_that_is_refused_is_noted_where_the_password_works(alice: Guest) -> None:
    alice.put({MAIN: "PubkeyAuthentication no\n"})
    verdict = ask(alice, password=True)
    assert verdict.notes == ("/etc/ssh/sshd_config line 1 has `PubkeyAuthentication no`: change it to `yes`",)
    assert ask(alice, password=False).state == "refused"


OTHER_KEY = f"{ECDSA.kind} {ECDSA.blob}"
# The file of RevokedKeys -> the answer for the one key
REVOKED: dict[str, tuple[bytes, str]] = {
    "the key": (f"{ED25519}\n".encode(), "refused"),
    "the key with another comment": (f"# ours\n\n  {KEY.kind} {KEY.blob} old".encode(), "refused"),
    "the key, but with options": (f'from="x" {ED25519}\n'.encode(), "doubt"),
    "the key in a comment": (f"#{ED25519}\n".encode(), "fine"),
    "another key": (f"{OTHER_KEY}\n".encode(), "fine"),
    "another key, then the key": (f"{OTHER_KEY}\n{ED25519}\n".encode(), "refused"),
    "no key": (b"nonsense\n", "doubt"),
    "a type that sshd may not know": (b"ssh-dss AAAA\n", "doubt"),
    "an empty file": (b"", "fine"),
    "a binary list": (b"SSHKRL\n\0\0\0\0\1", "doubt"),
}


@pytest.mark.parametrize("name", REVOKED)
def test_revoked_keys(alice: Guest, name: str) -> None:
    data, state = REVOKED[name]
    alice.put({MAIN: "RevokedKeys /etc/ssh/revoked\n"}).path("etc/ssh/revoked").write_bytes(data)
    assert ask(alice).state == state
    assert ask(alice, keys=(ECDSA,)).state == "refused", "it is in no file"
    alice.put({KEY_FILE: f"{ED25519}\n{OTHER_KEY}\n"})
    expected = "fine" if name in ("the key", "the key with another comment") else state
    assert ask(alice, keys=(KEY, ECDSA)).state == ("refused" if "another key, " in name else expected)
    alice.put({MAIN: "Match Address 10.0.0.0/8\nRevokedKeys /etc/ssh/revoked\n"})
    assert ask(alice).state == ("fine" if state == "fine" else "doubt")


def test_a_folder_as_the_file_of_revoked_keys_is_a_doubt(alice: Guest) -> None:
    alice.put({MAIN: "RevokedKeys /etc/ssh\n"})
    assert ask(alice).state == "doubt"


@pytest.mark.parametrize(
    ("path", "live", "certain"),
    [("/etc/missing", True, True), ("/etc/missing", False, False), ("/run/missing", True, False)],
)
def test_a_missing_file_of_revoked_keys_rejects_all(alice: Guest, path: str, live: bool, certain: bool) -> None:
    """Certain only on the running system, and where no mount can bring the file."""
    system = System("/" if live else alice.root, clock=FastClock())
    user = System(alice.root).accounts.user("alice")
    assert user is not None
    config = SshdConfig("x", (Setting("revokedkeys", (path,), "x line 1"),))
    (found,) = revoked_obstacles(Person(system, user, frozenset(), config), KEY)
    assert found.certain is certain
    assert "which does not exist, so sshd rejects all keys" in found.text


# What is done to a file -> the answer with StrictModes and without.
MODES = [
    ("home/alice", UID, 0o755, "fine", "fine"),
    ("home/alice", UID, 0o757, "refused", "fine"),
    ("home/alice", UID, 0o775, "refused", "fine"),
    ("home/alice", 0, 0o755, "fine", "fine"),
    ("home/alice", 0, 0o700, "refused", "refused"),
    ("home/alice", 1700, 0o755, "refused", "fine"),
    ("home/alice/.ssh", 0, 0o755, "fine", "fine"),
    ("home/alice/.ssh", UID, 0o777, "refused", "fine"),
    ("home/alice/.ssh", UID, 0o600, "refused", "refused"),
    (KEY_FILE, UID, 0o622, "refused", "fine"),
    (KEY_FILE, UID, 0o000, "refused", "refused"),
    (KEY_FILE, 0, 0o644, "fine", "fine"),
    (KEY_FILE, 0, 0o600, "refused", "refused"),
    (KEY_FILE, 1700, 0o644, "refused", "fine"),
    ("home", 0, 0o777, "fine", "fine"),
    ("home", 0, 0o700, "refused", "refused"),
]


@pytest.mark.parametrize(("name", "owner", "mode", "strict", "loose"), MODES)
def test_owner_and_modes(alice: Guest, name: str, owner: int, mode: int, strict: str, loose: str) -> None:
    os.chown(alice.path(name), owner, owner)
    alice.path(name).chmod(mode)
    assert ask(alice).state == strict
    alice.put({MAIN: "StrictModes no\n"})
    assert ask(alice).state == loose
    alice.put({MAIN: "Match Address 10.0.0.0/8\nPubkeyAuthentication yes\n"})
    assert ask(alice).state == strict


@pytest.mark.parametrize(
    ("marker", "members", "state"),
    [
        ("etc/debian_version", "", "fine"),
        ("etc/debian_version", "alice", "fine"),
        ("etc/debian_version", "bob", "refused"),
        ("etc/os-release", "", "refused"),
    ],
)
def test_debians_sshd_allows_a_private_group_to_write(alice: Guest, marker: str, members: str, state: str) -> None:
    group = alice.text("etc/group").replace(f"alice:x:{UID}:\n", f"alice:x:{UID}:{members}\n")
    alice.put({marker: "", "etc/group": group})
    alice.path("home/alice").chmod(0o775)
    assert ask(alice).state == state


SHADOW = {  # password and day of expiry, UsePAM -> the answer
    ("*", "", "no"): "fine",
    ("!", "", "no"): "refused",
    ("!$6$salt$hash", "", "no"): "refused",
    ("!", "", "yes"): "fine",
    ("*", "1", "no"): "refused",
    ("*", "1", "yes"): "refused",
    ("*", "0", "no"): "fine",
    ("*", "-1", "no"): "fine",
    ("*", "99999", "no"): "fine",
    ("*", "19600", "no"): "doubt",  # after the image was built, before the clock
}


@pytest.mark.parametrize("entry", SHADOW)
def test_locked_and_expired_accounts(alice: Guest, entry: tuple[str, str, str]) -> None:
    password, day, pam = entry
    alice.put({"etc/shadow": BASE["etc/shadow"] + f"alice:{password}:19000:0:99999:7::{day}:\n"})
    alice.put({MAIN: f"UsePAM {pam}\n", "etc/pam.d/sshd": "@include common-account\n", "usr/lib/os-release": "ID=x\n"})
    alice.put({"etc/pam.d/common-account": "account [success=1 default=ignore] pam_unix.so\n"})
    for name in ("usr/lib/os-release", "usr/sbin/sshd"):
        os.utime(alice.path(name), (19500 * 86400, 19500 * 86400))
    assert ask(alice).state == SHADOW[entry]


TODAY = int(FastClock().now() // 86400)
# Days of /etc/shadow: last change, longest age, inactivity; UsePAM -> a word of the note, "" for none
AGES = {
    (f"{TODAY - 10}", "99999", "", "yes"): "",
    ("0", "99999", "", "yes"): "at the next login",
    ("0", "99999", "", "no"): "",
    ("0", "99999", "", "default"): "at the next login",
    ("", "90", "30", "yes"): "",
    (f"{TODAY - 90}", "90", "", "yes"): "",
    (f"{TODAY - 91}", "90", "", "yes"): "too old",
    (f"{TODAY - 91}", "90", "", "no"): "",
    (f"{TODAY - 91}", "90", "30", "yes"): "too old",
    (f"{TODAY - 120}", "90", "30", "yes"): "too old",
    (f"{TODAY - 121}", "90", "30", "yes"): "rejects the login",
    (f"{TODAY - 121}", "90", "0", "yes"): "rejects the login",
    (f"{TODAY - 121}", "90", "-1", "yes"): "too old",
    (f"{TODAY - 121}", "-1", "30", "yes"): "",
    (f"{TODAY - 121}", "", "30", "yes"): "",
    (f"{TODAY + 500}", "90", "30", "yes"): "",
    ("x", "90", "30", "yes"): "",
}


@pytest.mark.parametrize("entry", AGES)
def test_the_age_of_the_password_is_a_note_where_pam_minds_it(alice: Guest, entry: tuple[str, str, str, str]) -> None:
    changed, most, inactive, pam = entry
    alice.put({"etc/shadow": BASE["etc/shadow"] + f"alice:*:{changed}:0:{most}:7:{inactive}::\n"})
    alice.put({MAIN: "" if pam == "default" else f"UsePAM {pam}\n", "usr/lib/pam.d/sshd": ""})
    alice.put({"etc/pam.d/sshd": "account required pam_unix.so\n"})
    verdict = ask(alice)
    assert (verdict.state, verdict.reason) == ("fine", "")
    assert [AGES[entry] in note for note in verdict.notes] == [True] * bool(AGES[entry])
    alice.put({"etc/pam.d/sshd": "account required pam_nologin.so\n"})
    assert ask(alice).notes == ()


PAM_RULES: dict[str, dict[str, str]] = {  # a word of the note -> files
    "": {"etc/pam.d/sshd": "account required pam_access.so\n", "etc/security/access.conf": "# -:ALL:ALL\n"},
    "no module": {"etc/pam.d/sshd": "account required pam_unix.so\n", "etc/security/access.conf": "-:ALL:ALL\n"},
    "another type": {"etc/pam.d/sshd": "auth required pam_access.so\n", "etc/security/access.conf": "-:ALL:ALL\n"},
    "access.conf": {"etc/pam.d/sshd": "account required pam_access.so\n", "etc/security/access.conf": "-:ALL:ALL\n"},
    "access.conf has": {
        "etc/pam.d/sshd": "account include password-auth\n",
        "etc/pam.d/password-auth": "account [default=ignore] pam_access.so\n",
        "etc/security/access.d/x.conf": "+ : alice : ALL\n",
    },
    "time.conf": {"etc/pam.d/sshd": "account required pam_time.so\n", "etc/security/time.conf": "sshd;*;bob;!Al\n"},
    "pam_listfile": {"etc/pam.d/sshd": "@include x\n", "etc/pam.d/x": "account required pam_listfile.so file=/x\n"},
}


@pytest.mark.parametrize("word", PAM_RULES)
def test_rules_of_pam_are_notes(alice: Guest, word: str) -> None:
    expected = 0 if word in ("", "no module", "another type") else 1
    alice.put({MAIN: "UsePAM yes\n", **PAM_RULES[word]})
    verdict = ask(alice)
    assert (verdict.state, [word in note for note in verdict.notes]) == ("fine", [True] * expected)
    alice.put({MAIN: "UsePAM no\n"})
    assert ask(alice).notes == ()


@pytest.mark.parametrize(
    ("shell", "config", "state"),
    [
        ("", "", "fine"),
        ("/usr/sbin/nologin", "", "refused"),
        ("/bin/false", "", "refused"),
        ("/bin/false", "ForceCommand internal-sftp\n", "doubt"),
        ("/bin/none", "", "doubt"),  # only certain on the running system
        ("/bin/none", "ChrootDirectory /srv\n", "doubt"),  # it is another one, in that folder
        ("", "ChrootDirectory /srv\n", "doubt"),
        ("", "ChrootDirectory none\n", "fine"),
        ("", "Match User bob\nChrootDirectory /srv\n", "fine"),
    ],
)
def test_shells(alice: Guest, shell: str, config: str, state: str) -> None:
    alice.put({"etc/passwd": BASE["etc/passwd"] + f"alice:x:{UID}:{UID}::/home/alice:{shell}\n", MAIN: config})
    assert ask(alice).state == state


def test_one_accepted_key_suffices(alice: Guest) -> None:
    alice.put({MAIN: "PubkeyAcceptedAlgorithms ssh-ed25519\n"})
    assert ask(alice, keys=(ECDSA, KEY)).state == "fine"
    assert ask(alice, keys=(ECDSA,)).state == "refused"
    alice.put({MAIN: ""})
    assert ask(alice, keys=(ECDSA,)).state == "refused", "it is in no file"


def test_a_fifo_or_a_folder_as_the_file_holds_no_key(alice: Guest) -> None:
    alice.path(KEY_FILE).unlink()
    os.mkfifo(alice.path(KEY_FILE))
    assert ask(alice).state == "refused"
    alice.path(KEY_FILE).unlink()
    alice.path(KEY_FILE).mkdir()
    assert ask(alice).state == "refused"


# What starts sshd -> the answer where the home is writable by a group, and the answer where it is not
ARGUMENTS = {
    "ExecStart=/usr/sbin/sshd -D": ("refused", "fine"),
    "ExecStart=/usr/sbin/sshd -D -o StrictModes=no": ("doubt", "fine"),
    "#ExecStart=/usr/sbin/sshd -D -o StrictModes=no": ("refused", "fine"),
    "ExecStart=/usr/sbin/sshd -D -o PubkeyAuthentication=no": ("refused", "doubt"),
    "ExecStart=/usr/sbin/sshd -D -oAuthorizedKeysFile=/etc/ssh/k/%u": ("refused", "doubt"),
    "ExecStart=/usr/sbin/sshd -D -o 'AllowUsers bob'": ("refused", "doubt"),
    "ExecStart=/usr/sbin/sshd -D -f /etc/ssh/sshd_config": ("refused", "fine"),
    "ExecStart=/usr/sbin/sshd -D -f /etc/ssh/loose": ("doubt", "fine"),
    "ExecStart=/usr/sbin/sshd -D -f /etc/ssh/closed": ("refused", "doubt"),
    "ExecStart=/usr/sbin/sshd -D -f /etc/ssh/missing": ("refused", "fine"),
    "ExecStartPre=/bin/rm -f /run/x\nExecStart=/usr/sbin/sshd -D": ("refused", "fine"),
    "ExecStartPre=/usr/sbin/sshd -t -f /etc/ssh/loose\nExecStart=/usr/sbin/sshd -D": ("refused", "fine"),
}


@pytest.mark.parametrize("line", ARGUMENTS)
def test_arguments_of_sshd_come_before_its_files(alice: Guest, line: str) -> None:
    alice.put({"etc/ssh/loose": "StrictModes no\n", "etc/ssh/closed": "AllowUsers bob\n"})
    alice.put({"usr/lib/systemd/system/ssh.service": f"[Service]\n{line}\n"})
    kept = ask(alice).state
    alice.path("home/alice").chmod(0o777)
    assert (ask(alice).state, kept) == ARGUMENTS[line]


def test_a_keyword_that_sshd_no_longer_knows_changes_no_file(alice: Guest) -> None:
    alice.put({MAIN: "AuthorizedKeysFile2 .ssh/other\n"})
    assert ask(alice).state == "fine"


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({"etc/group": "alice:x:1500:\nremote:x:1800:bob, alice\n"}, "fine"),
        ({"etc/group": "alice:x:1500:\nremote:x:1800:bob\n"}, "refused"),
        ({"etc/nsswitch.conf": "group: files systemd\n"}, "refused"),
        ({"etc/nsswitch.conf": "group: files systemd\n", "etc/userdb/alice:remote.membership": ""}, "doubt"),
        ({"etc/nsswitch.conf": "group: files altfiles\n"}, "doubt"),
    ],
)
def test_groups_from_elsewhere(alice: Guest, files: dict[str, str], state: str) -> None:
    alice.put({MAIN: "AllowGroups remote\n", **files})
    assert ask(alice).state == state
