"""`users`: one refused account stops no other, and no value can change another field or line."""

from __future__ import annotations

import os
import shutil
from typing import Any, Callable

import pytest
from kit import BASE, ED25519, Guest

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.users import Options, apply, apply_leniently
from azurelite.metadata import Secret
from azurelite.system.accounts.libcrypt import make_hash
from azurelite.system.process import Commands

Make = Callable[..., Context]
HASH = make_hash(Commands(), Secret("canary-hashed"))
VISUDO = shutil.which("visudo", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the files of the guest are root's")


def options(*accounts: dict[str, Any], groups: Any = ()) -> Options:
    given = {"accounts": list(accounts), "groups": list(groups)}
    return bind(Options, given, Document({}, {}), ("users",))


def entry(guest: Guest, name: str, table: str = "passwd") -> list[str]:
    """The fields of an account's line in a table; empty if there is no line."""
    found = [line.split(":") for line in guest.text(f"etc/{table}").splitlines() if line.split(":")[0] == name]
    assert len(found) < 2
    return found[0] if found else []


def test_an_account_with_everything(guest: Guest, context: Make, notes: list[str]) -> None:
    guest.put({"bin/zsh": ""}).path("bin/zsh").chmod(0o755)
    wish = options(
        {
            "name": "alice",
            "comment": "Alice, A.",
            "uid": 4321,
            "primary_group": "crew",
            "groups": ["wheel", "docker", "wheel"],
            "shell": "/bin/zsh",
            "home": "/srv/alice",
            "sudo": "nopasswd",
            "ssh_authorized_keys": [ED25519, "damaged"],
            "plain_text_password": "canary-plain",
            "expire_date": "2031-01-01",
            "inactive": "30",
        }
    )
    ctx = context()
    apply(ctx, wish)
    gid = entry(guest, "crew", "group")[2]
    assert entry(guest, "alice") == ["alice", "x", "4321", gid, "Alice, A.", "/srv/alice", "/bin/zsh"]
    assert entry(guest, "wheel", "group")[3] == entry(guest, "docker", "group")[3] == "alice"
    assert entry(guest, "alice", "shadow")[2:] == ["", "0", "99999", "7", "30", "22280", ""]
    assert ctx.system.accounts.passwords.fits("alice", Secret("canary-plain"))
    assert guest.text("etc/sudoers.d/90-azurelite").splitlines()[1:] == ['"alice" ALL=(ALL:ALL) NOPASSWD: ALL']
    assert guest.text("srv/alice/.ssh/authorized_keys") == f"{ED25519}\n"
    assert len(notes) == 1
    assert notes[0].startswith("SSH key 2 of alice skipped")
    before = guest.snapshot()
    again = context()
    apply(again, wish)
    assert len(again.system.journal) == 0
    assert guest.snapshot() == before


REFUSED = [
    ({"name": ""}, "name must be at most 32 letters"),
    ({"name": "a b"}, "name must be at most 32 letters"),
    ({"name": "a\nroot ALL=(ALL) ALL"}, "name must be at most 32 letters"),
    ({"name": "../x"}, "name must be at most 32 letters"),
    ({"name": "-x"}, "name must be at most 32 letters"),
    ({"name": "a:b"}, "name must be at most 32 letters"),
    ({"name": "%wheel"}, "name must be at most 32 letters"),
    ({"name": "ALL"}, "name must not be ALL"),
    ({"name": "root"}, "it is a system account"),
    ({"name": "toor", "system": True}, "it is a system account"),
    ({"name": "daemon"}, "it is a system account"),
    ({"name": "nobody"}, "it is a system account"),
    ({"name": "wheel"}, "it is the name of a system group"),
    ({"name": "x", "uid": 0}, "uid must be from 1 to 2147483646"),
    ({"name": "x", "uid": -1}, "uid must be from 1 to 2147483646"),
    ({"name": "x", "uid": 65534}, "uid must be from 1 to 2147483646"),
    ({"name": "x", "uid": 2**40}, "uid must be from 1 to 2147483646"),
    ({"name": "x", "uid": 1}, "uid 1 belongs to daemon"),
    ({"name": "x", "comment": "a:b"}, "comment must be one line"),
    ({"name": "x", "comment": "a\nroot::0:0:::"}, "comment must be one line"),
    ({"name": "x", "home": "home"}, "home must be an absolute path"),
    ({"name": "x", "home": "/home/../etc"}, "home must be an absolute path"),
    ({"name": "x", "home": "/home/a:b"}, "home must be an absolute path"),
    ({"name": "x", "home": "/"}, "home must be an absolute path"),
    pytest.param({"name": "x", "home": "/etc"}, "/etc already exists and belongs to root", marks=needs_root),
    ({"name": "x", "home": "/root"}, "/root is already the home of root"),
    ({"name": "x", "home": "/home/other"}, "/home/other is already the home of other"),
    ({"name": "x", "home": "/home/link"}, "is a symbolic link, which is not followed"),
    ({"name": "x", "home": "/etc/passwd"}, "is not a folder"),
    ({"name": "x", "shell": "/bin/none"}, "the shell /bin/none does not exist"),
    ({"name": "x", "shell": "sh\n"}, "shell must be an absolute path"),
    ({"name": "x", "groups": ["a,b"]}, "name must be at most 32 letters"),
    ({"name": "x", "groups": ["-x"]}, "name must be at most 32 letters"),
    ({"name": "x", "primary_group": "a:b"}, "name must be at most 32 letters"),
    ({"name": "x", "groups": ["nosuch"], "create_groups": False}, "the group nosuch does not exist"),
    ({"name": "x", "primary_group": "nosuch", "create_groups": False}, "the group nosuch does not exist"),
    ({"name": "x", "sudo_rules": ["ALL=(ALL) ALL\nroot ALL=(ALL) ALL"]}, r"sudo_rules\[0\] must be one line"),
    ({"name": "x", "sudo_rules": ["ALL=(ALL) ALL, \\"]}, r"sudo_rules\[0\] must be one line"),
    ({"name": "x", "sudo_rules": ["ALL=(ALL) ALL", "#include /tmp/x=1"]}, r"sudo_rules\[1\] must have the form"),
    ({"name": "x", "sudo_rules": ["@include /tmp/x = y"]}, r"sudo_rules\[0\] must have the form"),
    ({"name": "x", "sudo_rules": [""]}, r"sudo_rules\[0\] must have the form"),
    ({"name": "x", "doas_rules": ["permit nopass other"]}, r"doas_rules\[0\] must be a rule for this account"),
    ({"name": "x", "doas_rules": ["permit nopass :x"]}, r"doas_rules\[0\] must be a rule for this account"),
    ({"name": "x", "doas_rules": ["permit setenv { A=x } other cmd x"]}, "must be a rule for this account"),
    ({"name": "x", "doas_rules": ["permit x\npermit nopass :wheel"]}, r"doas_rules\[0\] must be one line"),
    ({"name": "x", "doas_rules": ["permit nopass x"]}, "doas is not installed: install it, or remove `doas_rules`"),
    ({"name": "x", "expire_date": "soon"}, "expire_date must be a date"),
    ({"name": "x", "expire_date": "2030-13-40"}, "expire_date must be a date"),
    ({"name": "x", "inactive": "-1"}, "inactive must be a number of days"),
    ({"name": "x", "inactive": -1}, "inactive must be a number of days"),
    ({"name": "x", "inactive": "7\n"}, "inactive must be a number of days"),
    ({"name": "x", "plain_text_password": "canary\nroot:y"}, "plain_text_password: it contains a line break"),
    ({"name": "x", "plain_text_password": ""}, "plain_text_password: it is empty"),
    ({"name": "x", "hashed_password": "canary"}, "hashed_password is not a hash"),
    ({"name": "x", "hashed_password": "$6$canary$b:0:0"}, "hashed_password is not a hash"),
    ({"name": "x", "hashed_password": HASH, "plain_text_password": "canary"}, "exclude each other"),
    ({"name": "x", "ssh_authorized_keys": ["canary-key"]}, "SSH key 1 of x skipped"),
]


@pytest.mark.parametrize(("bad", "why"), REFUSED)
def test_a_refused_account_is_named_and_the_others_are_created(
    guest: Guest, context: Make, bad: dict[str, Any], why: str
) -> None:
    guest.put({"etc/passwd": BASE["etc/passwd"] + "toor:x:0:0::/t:/bin/sh\nother:x:1700:1::/home/other:/bin/sh\n"})
    guest.path("home/link").symlink_to("/etc")
    before = guest.snapshot()
    with pytest.raises(HandlerError, match=why) as caught:
        apply(context(), options({"name": "first"}, bad, {"name": "last"}))
    message = caught.value.message
    assert message.startswith("accounts[1] '")
    assert message.isprintable()
    assert "canary" not in message
    assert "accounts[0]" not in message
    assert "accounts[2]" not in message
    assert entry(guest, "first")
    assert entry(guest, "last")
    if "ssh_authorized_keys" not in bad and bad["name"] == "x":
        assert not entry(guest, "x")
    for path in ("/etc/skel", "/root", "/etc/sudoers.d", "/home/link", "/etc"):
        assert guest.snapshot()[path] == before[path]


def test_a_problem_of_several_accounts_is_said_once(guest: Guest, context: Make) -> None:
    with pytest.raises(HandlerError) as caught:
        apply(context(), options(*({"name": name, "doas_rules": [f"permit {name}"]} for name in ("ann", "ben"))))
    assert caught.value.message == (
        "accounts[0] 'ann', accounts[1] 'ben': doas is not installed: install it, or remove `doas_rules`"
    )


def test_a_refused_home_leaves_no_groups_behind(guest: Guest, context: Make) -> None:
    guest.path("home/x").symlink_to("/etc")
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="/home/x, the home of x, is a symbolic link"):
        apply(context(), options({"name": "x", "groups": ["g1"], "primary_group": "g2"}))
    assert guest.snapshot() == before


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"uid": 3001, "groups": ["g7"]}, "uid 3001 belongs to first"),
        ({"home": "/home/first"}, "/home/first is already the home of first"),
    ],
)
def test_a_dry_run_knows_the_accounts_of_the_same_run(
    guest: Guest, context: Make, second: dict[str, Any], why: str
) -> None:
    told = []
    for dry_run in (True, False):
        ctx = context(dry_run=dry_run)
        with pytest.raises(HandlerError, match=why) as caught:
            apply(ctx, options({"name": "first", "uid": 3001}, {"name": "second", **second}))
        told.append((caught.value.message, ctx.system.journal.since(0)))
    assert told[0] == told[1]
    assert not entry(guest, "second")


