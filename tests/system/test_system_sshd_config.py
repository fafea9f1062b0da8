"""sshd's configuration: what azurelite reads in it is what sshd itself reads in it, hostile files too."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kit import Guest

from azurelite.system.machine import System
from azurelite.system.ssh.sshd_config import BLOCK, holds, line_words, matches_list, read_config

MAIN = "etc/ssh/sshd_config"
DEBIAN = "# comment\nInclude /etc/ssh/sshd_config.d/*.conf\n\n#PasswordAuthentication yes\nUsePAM yes\n"
D = "etc/ssh/sshd_config.d"
PASS, KBD, KEYS = "passwordauthentication", "kbdinteractiveauthentication", "authorizedkeysfile"

# Files, and what they amount to for everybody. The test below asks sshd itself for the user `daemon`.
CONFIGS: dict[str, dict[str, str]] = {
    "empty": {MAIN: ""},
    "debian": {MAIN: DEBIAN},
    "first of two": {MAIN: "PasswordAuthentication no\nPasswordAuthentication yes\n"},
    "drop-in": {MAIN: DEBIAN, f"{D}/50-a.conf": "PasswordAuthentication no\n"},
    "two drop-ins": {
        MAIN: DEBIAN,
        f"{D}/50-b.conf": "PasswordAuthentication yes\n",
        f"{D}/10-a.conf": "PasswordAuthentication no\n",
    },
    "capital before small": {
        MAIN: DEBIAN,
        f"{D}/a.conf": "PasswordAuthentication yes\n",
        f"{D}/B.conf": "PasswordAuthentication no\n",
    },
    "hidden and other names": {
        MAIN: DEBIAN,
        f"{D}/.a.conf": "PasswordAuthentication no\n",
        f"{D}/b.conf.bak": "PasswordAuthentication no\n",
        f"{D}/c": "PasswordAuthentication no\n",
    },
    "value ahead of include": {
        MAIN: "PasswordAuthentication yes\n" + DEBIAN,
        f"{D}/a.conf": "PasswordAuthentication no\n",
    },
    "relative include": {MAIN: "Include sshd_config.d/*.conf\n", f"{D}/a.conf": "PasswordAuthentication no\n"},
    "include of two": {
        MAIN: "Include /etc/ssh/none.conf /etc/ssh/two\n",
        "etc/ssh/two": "PasswordAuthentication no\n",
    },
    "include in include": {
        MAIN: "Include /etc/ssh/one\nPasswordAuthentication yes\n",
        "etc/ssh/one": "Include /etc/ssh/two\n",
        "etc/ssh/two": "PasswordAuthentication no\n",
    },
    "glob in folders": {
        MAIN: "Include /etc/ssh/*.d/[0-9]?-*.conf\n",
        f"{D}/10-x.conf": "PasswordAuthentication no\n",
        "etc/ssh/a.d/xx.conf": "PasswordAuthentication yes\n",
    },
    "small letters": {MAIN: "passwordauthentication NO\n"},
    "equals": {MAIN: "PasswordAuthentication=no\n"},
    "equals and blanks": {MAIN: "PasswordAuthentication = no\n"},
    "tabs": {MAIN: "\tPasswordAuthentication\t\tno\t\n"},
    "quotes": {MAIN: 'PasswordAuthentication "no"\n'},
    "quoted keyword": {MAIN: '"PasswordAuthentication" no\n'},
    "crlf": {MAIN: "# x\r\nPasswordAuthentication no\r\nUsePAM yes\r\n"},
    "no line end": {MAIN: "PasswordAuthentication no"},
    "form feed": {MAIN: "PasswordAuthentication no\f\n"},
    "comment behind": {MAIN: "PasswordAuthentication no # yes\n"},
    "comment close": {MAIN: "PasswordAuthentication no #yes\n"},
    "commented": {MAIN: "# PasswordAuthentication no\n#PasswordAuthentication no\n  # PasswordAuthentication no\n"},
    "old name": {MAIN: "ChallengeResponseAuthentication no\n"},
    "older name": {MAIN: "SkeyAuthentication no\n"},
    "match all": {MAIN: "PasswordAuthentication yes\nMatch all\nPasswordAuthentication no\n"},
    "match user": {MAIN: "Match User daemon\n PasswordAuthentication no\n"},
    "match other": {MAIN: "Match User bin,root\n PasswordAuthentication no\n"},
    "match list": {MAIN: "Match User root,dae*\n PasswordAuthentication no\n"},
    "match not": {MAIN: "Match User *,!daemon\n PasswordAuthentication no\n"},
    "match negated only": {MAIN: "Match User !root\n PasswordAuthentication no\n"},
    "match question": {MAIN: "Match User d?emon\n PasswordAuthentication no\n"},
    "match group": {MAIN: "Match Group daemon\n PasswordAuthentication no\n"},
    "match two": {MAIN: "Match User daemon Group root\n PasswordAuthentication no\n"},
    "match case": {MAIN: "match user daemon\n PasswordAuthentication no\n"},
    "match user case": {MAIN: "Match User DAEMON\n PasswordAuthentication no\n"},
    "match then match": {
        MAIN: "Match User root\n PasswordAuthentication no\nMatch User daemon\n KbdInteractiveAuthentication no\n"
    },
    "first match wins": {
        MAIN: "Match User daemon\n PasswordAuthentication no\nMatch all\n PasswordAuthentication yes\n"
    },
    "match in an include ends with it": {
        MAIN: "Include /etc/ssh/one\nPasswordAuthentication no\n",
        "etc/ssh/one": "Match User root\nKbdInteractiveAuthentication no\n",
    },
    "include in a match": {
        MAIN: "Match User root\nInclude /etc/ssh/one\n",
        "etc/ssh/one": "PasswordAuthentication no\n",
    },
    "include in a match that holds": {
        MAIN: "Match User daemon\nInclude /etc/ssh/one\n",
        "etc/ssh/one": "PasswordAuthentication no\n",
    },
    "keys": {MAIN: "AuthorizedKeysFile .ssh/a .ssh/b\nAuthorizedKeysFile .ssh/c\n"},
    "keys none": {MAIN: "AuthorizedKeysFile none\n"},
    "keys tokens": {MAIN: "AuthorizedKeysFile /etc/ssh/keys/%u %h/.ssh/x\n"},
    "keys quoted": {MAIN: 'AuthorizedKeysFile "/etc/my keys/%u" .ssh/y # z\n'},
    "keys escaped": {MAIN: "AuthorizedKeysFile /etc/my\\ keys/%u\n"},
    "keys single": {MAIN: "AuthorizedKeysFile '/etc/my keys/%u'\n"},
    "keys in match": {MAIN: "AuthorizedKeysFile .ssh/a\nMatch User daemon\nAuthorizedKeysFile /etc/k/%u .ssh/b\n"},
    "keys in match address": {
        MAIN: "Match User daemon Address 10.9.9.9\nAuthorizedKeysFile /k\nMatch Group daemon\nAuthorizedKeysFile /l\n"
    },
    "ours": {MAIN: BLOCK.put(DEBIAN, ["PasswordAuthentication no", "KbdInteractiveAuthentication no"])},
    "ours in crlf": {MAIN: BLOCK.put("UsePAM yes\r\nMatch all\r\n", ["PasswordAuthentication no"])},
}

NAMESPACES = ["unshare", "--mount", "--fork"]


def ask_sshd(guest: Guest, user: str = "daemon") -> dict[str, str]:
    """What sshd makes of the guest's /etc/ssh: each keyword with its value."""
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    script = (
        'mount --make-rprivate / && mount --bind "$1" /etc/ssh && mount -t tmpfs t /run && mkdir /run/sshd && '
        'ssh-keygen -q -t ed25519 -N "" -f /run/key && '
        "exec /usr/sbin/sshd -T -h /run/key -f /etc/ssh/sshd_config "
        '-C "user=$2,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=22"'
    )
    words = [*NAMESPACES, "sh", "-c", script, "sh", str(guest.path("etc/ssh")), user]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        told[keyword] = f"{told[keyword]} {value}" if keyword in told else value  # a list has a line per word
    return told


