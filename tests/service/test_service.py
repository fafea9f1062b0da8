"""`service install` and `remove`: every init system × the files of a guest; a dry run lists exactly the changes."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from kit import Guest, shim
from service.worlds import DEPEND, SYSTEMD, UNITS, WANTED, WORLDS, Action, Host, World, build, changes

from azurelite.errors import AzureliteError, ConfigError
from azurelite.service import INITS, inittab, install, remove, sysv
from azurelite.service.pieces import MARK, is_marked, is_plain, marked, plain
from azurelite.system.changes import Change
from azurelite.system.machine import System
from azurelite.system.services.services import Services


@pytest.fixture(params=WORLDS, ids=str)
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]


@pytest.fixture
def twins(world: World, tmp_path: Path) -> tuple[Guest, Guest]:
    found = build(tmp_path / "one", world)
    shutil.copytree(found.folder, tmp_path / "two", symlinks=True)
    return found, Guest(tmp_path / "two")


class TestEveryInit:
    def test_the_init_system_is_found_and_the_service_is_where_it_looks(
        self, world: World, twins: tuple[Guest, Guest]
    ) -> None:
        made, done = changes(twins[0], "install", early=world.early)
        assert done.init == world.init
        assert made
        for path, target in world.expected.items():
            found = twins[0].path(path)
            assert found.is_symlink() == bool(target), path
            assert (os.readlink(found) == target) if target else found.is_file(), path

    def test_a_dry_run_lists_the_changes_of_the_real_run(self, world: World, twins: tuple[Guest, Guest]) -> None:
        before = twins[0].snapshot()
        told = changes(twins[0], "install", dry_run=True, early=world.early)
        assert twins[0].snapshot() == before
        assert told == changes(twins[1], "install", early=world.early)
        after = twins[1].snapshot()
        told = changes(twins[1], "remove", dry_run=True)
        assert twins[1].snapshot() == after
        assert told == changes(twins[1], "remove")

    def test_a_second_time_changes_nothing(self, world: World, twins: tuple[Guest, Guest]) -> None:
        changes(twins[0], "install", early=world.early)
        before = twins[0].snapshot()
        assert changes(twins[0], "install", early=world.early)[0] == ()
        assert twins[0].snapshot() == before

    @pytest.mark.parametrize("named", [True, False])
    def test_remove_leaves_what_was_there_before(self, world: World, twins: tuple[Guest, Guest], named: bool) -> None:
        before = twins[0].snapshot()
        changes(twins[0], "install", early=world.early)
        assert twins[0].snapshot() != before
        done = changes(twins[0], "remove", init=world.init if named else None)[1]
        assert done.init == world.init
        assert twins[0].snapshot() == before
        assert changes(twins[0], "remove")[0] == ()

    def test_disable_service_finds_and_disables_what_was_installed(
        self, world: World, twins: tuple[Guest, Guest]
    ) -> None:
        twins[0].put({"etc/machine-id": "1\n"})  # not the first boot, at which systemd applies its presets
        before = twins[0].snapshot()
        changes(twins[0], "install", early=world.early)
        installed = twins[0].snapshot()
        services = Services(System(twins[0].root))
        assert (services.init, services.enabled("azurelite")) == (world.init, True)
        dry = Services(System(twins[0].root, dry_run=True))
        assert (dry.disable("azurelite"), dry.enabled("azurelite")) == (True, False)
        assert twins[0].snapshot() == installed
        assert services.disable("azurelite") is True
        assert (services.enabled("azurelite"), services.disable("azurelite")) == (False, False)
        if world.init in ("finit", "busybox", "freebsd"):  # the line is still azurelite's, although it is off
            changes(twins[0], "install")
            assert services.enabled("azurelite") is True
            services.disable("azurelite")
            changes(twins[0], "remove")
            assert twins[0].snapshot() == before

    @pytest.mark.parametrize(
        "program", ["usr/local/bin/azurelite", "usr/bin/azurelite.pyz", "opt/azurelite/bin/azurelite"]
    )
    def test_each_new_file_is_a_unit_with_the_guests_program(self, world: World, tmp_path: Path, program: str) -> None:
        guest = build(tmp_path / "guest", world, program=program)
        before = guest.snapshot()
        changes(guest, "install", early=world.early)
        texts = {path.read_text(encoding="utf-8") for path in UNITS.rglob("*") if path.is_file()}
        expected = {re.sub("/usr/(local/)?bin/azurelite", f"/{program}", text) for text in texts}
        for path, (mode, _, _, content) in guest.snapshot().items():
            if path not in before and stat.S_ISREG(mode) and content:
                assert content.decode().replace(f"{MARK}\n", "") in expected, path

    def test_without_a_program_nothing_is_made(self, world: World, tmp_path: Path) -> None:
        guest = build(tmp_path / "guest", world, program="")
        before = guest.snapshot()
        if any(path.endswith("azurelite.service") for path in world.files):
            assert changes(guest, "install")[0]
            return
        with pytest.raises(ConfigError, match=r"not installed in this guest: .*--program"):
            changes(guest, "install")
        assert guest.snapshot() == before


# Files that are not azurelite's

PLACES = {
    "systemd": f"{SYSTEMD}/azurelite.service",
    "OpenRC": "etc/init.d/azurelite",
    "sysvinit": "etc/init.d/azurelite",
    "runit": "etc/sv/azurelite/run",
    "s6-rc": "etc/s6/adminsv/azurelite/up",
    "dinit": "etc/dinit.d/azurelite",
    "finit": "etc/finit.d/azurelite.conf",
    "FreeBSD": "usr/local/etc/rc.d/azurelite",
}
ENABLING = {
    "systemd": WANTED,
    "OpenRC": "etc/runlevels/default/azurelite",
    "runit": "etc/runit/runsvdir/default/azurelite",
    "dinit": "etc/dinit.d/boot.d/azurelite",
}


def lay(guest: Guest, path: str, what: str) -> None:
    found = guest.path(path)
    found.parent.mkdir(parents=True, exist_ok=True)
    if what == "file":
        found.write_text("# another program's\n")
    elif what == "folder":
        found.mkdir()
    else:
        found.symlink_to(what)


@pytest.mark.parametrize("what", ["file", "folder", "/dev/null", "/etc/other", "azurelite", "../../../../../../x"])
@pytest.mark.parametrize("kind", PLACES)
def test_a_file_that_is_not_azurelites_is_refused_and_stays(tmp_path: Path, kind: str, what: str) -> None:
    guest = build(tmp_path / "guest", WORLDS[kind])
    lay(guest, PLACES[kind], what)
    before = guest.snapshot()
    for dry_run in (True, False):
        with pytest.raises(AzureliteError, match=r"move it away|unmask|cannot") as caught:
            changes(guest, "install", dry_run=dry_run)
        assert PLACES[kind] in str(caught.value)
        assert guest.snapshot() == before
    if what != "folder":
        assert changes(guest, "remove")[0] == ()
    assert guest.snapshot() == before


@pytest.mark.parametrize("what", ["file", "folder", "/etc/other"])
@pytest.mark.parametrize("kind", ENABLING)
def test_a_foreign_link_where_azurelites_should_be_is_refused(tmp_path: Path, kind: str, what: str) -> None:
    guest = build(tmp_path / "guest", WORLDS[kind])
    lay(guest, ENABLING[kind], what)
    before = guest.snapshot()
    with pytest.raises(AzureliteError, match="move it away"):
        changes(guest, "install")
    assert guest.snapshot() == before
    assert changes(guest, "remove")[0] == ()


@pytest.mark.parametrize("kind", PLACES)
def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path, kind: str) -> None:
    guest = build(tmp_path / "guest", WORLDS[kind])
    folder = guest.path(PLACES[kind]).parent
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("x")
    before = guest.snapshot()
    told = []
    for dry_run in (True, False):
        with pytest.raises(AzureliteError) as caught:
            changes(guest, "install", dry_run=dry_run, init=WORLDS[kind].init)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert guest.snapshot() == before


@pytest.mark.parametrize("kind", PLACES)
def test_links_never_lead_out_of_the_root(tmp_path: Path, kind: str) -> None:
    """The whole folder is a link, written as if it led out: it ends at the guest's root."""
    guest = build(tmp_path / "guest", WORLDS[kind])
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = guest.path(PLACES[kind]).parent
    if folder.name == "azurelite":
        folder = folder.parent
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(f"../../../../../../../../../..{outside}")
    with contextlib.suppress(AzureliteError):
        changes(guest, "install", init=WORLDS[kind].init)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["OpenRC", "sysvinit", "dinit", "finit"])