@pytest.mark.spawns
@pytest.mark.skipif(VISUDO is None, reason="needs visudo: install sudo")
def test_rules_that_sudo_rejects_are_refused_before_any_change(guest: Guest, context: Make) -> None:
    bad = {"name": "x", "sudo_rules": ["ALL=(ALL NOPASSWD: ALL"]}
    good = {"name": "y", "sudo_rules": ["ALL=(root) NOPASSWD: /sbin/reboot", "ALL=(root) /bin/ls"]}
    with pytest.raises(HandlerError, match=r"accounts\[0\] 'x': visudo rejects the rules of x"):
        apply(context(), options(bad, good))
    assert not entry(guest, "x")
    assert guest.text("etc/sudoers.d/90-azurelite").splitlines()[1:] == [f'"y" {rule}' for rule in good["sudo_rules"]]
    ctx = context()
    apply(ctx, options(good))
    assert len(ctx.system.journal) == 0


class TestExisting:
    @pytest.fixture
    def old(self, guest: Guest) -> Guest:
        guest.put({"etc/passwd": BASE["etc/passwd"] + "old:x:1500:1500:Old:/home/old:/bin/zsh\n"})
        guest.put({"etc/group": BASE["etc/group"] + "old:x:1500:\n", "home/old/.profile": ""})
        return guest.put({"etc/shadow": BASE["etc/shadow"] + f"old:{HASH}:19000:0:99999:7:::\n"})

    def test_an_existing_account_is_kept_and_completed(self, old: Guest, context: Make, notes: list[str]) -> None:
        wish = {"name": "old", "uid": 7, "shell": None, "comment": "New", "home": "/home/new", "groups": ["wheel"]}
        apply(context(), options(wish))
        assert entry(old, "old") == ["old", "x", "1500", "1500", "Old", "/home/old", "/bin/zsh"]
        assert entry(old, "wheel", "group")[3] == "old"
        assert entry(old, "old", "shadow")[1] == HASH
        assert notes == ["the account old exists and keeps its uid 1500"]

    @pytest.mark.parametrize(
        ("wish", "field"),
        [
            ({}, HASH),
            ({"lock_password": False}, HASH),
            ({"lock_password": True}, f"!{HASH}"),
            ({"hashed_password": "$6$other$hash"}, "$6$other$hash"),
            ({"hashed_password": "$6$other$hash", "password_for_existing": False}, HASH),
            ({"hashed_password": "$6$other$hash", "lock_password": True}, f"!{HASH}"),
            ({"lock_password": "new"}, HASH),
            ({"hashed_password": "$6$other$hash", "lock_password": "new"}, "$6$other$hash"),
        ],
        ids=range(8),  # the hash differs in every process
    )
    def test_the_password_and_the_lock_change_only_by_their_options(
        self, old: Guest, context: Make, wish: dict[str, Any], field: str
    ) -> None:
        for _ in range(2):
            ctx = context()
            apply(ctx, options({"name": "old", **wish}))
            assert entry(old, "old", "shadow")[1] == field
        assert len(ctx.system.journal) == 0


