"""`service install` and `remove` where a distribution or an administrator has files of the same names."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import Guest
from service.worlds import SYSTEMD, UNITS, WANTED, WORLDS, World, build, changes

from azurelite.errors import AzureliteError
from azurelite.service.pieces import MARK, marked, runs_it

PRESET = "etc/systemd/system-preset/50-azurelite.preset"
PACKAGED = "usr/lib/systemd/system/azurelite.service"
TEXTS = sorted(path for path in UNITS.rglob("*") if path.is_file())


def refused(guest: Guest, match: str) -> None:
    before = guest.snapshot()
    for dry_run in (True, False):
        with pytest.raises(AzureliteError, match=match):
            changes(guest, "install", dry_run=dry_run)
        assert guest.snapshot() == before


# A text of theirs


def test_which_texts_run_it() -> None:
    offenders = []
    for path in TEXTS:
        name = str(path.relative_to(UNITS))
        runs = not name.endswith((".preset", "/type", "/finish", "rc.conf", "hostname.service"))
        found = runs_it(path.read_bytes()), runs_it(marked(name, "/opt/azurelite.pyz"))
        offenders += [name] if found != (runs, runs) else []
    assert len(TEXTS) > 10
    assert offenders == []


@pytest.mark.parametrize(
    "text", [b"", b"# azurelite provision\n", b"echo azurelite\n", b"#!/bin/sh\ncloud-init provision\n", b"\xff\x00"]
)
def test_others_do_not(text: bytes) -> None:
    assert not runs_it(text)


PATCHED = {
    "OpenRC": ("etc/init.d/azurelite", "openrc/azurelite", "before sshd ssh", "before sshd display-manager ssh"),
    "sysvinit": ("etc/init.d/azurelite", "sysvinit/azurelite", "X-Start-Before:    ssh", "X-Start-Before:    xdm ssh"),
    "runit": ("etc/sv/azurelite/run", "runit/run", "exec 2>&1", "exec 2>&1\nulimit -n 512"),
    "dinit": ("etc/dinit.d/azurelite", "dinit/azurelite", "start-timeout = 0", "start-timeout = 60"),
}


@pytest.mark.parametrize("kind", PATCHED)
def test_a_distributions_own_text_is_enabled_and_disabled_and_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    path, unit, old, new = PATCHED[kind]
    guest = build(tmp_path / "guest", WORLDS[kind])
    text = (UNITS / unit).read_text(encoding="utf-8")
    assert old in text
    guest.put({path: text.replace(old, new)})
    before = guest.snapshot()
    made, done = changes(guest, "install")
    assert done.init == WORLDS[kind].init
    assert {change.kind for change in made} <= {"link", "mkdir", "folder", "write"}
    assert guest.text(path) == text.replace(old, new)
    assert guest.snapshot() != before
    assert changes(guest, "install")[0] == ()
    assert changes(guest, "remove")[1].init == WORLDS[kind].init
    assert {name for name in guest.snapshot() if "azurelite" in name} == {
        name for name in before if "azurelite" in name
    }


def test_an_older_release_of_the_package_is_enabled_as_it_is(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["OpenRC"])
    older = "#!/sbin/openrc-run\nstart() {\n\t/usr/bin/azurelite provision\n}\n"
    guest.put({"etc/init.d/azurelite": older})
    changes(guest, "install")
    assert guest.text("etc/init.d/azurelite") == older
    assert guest.path("etc/runlevels/default/azurelite").is_symlink()


def test_the_lsb_script_of_debians_package_is_what_openrc_is_given(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["OpenRC"])
    guest.put({"etc/init.d/azurelite": (UNITS / "sysvinit/azurelite").read_text(encoding="utf-8")})
    changes(guest, "install")
    assert guest.path("etc/runlevels/default/azurelite").is_symlink()


def test_openrcs_script_is_nothing_for_sysvinit(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["sysvinit"])
    guest.put({"etc/init.d/azurelite": (UNITS / "openrc/azurelite").read_text(encoding="utf-8")})
    refused(guest, "not azurelite's")
    assert changes(guest, "remove", init="sysvinit")[0] == ()


@pytest.mark.parametrize("enabled", [True, False])
def test_what_a_stranger_has_enabled_stays_and_that_is_said(tmp_path: Path, enabled: bool) -> None:
    guest = build(tmp_path / "guest", WORLDS["OpenRC"])
    guest.put({"etc/init.d/azurelite": "#!/sbin/openrc-run\n# nothing of ours\n"})
    if enabled:
        guest.path("etc/runlevels/default/azurelite").symlink_to("/etc/init.d/azurelite")
    before = guest.snapshot()
    made, done = changes(guest, "remove")
    assert (made, guest.snapshot()) == ((), before)
    assert bool(done.notes) == enabled
    assert not enabled or "kept /etc/runlevels/default/azurelite: " in done.notes[0]


# Links of theirs


@pytest.mark.parametrize("kind", ["runit", "OpenRC"])
def test_a_link_that_is_followed_must_lead_to_the_service(tmp_path: Path, kind: str) -> None:
    link = {"runit": "etc/runit/runsvdir/default/azurelite", "OpenRC": "etc/runlevels/default/azurelite"}[kind]
    guest = build(tmp_path / "guest", WORLDS[kind])
    guest.path(link).symlink_to("/home/x/azurelite")
    refused(guest, "is a link to /home/x/azurelite")
    before = guest.snapshot()
    assert changes(guest, "remove")[0] == ()
    assert guest.snapshot() == before


@pytest.mark.parametrize("target", ["/etc/sv/azurelite", "../../../sv/azurelite", "/etc/runit/../sv/azurelite/"])
def test_another_way_to_the_same_place_is_as_good(tmp_path: Path, target: str) -> None:
    guest = build(tmp_path / "guest", WORLDS["runit"])
    link = guest.path("etc/runit/runsvdir/default/azurelite")
    link.symlink_to(target)
    changes(guest, "install")
    assert str(link.readlink()) == target.rstrip("/") or str(link.readlink()) == target
    changes(guest, "remove")
    assert not link.is_symlink()


def test_red_hats_folders_are_not_joined_by_others(tmp_path: Path) -> None:
    """Where /etc has no links to them, and not all levels have one."""
    guest = build(tmp_path / "guest", World("sysvinit", ("sbin/init", "etc/inittab", "etc/init.d/functions")))
    guest.path("etc/rc.d/rc3.d").mkdir(parents=True)
    changes(guest, "install")
    assert guest.path("etc/rc.d/rc2.d/S15azurelite").resolve() == guest.path("etc/init.d/azurelite")
    assert not list(guest.path("etc").glob("rc?.d"))


# Masks, presets, folders that an init reads


@pytest.mark.parametrize("packaged", [True, False])
def test_an_empty_unit_is_a_mask(tmp_path: Path, packaged: bool) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])
    guest.put({f"{SYSTEMD}/azurelite.service": ""})
    if packaged:
        guest.put({PACKAGED: (UNITS / "systemd/azurelite.service").read_text(encoding="utf-8")})
    refused(guest, "is empty, which masks the unit")


@pytest.mark.parametrize(
    "rule", ["", "enable ssh.service\n", "# disable *\n", "disable *\n", "enable x\n  disable   *  \n"]
)
def test_beside_a_packages_unit_a_preset_is_written_only_where_one_is_needed(tmp_path: Path, rule: str) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd, packaged"])
    guest.put(
        {"usr/lib/systemd/system-preset/99-default.preset": rule, "usr/lib/systemd/system-preset/README": "disable *"}
    )
    before = guest.snapshot()
    changes(guest, "install")
    assert guest.path(WANTED).is_symlink()
    assert guest.path(PRESET).exists() == (rule.split()[-2:] == ["disable", "*"] and not rule.startswith("#"))
    changes(guest, "remove")
    assert guest.snapshot() == before


def test_a_preset_of_ours_from_before_the_package_came_goes_with_remove(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])
    changes(guest, "install")
    assert MARK in guest.text(PRESET)
    guest.put({PACKAGED: (UNITS / "systemd/azurelite.service").read_text(encoding="utf-8")})
    changes(guest, "install")
    changes(guest, "remove")
    assert not guest.path(PRESET).exists()


def test_dinit_without_a_folder_that_boot_reads_is_told(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", World("dinit", ("etc/dinit.d/boot",), {"sbin/init": "/usr/bin/dinit"}))
    refused(guest, r"no /etc/dinit.d/boot.d.*waits-for.d")
    assert changes(guest, "remove")[0] == ()


def test_s6_rc_without_a_bundle_is_told(tmp_path: Path) -> None:
    world = World("s6", ("etc/s6/sv/sshd/type", "etc/s6/adminsv/x/type"), {"sbin/init": "/usr/bin/s6-linux-init"})
    guest = build(tmp_path / "guest", world)
    refused(guest, "no bundle `default` in /etc/s6/adminsv or /etc/s6/sv")
    assert changes(guest, "remove")[0] == ()
    guest.put({"etc/s6/sv/default/type": "bundle\n"})
    changes(guest, "install")
    assert guest.path("etc/s6/sv/default/contents.d/azurelite").exists()
    assert guest.path("etc/s6/sv/azurelite/up").exists()


@pytest.mark.parametrize(
    ("first", "there", "noted"),
    [
        ("#!/usr/bin/env python3", False, True),
        ("#!/usr/bin/env python3", True, False),
        ("#!/usr/bin/env -S python3 -I", False, False),
        ("#!/bin/python4", False, True),
    ],
)
def test_a_python_that_is_not_there_is_noted(tmp_path: Path, first: str, there: bool, noted: bool) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])
    guest.put({"usr/bin/azurelite": first + "\n", "usr/bin/env": ""})
    guest.path("usr/bin/env").chmod(0o755)
    if not there:
        guest.path("usr/bin/python3").unlink()
    assert bool(changes(guest, "install")[1].notes) == noted