@pytest.mark.spawns
@pytest.mark.namespaces
@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs sshd: install openssh-server")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare: install util-linux")
@pytest.mark.parametrize("name", CONFIGS)
def test_it_reads_what_sshd_reads(guest: Guest, name: str) -> None:
    guest.put(CONFIGS[name])
    told = ask_sshd(guest)
    config = read_config(System(guest.root).files)
    assert config is not None
    groups = frozenset({"daemon"})
    for keyword in (PASS, KBD):
        found = config.for_user(keyword, "daemon", groups)
        assert (found.values[0].lower() if found else "yes") == told[keyword], keyword
    keys = config.for_user(KEYS, "daemon", groups)
    assert " ".join(keys.values if keys else (".ssh/authorized_keys", ".ssh/authorized_keys2")) == told[KEYS]


LISTS = [
    "AllowUsers daemon",
    "AllowUsers bob\nAllowUsers daemon",
    'AllowUsers a*e "bob@10.*" # carol',
    "DenyUsers bob daemon\nAllowUsers carol",
    "AllowUsers bob\nMatch User daemon\nAllowUsers daemon",
    "AllowUsers bob\nMatch User daemon\nAllowUsers daemon\nMatch Group daemon\nAllowUsers carol",
    "AllowUsers bob\nMatch User bob\nAllowUsers daemon",
    "DenyUsers daemon\nMatch User daemon\nDenyUsers bob",
    "DenyGroups a b\nDenyGroups c\nMatch User root\nDenyGroups d",
    "AllowGroups a\nMatch all\nAllowGroups b",
    "AllowGroups a\nMatch Address 10.9.9.9\nAllowGroups b",
    "AllowGroups a\nMatch Address *\nAllowGroups b",
    "AllowGroups a\nMatch Host *\nAllowGroups b",
    "Match User daemon\nAllowGroups a\nMatch User dae*\nDenyGroups b",
]