@pytest.mark.parametrize("key", ["hashed_password", "plain_text_password"])
@pytest.mark.parametrize(("lock", "works"), [("new", False), (True, False), (False, True), (None, True)])
def test_the_password_of_a_new_account_is_locked_where_the_entry_wants_it(
    guest: Guest, context: Make, notes: list[str], key: str, lock: Any, works: bool
) -> None:
    given = "$6$other$hash" if key == "hashed_password" else "canary-plain"
    for number in range(2):
        ctx = context()
        apply(ctx, options({"name": "alice", key: given, "lock_password": lock}))
        assert ctx.system.accounts.passwords.state("alice") == ("set" if works else "none")
        assert bool(len(ctx.system.journal)) == (number == 0)
    said = [note for note in notes if "alice" in note]
    assert len(said) == (0 if works else 2)
    assert all(("lock_passwd: false" in note) == (lock == "new") for note in said)


FLAWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"groups": ["crew", "a b", "wheel"]}, {"groups": {"crew", "wheel"}}),
    ({"shell": "/bin/absent"}, {"shell": "/bin/sh"}),
    ({"shell": "zsh", "comment": "a:b", "groups": ["crew"]}, {"shell": "/bin/sh", "groups": {"crew"}}),
    ({"uid": 1, "home": "relative"}, {"home": "/home/alice"}),
    ({"primary_group": "x y", "expire_date": "soon", "inactive": "long"}, {}),
    ({"hashed_password": "plain"}, {"shadow": "none"}),
    ({"hashed_password": HASH, "plain_text_password": "canary"}, {}),
    ({"sudo_rules": ["ALL=(root) /bin/ls", "no rule"]}, {"sudo": "/bin/ls"}),
    ({"create_groups": False, "groups": ["absent"]}, {"groups": set()}),
]