def test_what_a_package_holds_is_only_enabled(tmp_path: Path, kind: str) -> None:
    """The same text without the mark, with whatever path of the program the package has."""
    guest = build(tmp_path / "guest", WORLDS[kind], program="")
    unit = {"OpenRC": "openrc/azurelite", "sysvinit": "sysvinit/azurelite", "dinit": "dinit/azurelite"}.get(
        kind, "finit/azurelite.conf"
    )
    held = plain(unit).decode().replace("/usr/bin/azurelite", "/usr/lib/python/azurelite")
    guest.put({PLACES[kind]: held})
    before = guest.snapshot()
    made, _ = changes(guest, "install")
    assert guest.text(PLACES[kind]) == held
    assert bool(made) == (kind != "finit")
    changes(guest, "remove")
    assert guest.snapshot() == before


def test_a_masked_unit_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd, packaged"])
    lay(guest, f"{SYSTEMD}/azurelite.service", "/dev/null")
    with pytest.raises(AzureliteError, match=r"systemctl unmask azurelite\.service"):
        changes(guest, "install")


def test_an_administrators_copy_of_a_packaged_unit_is_what_is_enabled(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd, packaged"])
    lay(guest, f"{SYSTEMD}/azurelite.service", "file")
    changes(guest, "install")
    assert os.readlink(guest.path(WANTED)) == "/etc/systemd/system/azurelite.service"
    changes(guest, "remove")
    assert guest.path(f"{SYSTEMD}/azurelite.service").exists()
    assert not guest.path(WANTED).is_symlink()


def test_a_package_that_came_later_takes_over(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])
    changes(guest, "install")
    guest.put({"usr/lib/systemd/system/azurelite.service": "[Unit]\n"})
    made, _ = changes(guest, "install")
    assert Change("delete", "/etc/systemd/system/azurelite.service", "") in made
    assert guest.path(WANTED).is_symlink()
    assert changes(guest, "install")[0] == ()


