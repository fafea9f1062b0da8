"""Accounts through shadow-utils in a foreign root: the real tools leave the same facts as the direct edit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from kit import BASE, FastClock, Guest, shim

from azurelite.clock import Deadline
from azurelite.errors import CommandError
from azurelite.system.accounts.passwd import PasswdFiles
from azurelite.system.accounts.tools import ShadowTools
from azurelite.system.accounts.users import NewUser
from azurelite.system.machine import System
from azurelite.system.process import Commands

pytestmark = pytest.mark.spawns

TOOLS = ("useradd", "usermod", "groupadd")
LOGIN_DEFS = "UID_MIN 2000\nUID_MAX 60000\nGID_MIN 2000\nGID_MAX 60000\nHOME_MODE 0700\nUMASK 022\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: shadow-utils work for root only")


def facts(guest: Guest) -> dict[str, Any]:
    """What matters of the accounts: ageing dates and the order of lines do not."""
    home = {k: v for k, v in guest.snapshot().items() if k.startswith("/home")}
    return {
        "passwd": sorted(guest.text("etc/passwd").splitlines()),
        "group": sorted(guest.text("etc/group").splitlines()),
        "gshadow": sorted(guest.text("etc/gshadow").splitlines()),
        "passwords": sorted(line.split(":")[:2] for line in guest.text("etc/shadow").splitlines()),
        "home": home,
    }


@pytest.fixture
def twins(guest: Guest, tmp_path: Path) -> tuple[Guest, Guest]:
    """Two equal guests of shadow's kind."""
    guest.put({"etc/login.defs": LOGIN_DEFS, "etc/skel/.config/rc": "x", "etc/subuid": "", "etc/subgid": ""})
    guest.put({"etc/group": BASE["etc/group"] + "azure2:x:777:\n", "etc/gshadow": BASE["etc/gshadow"] + "azure2:!::\n"})
    shutil.copytree(guest.folder, tmp_path / "twin")
    return guest, Guest(tmp_path / "twin")


@needs_root
@pytest.mark.parametrize(
    "new",
    [
        NewUser("azure", "/home/azure", "/bin/sh"),
        NewUser("Azure.U-1_x", "/home/Azure.U-1_x", "/bin/bash"),
        NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel",)),
        NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel", "daemon")),
        NewUser("azure2", "/home/azure2", "/bin/sh", primary_group="azure2"),
        NewUser("a" * 32, "/home/" + "a" * 32, "/bin/sh"),
    ],
)
def test_a_new_account_is_the_same_by_the_tools_and_by_the_direct_edit(
    twins: tuple[Guest, Guest], new: NewUser
) -> None:
    by_tools, by_edit = twins
    system = System(by_tools.root)
    made = system.accounts.create_user(new)
    PasswdFiles(System(by_edit.root).files, Deadline(FastClock(), 5)).add_user(new)
    assert by_tools.path("etc/passwd-").exists(), "the tools leave this copy: they were not used"
    assert facts(by_tools) == facts(by_edit)
    assert made == System(by_edit.root).accounts.user(new.name)
    assert made.uid == 2000
    shadow = dict(line.split(":")[:2] for line in by_tools.text("etc/shadow").splitlines())
    assert shadow[new.name] == "*"


@needs_root
def test_groups_and_members_are_the_same_too(twins: tuple[Guest, Guest]) -> None:
    for guest in twins:
        old = "old:x:1500:1500::/home/old:/bin/zsh\n"
        guest.put({"etc/passwd": BASE["etc/passwd"] + old, "etc/shadow": BASE["etc/shadow"] + "old:$6$kept:1::::::\n"})
    by_tools, by_edit = twins
    system = System(by_tools.root)
    old_user = system.accounts.user("old")
    assert old_user is not None
    assert system.accounts.ensure_group("docker")
    assert system.accounts.ensure_member(old_user, "docker")
    direct = PasswdFiles(System(by_edit.root).files, Deadline(FastClock(), 5))
    direct.add_group("docker")
    direct.join("old", "docker")
    assert by_tools.path("etc/group-").exists(), "the tools leave this copy: they were not used"
    assert facts(by_tools) == facts(by_edit)
    assert not System(by_tools.root).accounts.ensure_member(old_user, "docker")


@needs_root
def test_a_home_that_exists_is_not_touched_by_the_tools(twins: tuple[Guest, Guest]) -> None:
    guest = twins[0].put({"home/azure/mine": "kept"})
    before = {k: v for k, v in guest.snapshot().items() if k.startswith("/home")}
    System(guest.root).accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh"))
    assert {k: v for k, v in guest.snapshot().items() if k.startswith("/home")} == before


@needs_root
@pytest.mark.parametrize(
    "linked", ["etc", "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/subuid", "etc/subgid", "home"]
)
def test_a_root_with_a_link_that_leads_out_is_edited_directly_and_nothing_outside_changes(
    twins: tuple[Guest, Guest], tmp_path: Path, linked: str
) -> None:
    guest, outside = twins
    target = str(outside.path(linked))
    guest.path(target).parent.mkdir(parents=True)
    guest.path(linked).rename(guest.path(target))
    guest.path(linked).symlink_to(target)
    before = outside.snapshot()
    log = shim(tmp_path / "bin", "useradd", exit_code=1)
    system = System(guest.root, search_path=str(tmp_path / "bin"), clock=FastClock())
    assert system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh")).uid == 2000
    assert not log.exists()
    assert outside.snapshot() == before