@pytest.mark.spawns
@pytest.mark.parametrize(("wish", "expected"), FLAWS, ids=[str(list(wish)) for wish, _ in FLAWS])
def test_user_data_loses_only_the_wrong_fields_of_an_account(
    guest: Guest, context: Make, wish: dict[str, Any], expected: dict[str, Any]
) -> None:
    guest.put({"etc/sudoers.d/README": ""})
    given = options({"name": "alice", **wish}, {"name": "bob"})
    with pytest.raises(HandlerError):
        apply(context(), given)
    assert entry(guest, "alice") == []
    ctx = context()
    with pytest.raises(HandlerError, match=r"^accounts\[0\] 'alice': "):
        apply_leniently(ctx, given)
    line = entry(guest, "alice")
    assert line[5:] == [expected.get("home", "/home/alice"), expected.get("shell", "/bin/sh")]
    assert entry(guest, "bob")
    groups = {row.split(":")[0] for row in guest.text("etc/group").splitlines() if "alice" in row.split(":")[3]}
    assert groups == expected.get("groups", set())
    if "shadow" in expected:
        assert ctx.system.accounts.passwords.state("alice") == expected["shadow"]
    if "sudo" in expected:
        assert expected["sudo"] in guest.text("etc/sudoers.d/90-azurelite")
        assert "no rule" not in guest.text("etc/sudoers.d/90-azurelite")
    again = context()
    with pytest.raises(HandlerError):
        apply_leniently(again, given)
    assert len(again.system.journal) == 0