def test_an_older_text_of_ours_is_written_anew(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])
    changes(guest, "install")
    path = f"{SYSTEMD}/azurelite.service"
    new = guest.text(path)
    guest.put({path: f"{MARK}\n[Unit]\n"})
    assert [change.target for change in changes(guest, "install")[0]] == [f"/{path}"]
    assert guest.text(path) == new


def test_a_moved_program_is_followed(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["BusyBox"])
    changes(guest, "install")
    guest.path("usr/bin/azurelite").rename(guest.path("usr/bin/azurelite.pyz"))
    changes(guest, "install")
    assert guest.text("etc/inittab").count("azurelite.pyz provision") == 1
    assert "/usr/bin/azurelite provision" not in guest.text("etc/inittab")


def test_a_folder_that_is_not_empty_is_left_and_named(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["runit"])
    changes(guest, "install")
    guest.put({"etc/sv/azurelite/env/X": "1"})
    assert changes(guest, "remove")[1].notes == ("kept the folder /etc/sv/azurelite: it holds env",)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a tree that cannot be changed")
@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("chattr") is None, reason="needs chattr: install e2fsprogs")
def test_what_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["OpenRC"])
    frozen = subprocess.run(["chattr", "+i", str(guest.path("etc/init.d"))], check=False, capture_output=True)
    if frozen.returncode != 0:  # not every file system can: then the same by a folder that is none
        guest.path("etc/init.d/sshd").unlink()
        guest.path("etc/init.d").rmdir()
        guest.path("etc/init.d").write_text("")
    before = guest.snapshot()
    try:
        with pytest.raises(AzureliteError, match=r"/etc/init\.d"):
            changes(guest, "install")
        assert guest.snapshot() == before
    finally:
        subprocess.run(["chattr", "-i", str(guest.path("etc/init.d"))], check=False, capture_output=True)


