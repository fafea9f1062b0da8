"""Owners by name or number, and the folders that others can change."""

from __future__ import annotations

import os

import pytest
from kit import BASE, Guest

from azurelite.errors import MachineError
from azurelite.system.accounts.users import Owner
from azurelite.system.machine import System
from azurelite.system.owners import find_owner, shared_folder

PASSWD = {"etc/passwd": BASE["etc/passwd"] + "web:x:1500:1600::/home/web:/bin/sh\n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root", (0, 0)),
        ("root:root", (0, 0)),
        ("web", (1500, 1600)),
        ("web:wheel", (1500, 10)),
        ("web:7", (1500, 7)),
        (":wheel", (0, 10)),
        ("1500", (1500, 1600)),
        ("0", (0, 0)),
        ("4000:4001", (4000, 4001)),
        ("4000:wheel", (4000, 10)),
    ],
)
def test_an_owner_is_found(guest: Guest, text: str, expected: tuple[int, int]) -> None:
    owner = find_owner(System(guest.put(PASSWD).root), text)
    assert owner == Owner(text, *expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nobodyknows", "user nobodyknows does not exist"),
        ("web:nogroupatall", "group nogroupatall does not exist"),
        ("4000", "no account has the number 4000"),
        ("4294967295", "user 4294967295 does not exist"),
    ],
)
def test_who_is_not_there_is_named(guest: Guest, text: str, match: str) -> None:
    with pytest.raises(MachineError, match=match):
        find_owner(System(guest.put(PASSWD).root), text)


def test_in_a_dry_run_somebody_who_would_be_made_counts(guest: Guest) -> None:
    system = System(guest.root, dry_run=True)
    system.accounts.ensure_group("crew")
    assert find_owner(system, ":crew") == Owner(":crew", 0, -1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/motd", None),
        ("/new/folder/file", None),
        ("/tmp/x/y", "/tmp"),
        ("/home/web/.config/rc", "/home/web"),
        ("/home/web", None),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can give files away")
def test_the_first_folder_that_others_can_change_is_found(guest: Guest, path: str, expected: str | None) -> None:
    guest.put({"tmp/.keep": "", "home/web/.config/.keep": ""})
    guest.path("tmp").chmod(0o1777)
    os.chown(guest.path("home/web"), 1500, 1500)
    assert shared_folder(System(guest.root), path) == expected