@pytest.mark.parametrize("name", ["root", "a b", "daemon", ""])
def test_user_data_makes_no_account_with_a_name_that_is_refused(guest: Guest, context: Make, name: str) -> None:
    before = guest.snapshot()
    with pytest.raises(HandlerError):
        apply_leniently(context(), options({"name": name, "groups": ["a b"]}))
    assert guest.snapshot() == before


class TestGroups:
    def test_groups_get_their_members_after_the_accounts_are_created(self, guest: Guest, context: Make) -> None:
        groups = [{"name": "crew", "members": ["alice", "daemon", "alice"]}, {"name": "empty"}, {"name": "wheel"}]
        ctx = context()
        apply(ctx, options({"name": "alice"}, groups=groups))
        assert entry(guest, "crew", "group")[3] == "alice,daemon"
        assert entry(guest, "empty", "group")
        apply(again := context(), options({"name": "alice"}, groups=groups))
        assert len(again.system.journal) == 0

    def test_invalid_names_and_missing_members_are_listed_and_the_rest_is_done(
        self, guest: Guest, context: Make
    ) -> None:
        groups = [{"name": "a b"}, {"name": "crew", "members": ["nosuch", "daemon", "x\ny"]}]
        with pytest.raises(HandlerError) as caught:
            apply(context(), options(groups=groups))
        assert caught.value.message.split("; ") == [
            "groups[0] 'a b': name must be at most 32 letters, digits, `_`, `.` and `-`, with a letter or `_` first",
            "groups[1] 'crew': the member 'nosuch' does not exist: create the account first",
            r"groups[1] 'crew': the member 'x\ny' does not exist: create the account first",
        ]
        assert entry(guest, "crew", "group")[3] == "daemon"


def test_a_service_account_gets_a_low_uid_and_no_home(guest: Guest, context: Make) -> None:
    ctx = context()
    apply(ctx, options({"name": "svc", "system": True, "create_home": False, "home": "/var/lib/svc"}))
    name, _, uid, gid, _, home, _ = entry(guest, "svc")
    assert (name, uid, home) == ("svc", "999", "/var/lib/svc")
    assert entry(guest, "svc", "group")[2] == gid == "999"
    assert not guest.path("var/lib/svc").exists()
    apply(again := context(), options({"name": "svc", "system": True, "create_home": False}))
    assert len(again.system.journal) == 0


def test_a_key_folder_is_never_made_in_somebody_elses_home(guest: Guest, context: Make) -> None:
    wish = {"name": "x", "home": "/root", "create_home": False, "ssh_authorized_keys": [ED25519]}
    with pytest.raises(HandlerError, match="/root is already the home of root"):
        apply(context(), options(wish))
    assert not guest.path("root/.ssh").exists()


def test_without_options_nothing_is_done(guest: Guest, context: Make) -> None:
    before = guest.snapshot()
    apply(context(), Options())
    assert guest.snapshot() == before
