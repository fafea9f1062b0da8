"""Removing one account from the account files, and from all that is named after it."""

from __future__ import annotations

import pytest
from kit import BASE, FastClock, Guest

from azurelite.capture.accounts import is_empty_group, remove_account
from azurelite.errors import MachineError
from azurelite.system.accounts.users import User
from azurelite.system.machine import System

ALICE = User("alice", 1000, 1000, "/home/alice", "/bin/sh")
OTHERS = "alicent:x:1001:1001:alice:/home/alicent:/bin/sh\n"
GROUPS = "wheel:x:10:{}bob\ndocker:x:990:{}\nalicent:x:1001:\n"
FILES = {
    "etc/passwd": BASE["etc/passwd"] + "alice:x:1000:1000::/home/alice:/bin/sh\n" + OTHERS,
    "etc/shadow": "root:*:19000:0:99999:7:::\nalice:$6$hash:19000:0:99999:7:::\nalicent:*:19000::::::\n",
    "etc/group": "root:x:0:\n" + GROUPS.format("alice,", "alice") + "alice:x:1000:\n",
    "etc/gshadow": "root:*::\nwheel:!:alice:alice,bob\nalice:!::\n",
    "etc/passwd-": "alice:x:1000:1000::/home/alice:/bin/sh\n" + OTHERS,
    "etc/shadow-": "alice:$6$old:19000:0:99999:7:::\n",
    "etc/group-": GROUPS.format("alice,", "alice") + "alice:x:1000:\n",
    "etc/subuid": "alice:100000:65536\nalicent:165536:65536\n",
    "etc/subgid-": "alice:100000:65536\n",
    "var/mail/alice": "mail",
    "var/mail/alicent": "mail",
    "var/spool/cron/crontabs/alice": "* * * * * x",
    "var/lib/systemd/linger/alice": "",
}
LEFT = {
    "etc/passwd": BASE["etc/passwd"] + OTHERS,
    "etc/shadow": "root:*:19000:0:99999:7:::\nalicent:*:19000::::::\n",
    "etc/group": "root:x:0:\n" + GROUPS.format("", ""),
    "etc/gshadow": "root:*::\nwheel:!::bob\n",
    "etc/passwd-": OTHERS,
    "etc/shadow-": "",
    "etc/group-": GROUPS.format("", ""),
    "etc/subuid": "alicent:165536:65536\n",
    "etc/subgid-": "",
    "var/mail/alicent": "mail",
}


def test_one_account_goes_and_its_neighbours_stay(guest: Guest) -> None:
    guest.put(FILES)
    guest.path("etc/shadow").chmod(0o640)
    remove_account(System(guest.root, clock=FastClock()), ALICE)
    assert {name: guest.text(name) for name in FILES if guest.path(name).exists()} == LEFT
    assert guest.mode("etc/shadow") == 0o640


def test_a_group_that_another_account_has_stays(guest: Guest) -> None:
    guest.put({**FILES, "etc/passwd": FILES["etc/passwd"] + "bob:x:1002:1000::/home/bob:/bin/sh\n"})
    remove_account(System(guest.root, clock=FastClock()), ALICE)
    assert "alice:x:1000:\n" in guest.text("etc/group")
    assert "\nalice:" not in guest.text("etc/passwd")


def test_freebsds_database_is_left_to_its_own_tool(guest: Guest) -> None:
    guest.put({**FILES, "etc/master.passwd": ""})
    with pytest.raises(MachineError, match="pw userdel alice"):
        remove_account(System(guest.root, clock=FastClock()), ALICE)
    assert guest.text("etc/passwd") == FILES["etc/passwd"]


@pytest.mark.parametrize(
    ("line", "empty"),
    [
        ("ops:x:1500:", True),
        ("ops:x:1500:alice", True),
        ("ops:x:1500:alice,bob", False),
        ("ops:x:1001:", False),  # the primary group of another account
        ("ops:x:999:", False),
        ("ops:x:65534:", False),
        ("ops:x::", False),
        ("other:x:1500:", False),
    ],
)
def test_a_group_goes_when_nobody_is_left_in_it(guest: Guest, line: str, empty: bool) -> None:
    guest.put({**FILES, "etc/group": line + "\n"})
    assert is_empty_group(System(guest.root).files, "ops", without=["alice"]) == empty
