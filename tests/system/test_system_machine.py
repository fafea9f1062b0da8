"""The one door: what is live, and when the kernel is told its name."""

from __future__ import annotations

import os

import pytest
from kit import Guest

from azurelite.system.machine import System


@pytest.mark.parametrize(("root", "dry_run", "live"), [("/", False, True), ("/", True, False), (None, False, False)])
def test_only_a_real_run_on_the_running_system_is_live(
    guest: Guest, root: str | None, dry_run: bool, live: bool
) -> None:
    assert System(root or guest.root, dry_run=dry_run).live is live


def test_a_foreign_root_leaves_the_running_kernel_alone(guest: Guest) -> None:
    system = System(guest.root)
    assert not system.set_kernel_hostname("other")
    assert len(system.journal) == 0


def test_a_dry_run_on_the_running_system_only_records_the_new_name() -> None:
    before = os.uname().nodename
    system = System("/", dry_run=True)
    assert system.set_kernel_hostname(f"{before[:20]}-not")
    assert [change.kind for change in system.journal.since(0)] == ["hostname"]
    assert os.uname().nodename == before


def test_a_kernel_that_has_the_name_is_told_nothing() -> None:
    system = System("/")
    assert not system.set_kernel_hostname(os.uname().nodename)
    assert len(system.journal) == 0


def test_the_running_systems_accounts_are_asked_of_its_libraries() -> None:
    accounts = System("/", dry_run=True).accounts
    user = accounts.user("root")
    assert user is not None
    assert (user.uid, accounts.is_system_account(user)) == (0, True)
    assert accounts.user("no-such-account-here") is None