@needs_root
@pytest.mark.parametrize("missing", ["etc/login.defs", "home"])
def test_a_root_that_is_not_of_shadows_kind_is_edited_directly(
    twins: tuple[Guest, Guest], tmp_path: Path, missing: str
) -> None:
    guest = twins[0]
    (shutil.rmtree if guest.path(missing).is_dir() else os.unlink)(guest.path(missing))
    log = shim(tmp_path / "bin", "useradd", exit_code=1)
    system = System(guest.root, search_path=str(tmp_path / "bin"), clock=FastClock())
    system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh"))
    assert not log.exists()


@needs_root
def test_a_useradd_that_fails_is_heard_with_its_words(twins: tuple[Guest, Guest], tmp_path: Path) -> None:
    guest = twins[0]
    for tool in TOOLS:
        shim(tmp_path / "bin", tool, script="echo 'useradd: cannot lock /etc/passwd' >&2", exit_code=1)
    before = guest.snapshot()
    system = System(guest.root, search_path=str(tmp_path / "bin"))
    with pytest.raises(CommandError, match="useradd failed with status 1: useradd: cannot lock /etc/passwd"):
        system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh"))
    assert guest.snapshot(without=("/var/lib/azurelite/accounts", "/var/lib/azurelite")) == before
    assert list(guest.path("var/lib/azurelite/accounts").iterdir()) == []


@needs_root
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("left", "named"),
    [  # useradd refuses to work while the locks are there; leftovers of other kinds do not matter to it
        ({"etc/passwd.lock": "4194000\0"}, ["passwd.lock"]),
        ({"etc/group.lock": "1\0"}, ["group.lock"]),
        ({"etc/shadow.lock": ""}, ["shadow.lock"]),
        ({"etc/gshadow.lock": "canary"}, ["gshadow.lock"]),
        ({"etc/subuid.lock": "5", "etc/passwd.lock": "5"}, ["passwd.lock", "subuid.lock"]),
        ({"etc/passwd+": "", "etc/passwd.4711": "", "etc/other.lock": "1"}, []),
    ],
)
def test_locks_that_a_crash_left_in_a_foreign_root_are_named_stay_and_stop_nothing(
    twins: tuple[Guest, Guest],
    caplog: pytest.LogCaptureFixture,
    left: dict[str, str],
    named: list[str],
    dry_run: bool,
) -> None:
    guest = twins[0].put(left)
    system = System(guest.root, clock=FastClock(), dry_run=dry_run)
    system.accounts.ensure_group("docker")
    made = system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh"))
    assert system.accounts.ensure_member(made, "docker")
    if not dry_run:
        assert made.uid == 2000
        assert guest.path("etc/passwd-").exists() is (not named), "a copy that useradd leaves"
        assert "azure" in System(guest.root).accounts.groups_of("azure")
        assert guest.path("home/azure/.config/rc").exists()
    assert all(guest.text(path) == text for path, text in left.items() if path != "etc/passwd+")
    said = [record.getMessage() for record in caplog.records if "interrupted" in record.getMessage()]
    paths = ", ".join(f"{guest.root}/etc/{name}" for name in named)
    assert [f" left {paths}: " in line for line in said] == [True] * bool(named)


@needs_root
def test_a_dry_run_starts_no_tool(twins: tuple[Guest, Guest], tmp_path: Path) -> None:
    guest = twins[0]
    logs = [shim(tmp_path / "bin", tool, exit_code=1) for tool in TOOLS]
    system = System(guest.root, search_path=str(tmp_path / "bin"), dry_run=True)
    system.accounts.ensure_group("docker")
    system.accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("docker",)))
    assert not any(log.exists() for log in logs)


@pytest.mark.parametrize(
    ("new", "argv"),
    [
        (
            NewUser("azure", "/home/azure", "/bin/sh"),
            "--create-home --home-dir /home/azure --shell /bin/sh --password * --user-group azure",
        ),
        (
            NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel", "adm"), primary_group="azure"),
            (
                "--create-home --home-dir /home/azure --shell /bin/sh --password * --no-user-group --gid azure "
                "--groups wheel,adm azure"
            ),
        ),
    ],
)
def test_on_the_running_system_useradd_is_asked_without_a_prefix(tmp_path: Path, new: NewUser, argv: str) -> None:
    log = shim(tmp_path, "useradd")
    ShadowTools(Commands(str(tmp_path))).add_user(new)
    assert log.read_text().split() == [*argv.split(), "--"]


@pytest.mark.parametrize("prefix", [None, "/scratch/root"])
def test_groups_are_made_and_joined_by_their_own_tools(tmp_path: Path, prefix: str | None) -> None:
    logs = {tool: shim(tmp_path, tool) for tool in TOOLS}
    tools = ShadowTools(Commands(str(tmp_path)), prefix=prefix)
    tools.add_group("docker")
    tools.join("azure", "docker")
    start = ["--prefix", prefix] if prefix else []
    assert logs["groupadd"].read_text().split() == [*start, "docker", "--"]
    assert logs["usermod"].read_text().split() == [*start, "--append", "--groups", "docker", "azure", "--"]
    assert not logs["useradd"].exists()
