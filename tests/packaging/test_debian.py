"""The .deb: built from the checkout, spotless, installed by apt into a small Debian, and at work there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from packagekit import CHECKOUT, LOOK, boot, build, check_provisioned, files_below, need, pages, run

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.namespaces,
    pytest.mark.packaging,
    pytest.mark.xdist_group("debian"),  # they share a root that takes long to make
]


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    need({"lintian": "lintian"})
    (changes,) = deb.glob("*.changes")
    words = ["--allow-root", "--tag-display-limit", "0", "--fail-on", "error,warning", "--display-level", ">=warning"]
    assert run("lintian", *words, changes) == ""


def test_it_is_the_same_package_every_time(deb: Path, tmp_path: Path) -> None:
    build("deb", tmp_path)
    (one,), (two,) = deb.glob("*.deb"), tmp_path.glob("*.deb")
    assert one.read_bytes() == two.read_bytes()


def test_it_provisions_a_debian(debian: Path) -> None:
    provision = ["azurelite", "provision"]
    check_provisioned(*boot(debian, provision, LOOK, provision))


def test_it_is_enabled_and_was_not_started(debian: Path) -> None:
    """Whoever installs it wants it at the next boot, and not in the middle of a day."""
    assert (debian / "etc/systemd/system/multi-user.target.wants/azurelite.service").is_symlink()
    assert list((debian / "etc").glob("rc2.d/S??azurelite"))
    assert not list((debian / "etc/systemd/system").rglob("azurelite-hostname.service"))
    assert not (debian / "var/lib/azurelite").exists()
    assert not (debian / "run/azurelite").exists()


def test_its_only_file_in_etc_is_the_script_that_must_lie_there(debian: Path) -> None:
    told = run("chroot", debian, "dpkg-query", "--show", "--showformat=${Conffiles}", "azurelite")
    assert [line.split()[0] for line in told.splitlines() if line.strip()] == ["/etc/init.d/azurelite"]


def test_its_units_are_those_of_the_project_and_its_page_can_be_read(debian: Path) -> None:
    units = CHECKOUT / "azurelite/service/units"
    for unit in ("azurelite.service", "azurelite-hostname.service"):
        (installed,) = (debian / "usr/lib/systemd/system").glob(unit)
        assert installed.read_bytes() == (units / "systemd" / unit).read_bytes()
    assert (debian / "etc/init.d/azurelite").read_bytes() == (units / "sysvinit/azurelite").read_bytes()
    told = subprocess.run(
        ["sh", "-c", f"zcat {debian}/usr/share/man/man8/azurelite.8.gz"], capture_output=True, text=True, check=True
    )
    assert told.stdout.count(".SH") > 5


def test_it_holds_the_pages_that_the_readme_refers_to(debian: Path) -> None:
    installed = {name[: -len(".gz")] if name.endswith(".gz") else name for name in files_below(debian / "usr/share")}
    assert pages("/doc/azurelite") <= installed


def test_it_goes_without_a_trace(debian: Path, tmp_path: Path) -> None:
    """In an overlay that another test does not see."""
    look = "find / -xdev -name '*azurelite*' -not -path '/proc/*' -not -path '/azurelite_*' -not -path '/var/log/*'"
    purge, left = boot(debian, ["dpkg", "--purge", "azurelite"], ["sh", "-c", look])
    assert purge["code"] == 0, purge["err"]
    assert left["out"] == ""


def test_service_install_takes_the_packages_unit(debian: Path) -> None:
    """The verb and the package do not get into each other's way: no second unit, and the package's stays."""
    look = ["sh", "-c", "find /etc/systemd/system -name 'azurelite*' -type f; dpkg --verify azurelite"]
    install, files = boot(debian, ["azurelite", "service", "install", "--init", "systemd"], look)
    assert install["code"] == 0, install["err"]
    assert files["out"] == ""