# Refusals and notes


def test_an_unknown_init_system_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", World("none"))
    before = guest.snapshot()
    with pytest.raises(ConfigError) as caught:
        changes(guest, "install")
    for word in ("--init", str(UNITS), *INITS):
        assert word in str(caught.value)
    assert caught.value.exit_code == 2
    assert guest.snapshot() == before


@pytest.mark.parametrize("action", ["install", "remove"])
def test_a_wrong_name_of_an_init_system_is_an_error(tmp_path: Path, action: Action) -> None:
    with pytest.raises(ConfigError, match=r"unknown init system 'upstart': give --init one of systemd, openrc"):
        changes(build(tmp_path / "guest", World("none")), action, init="upstart")


@pytest.mark.parametrize("kind", [kind for kind in WORLDS if not kind.startswith("systemd")])
def test_only_systemd_has_an_early_unit(tmp_path: Path, kind: str) -> None:
    guest = build(tmp_path / "guest", WORLDS[kind])
    before = guest.snapshot()
    with pytest.raises(ConfigError, match="--early"):
        changes(guest, "install", early=True)
    assert guest.snapshot() == before


@pytest.mark.parametrize(
    "program", ["azurelite", "/opt/my azurelite", "/x;reboot", "/x\ny", "/$HOME", "", "/usr/bin/none"]
)
def test_a_program_that_cannot_be_is_refused(tmp_path: Path, program: str) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])
    before = guest.snapshot()
    with pytest.raises(ConfigError, match="--program"):
        changes(guest, "install", program=program)
    assert guest.snapshot() == before


def test_a_program_may_be_named(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"], program="srv/venv-3.11/bin/azurelite")
    changes(guest, "install", program="/srv/venv-3.11/bin/azurelite")
    assert "ExecStart=/srv/venv-3.11/bin/azurelite provision --detach\n" in guest.text(f"{SYSTEMD}/azurelite.service")


def test_a_program_for_another_machines_python_is_noted(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])
    guest.put({"usr/bin/azurelite": "#!/build/venv/bin/python\n"})
    (note,) = changes(guest, "install")[1].notes
    assert "/build/venv/bin/python, which does not exist" in note


def test_busybox_without_an_inittab_is_told_what_to_do(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", World("busybox", ("etc/init.d/rcS",), {"sbin/init": "../bin/busybox"}))
    before = guest.snapshot()
    with pytest.raises(AzureliteError, match="there is no /etc/inittab"):
        changes(guest, "install")
    assert guest.snapshot() == before


def test_s6_without_a_known_folder_is_told(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", World("s6", ("etc/s6-overlay/x",)))
    with pytest.raises(AzureliteError, match="no folder that s6 starts services from"):
        changes(guest, "install", init="s6")
    assert changes(guest, "remove")[0] == ()


def test_s6s_list_has_to_be_compiled_and_that_is_said(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["s6-rc"])
    assert "s6-db-reload" in changes(guest, "install")[1].notes[0]
    assert changes(guest, "install")[1].notes == ()


def test_the_services_of_two_init_systems_are_both_removed(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["runit"])
    before = guest.snapshot()
    guest.path("etc/finit.d").mkdir()
    changes(guest, "install")
    changes(guest, "install", init="finit")
    assert changes(guest, "remove")[1].init == "runit, finit"
    guest.path("etc/finit.d").rmdir()
    assert guest.snapshot() == before


# The parts


@pytest.mark.parametrize(
    ("names", "number"),
    [
        ([], 15),
        (["S01dbus", "S02ssh"], 2),
        (["S01ssh"], 1),
        (["S20ssh"], 15),
        (["S10network", "S55sshd"], 15),
        (["S40network", "S50sshd"], 41),
        (["S20networking", "S21dropbear"], 21),
        (["S30dhcpcd", "S12sshd"], 31),  # the network wins
        (["S99NetworkManager"], 99),
        (["K20ssh", "README", "Sxxssh"], 15),
    ],
)
def test_the_number_is_after_the_network_and_before_sshd(names: list[str], number: int) -> None:
    assert sysv.place_among(names) == number
    ours = f"S{number:02d}azurelite"
    before = [name for name in names if name.startswith("S") and name.endswith(("ssh", "sshd", "dropbear"))]
    if names != ["S30dhcpcd", "S12sshd"]:
        assert all(ours < name for name in before)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEPEND, DEPEND.replace("rc.local\nI", "rc.local azurelite\nI", 1) + "ssh: azurelite\n"),
        ("TARGETS = a ssh\nssh: a\n", "TARGETS = a ssh azurelite\nssh: a azurelite\n"),
        ("TARGETS =\n", "TARGETS = azurelite\n"),
        ("", ""),
    ],
)
def test_debians_list_of_what_runs_side_by_side(text: str, expected: str) -> None:
    added = sysv.with_name(text.encode())
    assert (added or b"").decode() == expected
    assert sysv.with_name(added) == added
    assert sysv.without_name(added) == text.encode()