@pytest.mark.spawns
@pytest.mark.namespaces
@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs sshd: install openssh-server")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare: install util-linux")
@pytest.mark.parametrize("text", LISTS)
def test_lists_add_up_as_in_sshd(guest: Guest, text: str) -> None:
    guest.put({MAIN: text + "\n"})
    told = ask_sshd(guest)
    config = read_config(System(guest.root).files)
    assert config is not None
    for keyword in ("allowusers", "denyusers", "allowgroups", "denygroups"):
        lines, _ = config.listed(keyword, "daemon", frozenset({"daemon"}))
        assert " ".join(word for line in lines for word in line.values) == told.get(keyword, ""), keyword


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("   ", []),
        ("# x", []),
        ("Port 22", ["Port", "22"]),
        ("Port=22", ["Port", "22"]),
        ("  Port\t=\t22\r", ["Port", "22"]),
        ('AllowUsers "a b" c', ["AllowUsers", "a b", "c"]),
        ("Banner 'a\"b'", ["Banner", 'a"b']),
        ('Banner "a\\"b"', ["Banner", 'a"b']),
        ("Banner a\\\\b", ["Banner", "a\\b"]),
        ("Banner a#b", ["Banner", "a#b"]),
        ("Banner a #b", ["Banner", "a"]),
        ('Banner ""', ["Banner", ""]),
        ('Banner "open', ["Banner", "open"]),
        ('"Port" 22', ["Port", "22"]),
        ("Port", ["Port"]),
        ("=Port 22", []),
        ("\0", []),
    ],
)
def test_words_of_a_line(line: str, words: list[str]) -> None:
    assert line_words(line) == words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("all",), True),
        (("User", "azure"), True),
        (("user=azure",), True),
        (("User", "b,azure"), True),
        (("User", "b"), False),
        (("User", "!azure,*"), False),
        (("Group", "wheel"), True),
        (("Group", "*,!adm"), False),
        (("Group", "nobody"), False),
        (("User", "azure", "Group", "wheel"), True),
        (("User", "azure", "Group", "x"), False),
        (("Address", "10.0.0.0/8"), None),
        (("User", "azure", "Address", "10.0.0.0/8"), None),
        (("Address", "10.0.0.0/8", "User", "b"), False),
        (("Invalid-User",), False),
        (("User",), False),
        ((), True),
    ],
)
def test_who_a_match_is_for(words: tuple[str, ...], expected: Any) -> None:
    assert holds(words, "azure", frozenset({"azure", "wheel", "adm"})) is expected


def test_patterns_are_not_regular_expressions() -> None:
    assert matches_list("a.b", "a.b")
    assert not matches_list("axb", "a.b")
    assert not matches_list("a", "(a")
    assert matches_list("[a]", "[a]")


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({}, None),
        ({MAIN: "", "usr/etc/ssh/sshd_config": "PasswordAuthentication no\n"}, "/etc/ssh/sshd_config"),
        ({"usr/etc/ssh/sshd_config": "Include sshd_config.d/*.conf\n"}, "/usr/etc/ssh/sshd_config"),
        ({"usr/local/etc/ssh/sshd_config": "Include sshd_config.d/*.conf\n"}, "/usr/local/etc/ssh/sshd_config"),
    ],
)
def test_where_the_main_file_is(guest: Guest, files: dict[str, str], path: Any) -> None:
    drop_in = "PasswordAuthentication no\n"
    guest.put({**files, f"{D}/a.conf": drop_in, "usr/local/etc/ssh/sshd_config.d/a.conf": drop_in})
    config = read_config(System(guest.root).files)
    assert (config.path if config else None) == path
    if path is not None and path != "/etc/ssh/sshd_config":
        assert config is not None
        assert config.value(PASS) == "no"


def test_an_include_in_a_circle_ends(guest: Guest) -> None:
    guest.put({MAIN: "Include /etc/ssh/sshd_config /etc/ssh/sshd_config\nPasswordAuthentication no\n"})
    config = read_config(System(guest.root).files)
    assert config is not None
    assert config.value(PASS) == "no"


@pytest.mark.parametrize("text", ["", "a\n", "a", "\n\na\n", "a\r\nb\r\n", "Match all\nX yes\n", "\udcff\n"])
def test_a_block_is_put_ahead_once_and_replaced(text: str) -> None:
    once = BLOCK.put(text, ["A 1"])
    assert once.endswith(text)
    assert once.split("\n")[1].rstrip("\r") == "A 1"
    assert BLOCK.put(once, ["A 1"]) == once
    changed = BLOCK.put(once, ["A 2", "B 1"])
    assert changed.endswith(text)
    assert "A 1" not in changed
    assert BLOCK.put(changed, ["A 1"]) == once


def test_a_block_whose_end_somebody_removed_takes_nothing_else_with_it() -> None:
    torn = BLOCK.put("Port 22\n", ["A 1"]).replace("# azurelite: end\n", "")
    assert BLOCK.put(torn, ["A 2"]).endswith("A 2\n# azurelite: end\nA 1\nPort 22\n")
