"""Package managers: which is taken, what it is asked and told. Programs are shims; the real apt is in tests/live."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import Guest, shim

from azurelite.errors import CommandError
from azurelite.system.machine import System
from azurelite.system.packages import MANAGERS, Manager, Package, Packages, find_manager

BY_NAME = {manager.name: manager for manager in MANAGERS}


def words(log: Path) -> list[list[str]]:
    calls = log.read_text().split("--\n")[:-1] if log.exists() else []
    return [call.splitlines() for call in calls]


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        ([], None),
        (["apt-get", "dpkg-query"], "apt-get"),
        (["apt-get"], None),
        (["rpm"], None),
        (["dpkg-query", "rpm", "dnf", "yum"], "dnf"),
        (["rpm", "tdnf"], "tdnf"),
        (["rpm", "microdnf"], "microdnf"),
        (["rpm", "yum"], "yum"),
        (["rpm", "zypper"], "zypper"),
        (["apk"], "apk"),
        (["pacman"], "pacman"),
        (["xbps-install", "xbps-query"], "xbps-install"),
        (["emerge"], "emerge"),
        (["eopkg"], "eopkg"),
        (["opkg"], "opkg"),
        (["pkg"], "pkg"),
    ],
)
def test_the_manager_is_the_one_that_is_there(guest: Guest, tmp_path: Path, programs: list[str], expected: str) -> None:
    for program in programs:
        shim(tmp_path / "bin", program)
    system = System(guest.root)
    system.commands.search_path = str(tmp_path / "bin")  # and not this machine's own
    found = find_manager(system)
    assert (found.name if found else None) == expected


# What each listing program prints, in its own form, for: web 1.2-3 installed, other things beside it.
LISTINGS = {
    "apt-get": ("dpkg-query", "web\tinstalled\t1.2-3\ngone\tconfig-files\t1.0\n"),
    "dnf": ("rpm", "web\t1.2-3\nkernel\t6.1-1\nkernel\t6.2-1\n"),
    "zypper": ("rpm", "web\t1.2-3\n"),
    "apk": ("apk", "web-1.2-r3\nlibweb-extra-0.1_pre2-r0\nWARNING: x\n"),
    "pacman": ("pacman", "web 1.2-3\nother 2:1-1\n"),
    "xbps-install": ("xbps-query", "ii web-1.2_3            A web server\nuu gone-1.0_1     x\n"),
    "eopkg": ("eopkg", "web                    - A web server\n"),
    "opkg": ("opkg", "web - 1.2-3\nother - 1 - x\n"),
    "pkg": ("pkg", "web\t1.2-3\n"),
}


@pytest.mark.spawns
@pytest.mark.parametrize("name", LISTINGS)
def test_what_is_installed_is_not_missing(guest: Guest, tmp_path: Path, name: str) -> None:
    program, output = LISTINGS[name]
    (tmp_path / "listing").write_text(output)
    shim(tmp_path / "bin", program, script=f"cat {tmp_path}/listing")
    system = System(guest.root, search_path=str(tmp_path / "bin"))
    packages = Packages(system, BY_NAME[name])
    wanted = [Package("web"), Package("gone"), Package("webmail"), Package("lib")]
    assert packages.missing(wanted) == wanted[1:]
    assert len(system.journal) == 0


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("name", "package", "missing"),
    [
        ("apt-get", Package("web", "1.2-3"), False),
        ("apt-get", Package("web", "1.2"), False),
        ("apt-get", Package("web", "1.2-4"), True),
        ("apt-get", Package("web:amd64"), False),
        ("apt-get", Package("web/bookworm-backports"), False),
        ("dnf", Package("kernel", "6.1-1"), False),
        ("dnf", Package("kernel", "6.3"), True),
        ("dnf", Package("@development-tools"), True),
        ("apk", Package("web", "1.2-r3"), False),
        ("apk", Package("libweb-extra", "0.1_pre2-r0"), False),
        ("xbps-install", Package("web", "1.2_3"), False),
    ],
)
def test_versions_count_where_they_are_given(
    guest: Guest, tmp_path: Path, name: str, package: Package, missing: bool
) -> None:
    program, output = LISTINGS[name]
    (tmp_path / "listing").write_text(output)
    shim(tmp_path / "bin", program, script=f"cat {tmp_path}/listing")
    packages = Packages(System(guest.root, search_path=str(tmp_path / "bin")), BY_NAME[name])
    assert packages.missing([package]) == ([package] if missing else [])


def test_portage_is_read_from_its_folders(guest: Guest) -> None:
    guest.put({"var/db/pkg/app-editors/vim-9.0.1-r2/PF": "", "var/db/pkg/dev-libs/x-y-1/PF": ""})
    packages = Packages(System(guest.root), BY_NAME["emerge"])
    there = [Package("vim"), Package("app-editors/vim"), Package("vim", "9.0.1-r2"), Package("dev-libs/x-y", "1")]
    assert packages.missing([*there, Package("dev-libs/vim"), Package("x")]) == [Package("dev-libs/vim"), Package("x")]


@pytest.mark.spawns
@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: str(manager.name))
def test_it_is_told_without_questions_and_packages_come_last(guest: Guest, tmp_path: Path, manager: Manager) -> None:
    log = shim(tmp_path / "bin", manager.name, script='echo "env:$DEBIAN_FRONTEND" >> "$0.env"')
    system = System(guest.root, search_path=str(tmp_path / "bin"))
    packages = Packages(system, manager)
    packages.update(timeout=20)
    assert packages.upgrade(timeout=20) is (manager.name != "opkg")
    packages.install([Package("web", "1.2-3"), Package("other")], timeout=20)
    calls = words(log)
    assert len(calls) == (2 if manager.name == "opkg" else 3)
    assert calls[-1][-1] == "other"
    assert calls[-1][-2] == manager.words(Package("web", "1.2-3"))
    assert "1.2-3" in calls[-1][-2] or manager.version is None
    assert ["env:noninteractive" in (tmp_path / "bin" / f"{manager.name}.env").read_text()] == [
        manager.name == "apt-get"
    ]
    assert [change.kind for change in system.journal.since(0)] == ["package"] * len(calls)


@pytest.mark.spawns
def test_what_the_manager_says_is_in_the_error(guest: Guest, tmp_path: Path) -> None:
    shim(tmp_path / "bin", "apk", exit_code=1, script="echo 'ERROR: unable to select packages: webb' >&2")
    packages = Packages(System(guest.root, search_path=str(tmp_path / "bin")), BY_NAME["apk"])
    with pytest.raises(CommandError, match="unable to select packages: webb"):
        packages.install([Package("webb")], timeout=20)