def test_what_insserv_made_of_it_is_undone_too() -> None:
    made = b"TARGETS = sudo azurelite ssh\nINTERACTIVE =\nazurelite: sudo\nssh: azurelite\nrc.local: azurelite ssh\n"
    assert sysv.without_name(made) == b"TARGETS = sudo ssh\nINTERACTIVE =\nrc.local: ssh\n"
    assert sysv.without_name(None) is None is sysv.with_name(None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "::respawn:/bin/x\n",
        "::sysinit:/a\n::sysinit:/b\n::respawn:/bin/x\n",
        "::sysinit:/a",
        "#::sysinit:/a\n::askfirst:-/bin/sh",
        "null::sysinit:/a\n\n\n",
    ],
)
def test_the_inittab_gets_one_line_and_is_as_before_without_it(text: str) -> None:
    made = inittab.with_line(text, "/usr/bin/azurelite")
    lines = made.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("::once:")]
    assert lines[place - 1] == MARK
    sysinit = [number for number, line in enumerate(lines) if ":sysinit:" in line and not line.startswith("#")]
    assert all(number < place for number in sysinit)
    assert inittab.with_line(made, "/usr/bin/azurelite") == made
    moved = inittab.with_line(made, "/opt/azurelite")
    assert moved.count("::once:") == 1
    assert "/opt/azurelite provision" in moved
    assert inittab.without_line(made) == text


def test_somebody_elses_line_that_runs_it_stays_alone() -> None:
    text = "::sysinit:/a\n::once:/usr/bin/azurelite provision >/dev/console 2>&1\n"
    assert inittab.with_line(text, "/usr/bin/azurelite") == text
    assert inittab.without_line(text) == text


@pytest.mark.parametrize(
    "unit", ["systemd/azurelite.service", "openrc/azurelite", "s6-rc/azurelite/up", "freebsd/azurelite"]
)
def test_a_text_is_known_with_and_without_its_mark(unit: str) -> None:
    held = plain(unit)
    assert not is_marked(held)
    assert is_plain(held, unit)
    ours = marked(unit, "/opt/x/azurelite")
    assert is_marked(ours)
    assert not is_plain(ours, unit)
    assert is_plain(ours.replace(MARK.encode() + b"\n", b""), unit)
    assert ours.startswith(b"#!") == held.startswith(b"#!")
    assert not is_plain(held + b"reboot\n", unit)
    assert not is_marked(None)


