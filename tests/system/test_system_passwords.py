"""Passwords in /etc/shadow: what is there is told truly, and what changes is one field and nothing beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import BASE, FastClock, Guest, shim

from azurelite.errors import MachineError
from azurelite.metadata import Secret
from azurelite.system.accounts.libcrypt import make_hash
from azurelite.system.accounts.passwords import Passwords
from azurelite.system.accounts.tools import PwTools, is_busybox
from azurelite.system.accounts.users import NewUser
from azurelite.system.machine import System
from azurelite.system.process import Commands

HASH = "$6$saltsaltsalt$" + "a" * 86
SECRET = Secret("canary:pass")


def with_user(guest: Guest, field: str, rest: str = "19000:0:99999:7:::") -> Guest:
    """An account `u` whose line of /etc/shadow has this password field."""
    guest.put({"etc/passwd": BASE["etc/passwd"] + "u:x:1000:1000::/home/u:/bin/sh\n"})
    return guest.put({"etc/shadow": BASE["etc/shadow"] + f"u:{field}:{rest}\n"})


def passwords(guest: Guest, *, dry_run: bool = False) -> Passwords:
    return System(guest.root, dry_run=dry_run, clock=FastClock()).accounts.passwords


def line(guest: Guest) -> list[str]:
    return guest.text("etc/shadow").splitlines()[-1].split(":")


@pytest.mark.parametrize(
    ("field", "state"),
    [
        (HASH, "set"),
        ("$y$j9T$abc$def", "set"),
        ("abJnggxhB/yWI", "set"),
        ("*", "none"),
        ("!", "none"),
        ("!!", "none"),
        ("!*", "none"),
        ("*LK*", "none"),
        ("*NP*", "locked"),  # what is not understood is left alone
        (f"!{HASH}", "locked"),
        (f"!!{HASH}", "locked"),
        ("", "empty"),
    ],
)
def test_the_state_of_a_password(guest: Guest, field: str, state: str) -> None:
    assert passwords(with_user(guest, field)).state("u") == state


@pytest.mark.parametrize("passwd", ["u:*:1000:1000::/:/bin/sh", "u::1000:1000::/:/bin/sh", "other:x:1:1::/:/bin/sh"])
def test_an_account_that_shadow_does_not_rule_has_it_elsewhere(guest: Guest, passwd: str) -> None:
    with_user(guest, HASH).put({"etc/passwd": passwd + "\n"})
    found = passwords(guest)
    assert found.state("u") == "elsewhere"
    assert not found.fits("u", SECRET)
    acts: list[Callable[[], object]] = [lambda: found.set_text("u", SECRET), lambda: found.expire("u")]
    for act in acts:
        before = guest.snapshot()
        with pytest.raises(MachineError, match="cannot change the password of u: it has no line in /etc/shadow"):
            act()
        assert guest.snapshot() == before


@pytest.mark.parametrize("field", ["*", "!", HASH, f"!{HASH}", ""])
def test_a_password_is_set_once_and_only_its_fields_change(guest: Guest, field: str) -> None:
    with_user(guest, field, "0:1:2:3:4:5:").path("etc/shadow").chmod(0o640)
    before = guest.snapshot()
    assert passwords(guest).set_text("u", SECRET)
    after = guest.snapshot(without=("/etc/.pwd.lock",))
    assert {path for path in after if after[path] != before.get(path)} == {"/etc/shadow"}
    assert after["/etc/shadow"][:3] == before["/etc/shadow"][:3]
    # No date of change: `0` would ask for a new password at once, and a date from a wrong clock might be long ago.
    assert [line(guest)[0], *line(guest)[2:]] == ["u", "", "1", "2", "3", "4", "5", ""]
    assert guest.text("etc/shadow").startswith(BASE["etc/shadow"])
    assert passwords(guest).fits("u", SECRET)
    again = guest.snapshot()
    assert not passwords(guest).set_text("u", SECRET)
    assert guest.snapshot() == again


def test_a_short_line_is_made_whole(guest: Guest) -> None:
    with_user(guest, "*", "").put({"etc/shadow": BASE["etc/shadow"] + "u:*\n"})
    passwords(guest).set_text("u", SECRET)
    assert len(line(guest)) == 9


@pytest.mark.parametrize("bad", ["", "a\nroot:b", "a\0", "x" * 300])
def test_a_password_that_would_break_out_of_its_line_is_refused(guest: Guest, bad: str) -> None:
    before = with_user(guest, "*").snapshot()
    with pytest.raises(MachineError, match="cannot use the password of u: ") as caught:
        passwords(guest).set_text("u", Secret(bad))
    assert caught.value.reason == "failed to provision password"
    assert guest.snapshot() == before


@pytest.mark.parametrize("bad", ["plain", "*", "!", "a:b", "$6$a$b\nroot::0:0", "$6$a:b$c"])
def test_a_hash_that_is_none_is_refused_and_not_repeated(guest: Guest, bad: str) -> None:
    before = with_user(guest, "*").snapshot()
    with pytest.raises(MachineError, match="the password hash of u does not have the form") as caught:
        passwords(guest).set_hash("u", Secret(bad))
    assert bad not in caught.value.message or bad in ("*", "!")
    assert guest.snapshot() == before


def test_a_hash_is_stored_as_it_is(guest: Guest) -> None:
    made = make_hash(Commands(), SECRET)
    assert passwords(with_user(guest, "*")).set_hash("u", Secret(made))
    assert line(guest)[1] == made
    assert passwords(guest).fits("u", SECRET)
    assert not passwords(guest).set_hash("u", Secret(made))


@pytest.mark.parametrize(
    ("field", "after"), [(HASH, f"!{HASH}"), ("*", "*"), ("!", "!"), (f"!{HASH}", f"!{HASH}"), ("", "")]
)
def test_locking_keeps_the_hash_and_touches_no_lock(guest: Guest, field: str, after: str) -> None:
    with_user(guest, field)
    assert passwords(guest).lock("u") is (field != after)
    assert line(guest)[1] == after
    assert not passwords(guest).lock("u")


def test_expiring_is_done_once(guest: Guest) -> None:
    with_user(guest, HASH)
    assert passwords(guest).expire("u")
    assert line(guest) == ["u", HASH, "0", "0", "99999", "7", "", "", ""]
    assert not passwords(guest).expire("u")


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dry_run_tells_the_same_and_knows_what_would_be(guest: Guest, dry_run: bool) -> None:
    before = with_user(guest, "*").snapshot()
    system = System(guest.root, dry_run=dry_run, clock=FastClock())
    found = system.accounts.passwords
    assert found.set_text("u", SECRET)
    assert found.fits("u", SECRET)
    assert not found.fits("u", Secret("other"))
    assert not found.set_text("u", SECRET)
    assert found.lock("u")
    assert found.state("u") == "locked"
    assert not found.fits("u", SECRET)
    assert found.expire("u")
    assert not found.expire("u")
    assert [str(change) for change in system.journal.since(0)] == [
        "set the password (user u)",
        "lock the password (user u)",
        "require a new password at the next login (user u)",
    ]
    assert (guest.snapshot() == before) is dry_run


def test_without_shadow_no_hash_goes_where_everybody_reads_it(guest: Guest) -> None:
    guest.path("etc/shadow").unlink()
    guest.put({"etc/passwd": BASE["etc/passwd"] + "u:*:1000:1000::/home/u:/bin/sh\n"})
    before = guest.snapshot()
    with pytest.raises(MachineError, match=r"there is no /etc/shadow, .* run `pwconv`"):
        passwords(guest).set_text("u", SECRET)
    assert guest.snapshot() == before


def test_a_new_account_may_have_a_last_day(guest: Guest) -> None:
    accounts = System(guest.root, clock=FastClock()).accounts
    accounts.create_user(NewUser("u", "/home/u", "/bin/sh", expire_day=22279, inactive=7))
    assert line(guest) == ["u", "*", "", "0", "99999", "7", "7", "22279", ""]


@pytest.mark.spawns
class TestFreeBsd:
    """pw cannot run here: a shim takes its place, and its manual page says what its arguments mean."""

    @pytest.fixture
    def bsd(self, guest: Guest) -> Guest:
        guest.put(
            {"etc/master.passwd": "root:*:0:0::0:0:Charlie &:/root:/bin/sh\nu:*:1001:1001::0:0::/home/u:/bin/sh\n"}
        )
        return guest.put({"etc/passwd": BASE["etc/passwd"] + "u:*:1001:1001::/home/u:/bin/sh\n"})

    def test_a_password_travels_on_standard_input(self, bsd: Guest, tmp_path: Path) -> None:
        log = shim(tmp_path / "bin", "pw", script=f'cat > "{tmp_path}/stdin"')
        system = System(bsd.root, search_path=str(tmp_path / "bin"))
        assert system.accounts.passwords.state("u") == "none"
        assert system.accounts.passwords.set_text("u", SECRET)
        assert log.read_text().split() == ["-R", bsd.root, "usermod", "u", "-h", "0", "--"]
        assert (tmp_path / "stdin").read_text() == "canary:pass\n"

    def test_without_pw_the_database_is_left_alone(self, bsd: Guest) -> None:
        before = bsd.snapshot()
        system = System(bsd.root, clock=FastClock())
        acts: list[Callable[[], Any]] = [
            lambda: system.accounts.passwords.set_text("u", SECRET),
            lambda: system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh")),
            lambda: system.accounts.ensure_group("docker"),
        ]
        for act in acts:
            with pytest.raises(MachineError, match=r"/etc/master.passwd"):
                act()
        assert bsd.snapshot() == before

    def test_accounts_and_groups_are_made_by_pw(self, tmp_path: Path) -> None:
        log = shim(tmp_path, "pw")
        tools = PwTools(Commands(str(tmp_path)))
        tools.add_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel", "operator"), comment="A B"))
        tools.add_group("docker")
        tools.join("azure", "docker")
        tools.lock("azure")
        calls = [call.split("\n") for call in log.read_text().strip().removesuffix("--").strip().split("\n--\n")]
        assert calls == [
            ["useradd", "azure", "-d", "/home/azure", "-s", "/bin/sh", "-m", "-G", "wheel,operator", "-c", "A B"],
            ["groupadd", "docker"],
            ["groupmod", "docker", "-m", "azure"],
            ["lock", "azure"],
        ]


def test_busybox_is_told_from_programs_of_the_same_name(tmp_path: Path) -> None:
    for name, content in (("busybox", "b"), ("adduser", "debian's")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "addgroup").symlink_to("busybox")
    os.link(tmp_path / "busybox", tmp_path / "chpasswd")
    commands = Commands(str(tmp_path))
    assert [is_busybox(commands, name) for name in ("adduser", "addgroup", "chpasswd", "nosuch")] == [
        False,
        True,
        True,
        False,
    ]


def test_no_secret_is_in_any_error(guest: Guest) -> None:
    with_user(guest, "*").path("etc/shadow").unlink()
    with pytest.raises(MachineError) as caught:
        passwords(guest).set_text("u", SECRET)
    assert not re.search("canary", str(caught.value) + repr(caught.value.data))
