"""Services: which init system there is, what its programs are told, and what keeps a service from starting."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kit import Guest, shim

from azurelite.errors import AzureliteError
from azurelite.system.machine import System
from azurelite.system.services.services import Services, command, is_running

UNIT = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def link(guest: Guest, path: str, target: str) -> None:
    place = guest.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


# What must be in a root so that it is one of an init system; `test_system_detect.py` has the whole table.
ROOTS: dict[str, tuple[str, ...]] = {
    "openrc": ("sbin/openrc", "etc/runlevels/sysinit/x"),
    "sysvinit": ("sbin/init", "etc/inittab", "etc/rc2.d/README"),
    "runit": ("sbin/runit-init", "etc/runit/2"),
    "dinit": ("sbin/dinit", "etc/dinit.d/boot"),
    "s6": ("bin/s6-svscan", "etc/s6/.keep"),
    "finit": ("sbin/finit",),
    "busybox": ("sbin/busybox-init",),
    "freebsd": ("etc/rc.subr", "etc/defaults/rc.conf"),
}


def root_of(guest: Guest, init: str) -> Guest:
    guest.put(dict.fromkeys(ROOTS[init], ""))
    if init == "busybox":
        link(guest, "sbin/init", "/bin/busybox")
    return guest


@pytest.mark.parametrize("init", ROOTS)
def test_in_a_foreign_root_nothing_runs_and_an_unknown_service_is_none(guest: Guest, init: str) -> None:
    services = Services(System(root_of(guest, init).root))
    assert (services.init, services.running_init) == (init, "none")
    assert services.enabled("nothing") is None
    assert services.disable("nothing") is False
    assert services.running("sshd", "ssh") is None
    assert services.reload("sshd") is False


def test_on_the_running_machine_a_dry_run_finds_one_and_starts_nothing() -> None:
    system = System("/", dry_run=True, search_path="/nonexistent")
    system.commands.search_path = "/nonexistent"
    services = Services(system)
    assert services.init in ("systemd", *ROOTS, "none")
    assert services.running_init in ("systemd", *ROOTS, "unknown", "none")
    assert services.reload("no-such-service") is False
    assert len(system.journal) == 0


# What a guest must hold so that "web" runs there, the shim that answers, and what is then said.
CONTROL = [
    ("systemd", {}, "systemctl", "echo active",
     ["systemctl", "--job-mode=ignore-dependencies", "reload", "web.service"]),
    ("openrc", {"run/openrc/started/web": ""}, "rc-service", "", ["rc-service", "web", "reload"]),
    ("dinit", {}, "dinitctl", "", ["dinitctl", "signal", "HUP", "web"]),
    ("runit", {"etc/service/web/supervise/stat": ""}, "sv", "echo run: web: up", ["sv", "reload", "/etc/service/web"]),
    ("s6", {"run/service/web/supervise/x": ""}, "s6-svstat", "echo true", ["s6-svc", "-h", "/run/service/web"]),
    ("s6", {"run/s6-rc/servicedirs/web-srv/supervise/x": ""}, "s6-svstat", "echo true",
     ["s6-svc", "-h", "/run/s6-rc/servicedirs/web-srv"]),
    ("freebsd", {}, "service", "", ["service", "web", "onereload"]),
]  # fmt: skip


@pytest.mark.spawns
@pytest.mark.parametrize(("init", "files", "program", "script", "expected"), CONTROL)
def test_each_init_system_is_asked_and_told_in_its_own_words(
    guest: Guest, tmp_path: Path, init: str, files: dict[str, str], program: str, script: str, expected: list[str]
) -> None:
    shim(tmp_path / "bin", program, script=script)
    system = System(guest.put(files).root, search_path=str(tmp_path / "bin"))
    assert is_running(system, init, "web")
    assert command(system, init, "reload", "web") == expected
    shim(tmp_path / "bin", program, exit_code=1, script="echo inactive")
    if init != "openrc":
        assert not is_running(system, init, "web")
    assert not is_running(system, init, "other") or init == "openrc"


@pytest.mark.spawns
@pytest.mark.parametrize("init", ["systemd", *ROOTS, "unknown", "none"])
def test_without_the_init_systems_programs_nothing_runs(guest: Guest, init: str) -> None:
    system = System(guest.root)
    system.commands.search_path = "/nonexistent"
    assert not is_running(system, init, "web")


def test_restart_is_said_differently(guest: Guest) -> None:
    system = System(guest.root)
    assert command(system, "dinit", "restart", "web") == ["dinitctl", "restart", "web"]
    assert command(system, "s6", "restart", "web") == ["s6-svc", "-r", "web"]
    assert command(system, "finit", "restart", "web") == ["initctl", "restart", "web"]
    assert command(system, "freebsd", "restart", "web") == ["service", "web", "onerestart"]
    assert command(system, "busybox", "restart", "web") is None


@pytest.mark.spawns
def test_a_script_in_init_d_knows_whether_its_service_runs(guest: Guest) -> None:
    script = guest.put({"etc/init.d/web": "#!/bin/sh\n[ $1 = status ]\n"}).path("etc/init.d/web")
    system = System(guest.root)
    assert command(system, "sysvinit", "reload", "web") is None  # not executable, so not there
    script.chmod(0o755)
    assert command(system, "sysvinit", "reload", "web") == ["/etc/init.d/web", "reload"]


@pytest.mark.parametrize("init", ["busybox", "finit", "unknown"])
def test_a_pid_file_counts_while_its_process_is_that_program(guest: Guest, init: str) -> None:
    guest.put({"run/sshd.pid": "77\n", "proc/77/comm": "sshd\n"})
    system = System(guest.root)
    assert is_running(system, init, "sshd")
    assert not is_running(system, "none", "sshd")
    assert command(system, init, "reload", "sshd") == ["kill", "-HUP", "77"]
    guest.put({"proc/77/comm": "other\n"})
    assert not is_running(system, init, "sshd")
    guest.put({"run/sshd.pid": "99999999999\n"})
    assert not is_running(system, init, "sshd")


WAYS = {
    "openrc": (["etc/runlevels/default/web", "etc/runlevels/boot/web"], "etc/init.d/web"),
    "sysvinit": (["etc/rc2.d/S03web", "etc/rc3.d/S03web", "etc/rcS.d/S01web"], "etc/init.d/web"),
    "dinit": (["etc/dinit.d/boot.d/web"], "etc/dinit.d/web"),
    "s6": (["etc/s6-overlay/s6-rc.d/user/contents.d/web"], "etc/s6-overlay/s6-rc.d/web/type"),
}


@pytest.mark.parametrize("init", WAYS)
@pytest.mark.parametrize("dry_run", [True, False])
def test_what_starts_a_service_is_taken_away_and_the_service_stays(guest: Guest, init: str, dry_run: bool) -> None:
    starting, source = WAYS[init]
    root_of(guest, init).put({source: "#!/bin/sh\n"})
    for path in starting:
        link(guest, path, f"/{source}")
        link(guest, path.replace("web", "webmail"), f"/{source}")
    services = Services(System(guest.root, dry_run=dry_run))
    assert services.init == init
    before = guest.snapshot()
    assert services.enabled("web") is True
    assert services.disable("web") is True
    assert services.enabled("web") is False
    assert services.disable("web") is False
    if dry_run:
        assert guest.snapshot() == before
        return
    assert guest.path(source).exists()
    assert not any(guest.path(path).is_symlink() for path in starting)
    assert all(guest.path(path.replace("web", "webmail")).is_symlink() for path in starting)
    assert Services(System(guest.root)).enabled("web") is False


def test_sysvinits_links_become_those_that_end_a_service(guest: Guest) -> None:
    for level in "2345":
        link(guest, f"etc/rc{level}.d/S20web", "../init.d/web")
    link(guest, "etc/rc0.d/K20web", "../init.d/web")
    root_of(guest, "sysvinit").put({"etc/init.d/web": ""})
    assert Services(System(guest.root)).disable("web")
    for level in "2345":
        assert [path.name for path in guest.path(f"etc/rc{level}.d").glob("*web")] == ["K80web"]
    assert guest.path("etc/rc0.d/K20web").is_symlink()


def test_a_runit_service_is_kept_down_and_not_taken_from_its_supervisor(guest: Guest) -> None:
    root_of(guest, "runit").put({"etc/sv/web/run": "#!/bin/sh\n"})
    guest.path("etc/runit/runsvdir/default").mkdir(parents=True)
    link(guest, "etc/runit/runsvdir/default/web", "/etc/sv/web")
    link(guest, "etc/runit/runsvdir/current", "default")
    link(guest, "var/service", "/etc/runit/runsvdir/current")
    system = System(guest.root)
    services = Services(system)
    assert services.enabled("web") is True
    assert services.disable("web") is True
    assert len(system.journal) == 1, "the same folder under three names is written once"
    assert guest.path("etc/sv/web/down").exists()
    assert guest.path("etc/runit/runsvdir/default/web").is_symlink()
    assert services.enabled("web") is False


def test_a_compiled_s6_database_in_a_foreign_root_is_left_alone(guest: Guest) -> None:
    root_of(guest, "s6").put({"etc/s6/adminsv/default/contents.d/web": "", "etc/s6/rc/compiled/db": ""})
    before = guest.snapshot()
    with pytest.raises(AzureliteError, match="compile again"):
        Services(System(guest.root)).disable("web")
    assert guest.snapshot() == before


def test_what_dinits_distribution_starts_cannot_be_switched_off(guest: Guest) -> None:
    root_of(guest, "dinit").put({"usr/lib/dinit.d/web": "", "usr/lib/dinit.d/boot.d/web": ""})
    services = Services(System(guest.root))
    assert services.enabled("web") is True
    with pytest.raises(AzureliteError, match="dinit has no way to mask it"):
        services.disable("web")


def test_an_own_unit_that_is_started_all_the_same_is_named(guest: Guest) -> None:
    guest.put({"usr/lib/systemd/systemd": "", "etc/systemd/system/web.service": UNIT, "etc/machine-id": "1\n"})
    link(guest, "usr/lib/systemd/system/multi-user.target.wants/web.service", "../web.service")
    with pytest.raises(AzureliteError, match="remove that file"):
        Services(System(guest.root)).disable("web")


@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("systemctl") is None, reason="needs systemctl: install systemd")
@pytest.mark.parametrize("machine_id", ["0123456789abcdef0123456789abcdef\n", None])
@pytest.mark.parametrize("vendor", [False, True])
def test_systemctl_agrees_about_what_starts(guest: Guest, machine_id: str | None, vendor: bool) -> None:
    guest.put({"usr/lib/systemd/systemd": "", "usr/lib/systemd/system/web.service": UNIT})
    link(guest, "lib", "usr/lib")
    if machine_id is not None:
        guest.put({"etc/machine-id": machine_id})
    if vendor:
        link(guest, "usr/lib/systemd/system/basic.target.wants/web.service", "../web.service")

    def systemctl(*words: str) -> str:
        command = ["systemctl", f"--root={guest.root}", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    assert Services(System(guest.root)).enabled("web") is vendor
    systemctl("enable", "web.service")
    assert systemctl("is-enabled", "web.service") == "enabled"
    services = Services(System(guest.root))
    assert services.enabled("web") is True
    assert services.disable("web") is True
    masked = vendor or machine_id is None
    assert systemctl("is-enabled", "web.service") == ("masked" if masked else "disabled")
    assert services.enabled("web") is False
    if machine_id is None:
        systemctl("preset-all")  # as at a first boot
        assert systemctl("is-enabled", "web.service") == "masked"
    system = System(guest.root)
    assert Services(system).disable("web") is False
    assert len(system.journal) == 0


def test_an_old_script_under_systemd_is_disabled_as_its_generator_reads_it(guest: Guest) -> None:
    guest.put({"usr/lib/systemd/systemd": "", "etc/init.d/web": ""})
    link(guest, "etc/rc3.d/S01web", "../init.d/web")
    services = Services(System(guest.root))
    assert (services.init, services.enabled("web")) == ("systemd", True)
    assert services.disable("web")
    assert services.enabled("web") is False


# finit's files, BusyBox's inittab and FreeBSD's variables: (files, what they are once "web" is disabled)
FINIT = "service [2345] name:web /usr/sbin/httpd -- Web\ntask [S] /sbin/webby\n"
WEB = "::respawn:/sbin/web -D\n"
INITTAB = f"::sysinit:/etc/init.d/rcS\n{WEB}::respawn:/sbin/webmail\ntty1::askfirst:-/bin/sh\n"
LINES = {
    "finit": ({"etc/finit.conf": FINIT}, {"etc/finit.conf": "#" + FINIT}),
    "finit, by its program, on two lines": (
        {"etc/finit.d/x.conf": "task /sbin/y\nservice /sbin/web -f \\\n   -x\nservice name:y /sbin/web\n",
         "etc/finit.d/web.conf.bak": "service /sbin/web\n"},
        {"etc/finit.d/x.conf": "task /sbin/y\n#service /sbin/web -f \\\n#   -x\nservice name:y /sbin/web\n"},
    ),
    "busybox": ({"etc/inittab": INITTAB}, {"etc/inittab": INITTAB.replace(WEB, f"#{WEB}")}),
    "freebsd": (
        {"etc/rc.d/web": 'rcvar="httpd_enable"\n', "etc/rc.conf": 'a="b"\nhttpd_enable=YES # x\nweb_enable="YES"'},
        {"etc/rc.conf": 'a="b"\nhttpd_enable="NO"\nweb_enable="YES"'},
    ),
    "freebsd, the last one counts": (
        {"usr/local/etc/rc.d/web": "", "etc/rc.conf": 'web_enable="NO"\n', "etc/rc.conf.d/web": 'web_enable="yes"\n'},
        {"etc/rc.conf": 'web_enable="NO"\n', "etc/rc.conf.d/web": 'web_enable="NO"\n'},
    ),
    "freebsd, by default": (
        {"etc/rc.d/web": ': ${web_enable:="YES"}\n', "etc/rc.conf": 'a="b"'},
        {"etc/rc.d/web": ': ${web_enable:="YES"}\n', "etc/rc.conf": 'a="b"\nweb_enable="NO"\n'},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_line_that_starts_the_service_is_switched_off_and_no_other_one(guest: Guest, case: str) -> None:
    files, expected = LINES[case]
    root_of(guest, case.partition(",")[0]).put(files)
    services = Services(System(guest.root))
    assert services.enabled("web") is True
    assert services.disable("web") is True
    assert {path: guest.text(path) for path in expected} == expected
    assert services.enabled("web") is not True
    assert services.disable("web") is False


def test_a_link_that_finits_own_tool_made_is_removed(guest: Guest) -> None:
    root_of(guest, "finit").put({"etc/finit.d/available/web.conf": "service /sbin/web\n"})
    link(guest, "etc/finit.d/enabled/web.conf", "../available/web.conf")
    services = Services(System(guest.root))
    assert (services.enabled("web"), services.disable("web"), services.enabled("web")) == (True, True, False)
    assert guest.text("etc/finit.d/available/web.conf") == "service /sbin/web\n"


def test_what_brings_busyboxes_machine_up_is_never_disabled(guest: Guest) -> None:
    root_of(guest, "busybox").put({"etc/inittab": "::sysinit:/etc/init.d/rcS\n::shutdown:/bin/umount -a\n"})
    before = guest.snapshot()
    services = Services(System(guest.root))
    assert [services.disable(name) for name in ("rcS", "umount")] == [False, False]
    assert guest.snapshot() == before