# The running system, with a folder as its root: which programs are called


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("kind", "program", "on", "off"),
    [
        ("systemd", "systemctl", [["daemon-reload"]], [["daemon-reload"]]),
        ("sysvinit", "update-rc.d", [["azurelite", "defaults"]], []),
        ("sysvinit", "chkconfig", [["--add", "azurelite"]], []),
        ("sysvinit", "insserv", [["azurelite"]], []),
        ("s6-rc", "s6-db-reload", [[]], [[]]),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_on_the_running_system_its_own_programs_are_called(
    tmp_path: Path, kind: str, program: str, on: list[list[str]], off: list[list[str]], dry_run: bool
) -> None:
    guest = build(tmp_path / "guest", WORLDS[kind]).runs("/usr/lib/systemd/systemd")
    log = shim(tmp_path / "bin", program)

    def calls() -> list[list[str]]:
        text = log.read_text() if log.exists() else ""
        log.unlink(missing_ok=True)
        return [call.split() for call in text.split("--\n")[:-1]] if program != "chkconfig" else [text.split()[:-1]]

    system = Host(guest.root, dry_run=dry_run, search_path=str(tmp_path / "bin"))
    install(system, init=WORLDS[kind].init)
    assert [change for change in system.journal.since(0) if change.kind == "service"]
    if dry_run:
        assert not log.exists()
        return
    assert calls() == on
    system = Host(guest.root, dry_run=False, search_path=str(tmp_path / "bin"))
    remove(system, init=WORLDS[kind].init)
    assert [change for change in system.journal.since(0) if change.kind == "service"] if off else True
    if off:
        assert calls() == off


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_running_runit_starts_it_at_once_and_that_is_said(tmp_path: Path, dry_run: bool) -> None:
    guest = build(tmp_path / "guest", WORLDS["runit"])

    def notes() -> tuple[str, ...]:
        return install(Host(guest.root, dry_run=dry_run, search_path="/nonexistent"), init="runit").notes

    if dry_run:
        assert notes() == ()
    guest.path("run/runit").mkdir(parents=True)
    assert "within seconds" in notes()[0]
    assert dry_run or notes() == ()
    remove(host := Host(guest.root, dry_run=dry_run, search_path="/nonexistent"), init="runit")
    assert dry_run or host.journal.since(0)


@pytest.mark.spawns
def test_a_systemd_that_cannot_reload_is_a_note(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"]).runs("/usr/lib/systemd/systemd")
    shim(tmp_path / "bin", "systemctl", exit_code=1)
    done = install(Host(guest.root, dry_run=False, search_path=str(tmp_path / "bin")), init="systemd")
    assert "at the next boot" in done.notes[0]


@pytest.mark.parametrize(
    ("first", "inside", "expected"),
    [
        ("/usr/sbin/finit", "../..", "finit"),
        ("/bin/busybox", "../..", "busybox"),
        ("/sbin/init", "../..", "sysvinit"),
        # A chroot, with another machine's /proc in it; and a container, whose first process is a shell.
        ("/usr/lib/systemd/systemd", "../../usr", "runit"),
        ("/usr/bin/dash", "../..", "runit"),
    ],
)
def test_what_runs_counts_only_where_it_is_this_guests(tmp_path: Path, first: str, inside: str, expected: str) -> None:
    files: tuple[str, ...] = ("etc/rc2.d/S01x", "etc/inittab", "etc/runit/2")
    links = {"proc/1/exe": first, "proc/1/root": inside}
    if first == "/sbin/init":
        files += ("sbin/init",)
    else:
        links["sbin/init"] = "runit-init"
    guest = build(tmp_path / "guest", World("x", files, links))
    assert install(Host(guest.root, dry_run=True, search_path="/nonexistent")).init == expected


@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs systemctl: install systemd")
def test_systemctl_agrees_that_it_is_enabled(tmp_path: Path) -> None:
    guest = build(tmp_path / "guest", WORLDS["systemd"])

    def state(name: str) -> str:
        command = ["systemctl", f"--root={guest.root}", "is-enabled", name]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changes(guest, "install", early=True)
    assert (state("azurelite.service"), state("azurelite-hostname.service")) == ("enabled", "enabled")
    subprocess.run(["systemctl", f"--root={guest.root}", "preset-all"], check=True, capture_output=True)
    assert (state("azurelite.service"), state("azurelite-hostname.service")) == ("enabled", "enabled")
    changes(guest, "remove")
    assert state("azurelite.service") in ("", "not-found")
