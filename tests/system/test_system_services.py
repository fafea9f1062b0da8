"""Services: which init system there is, what its programs are told, and what keeps a service from starting."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kit import Guest, shim

from azurelite.errors import AzureliteError
from azurelite.system.machine import System
from azurelite.system.services.service_control import is_running, words
from azurelite.system.services.services import Services

UNIT = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


def link(guest: Guest, path: str, target: str) -> None:
    place = guest.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize(
    ("files", "links", "expected"),
    [
        ([], {}, "none"),
        (["usr/lib/systemd/systemd"], {"sbin/init": "/lib/systemd/systemd"}, "systemd"),
        (["usr/lib/systemd/systemd"], {}, "systemd"),
        (["etc/runlevels/boot/x"], {"sbin/init": "/bin/busybox"}, "openrc"),
        (["etc/runlevels/boot/x", "sbin/init"], {}, "openrc"),
        (["etc/runlevels/boot/x"], {"sbin/init": "openrc-init"}, "openrc"),
        (["etc/runit/runsvdir/default/x/run"], {"sbin/init": "runit-init"}, "runit"),
        (["etc/runit/runsvdir/default/x/run"], {}, "runit"),
        # Installed as a supervisor only: what boots is another one.
        (["etc/runit/runsvdir/default/x/run", "sbin/init", "etc/rc2.d/S01x"], {}, "sysvinit"),
        (["etc/dinit.d/boot"], {"sbin/init": "/usr/bin/dinit"}, "dinit"),
        (["etc/s6/sv/x/type"], {"sbin/init": "/etc/s6-linux-init/current/bin/init"}, "s6"),
        (["etc/s6-overlay/s6-rc.d/x/type"], {}, "s6"),
        (["etc/inittab"], {"sbin/init": "../bin/busybox"}, "busybox"),
        (["etc/inittab", "etc/rc3.d/S01x", "sbin/init"], {}, "sysvinit"),
    ],
)
def test_a_foreign_roots_init_system_is_found_by_what_is_there(
    guest: Guest, files: list[str], links: dict[str, str], expected: str
) -> None:
    guest.put(dict.fromkeys(files, ""))
    for path, target in links.items():
        link(guest, path, target)
    services = Services(System(guest.root))
    assert services.init == expected
    assert services.enabled("nothing") is None
    assert services.disable("nothing") is False
    assert services.running("sshd", "ssh") is None
    assert services.reload("sshd") is False


def test_on_the_running_machine_a_dry_run_finds_one_and_starts_nothing() -> None:
    system = System("/", dry_run=True, search_path="/nonexistent")
    system.commands.search_path = "/nonexistent"
    services = Services(system)
    assert services.init in ("systemd", "openrc", "sysvinit", "runit", "s6", "dinit", "busybox", "none")
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
]  # fmt: skip


@pytest.mark.spawns
@pytest.mark.parametrize(("init", "files", "program", "script", "expected"), CONTROL)
def test_each_init_system_is_asked_and_told_in_its_own_words(
    guest: Guest, tmp_path: Path, init: str, files: dict[str, str], program: str, script: str, expected: list[str]
) -> None:
    shim(tmp_path / "bin", program, script=script)
    system = System(guest.put(files).root, search_path=str(tmp_path / "bin"))
    assert is_running(system, init, "web")
    assert words(system, init, "reload", "web") == expected
    shim(tmp_path / "bin", program, exit_code=1, script="echo inactive")
    if init != "openrc":
        assert not is_running(system, init, "web")
    assert not is_running(system, init, "other") or init == "openrc"


@pytest.mark.spawns
@pytest.mark.parametrize("init", ["systemd", "openrc", "dinit", "runit", "s6", "sysvinit", "busybox", "none"])
def test_without_the_init_systems_programs_nothing_runs(guest: Guest, init: str) -> None:
    system = System(guest.root)
    system.commands.search_path = "/nonexistent"
    assert not is_running(system, init, "web")


def test_restart_is_said_differently(guest: Guest) -> None:
    system = System(guest.root)
    assert words(system, "dinit", "restart", "web") == ["dinitctl", "restart", "web"]
    assert words(system, "s6", "restart", "web") == ["s6-svc", "-r", "web"]
    assert words(system, "busybox", "restart", "web") is None


@pytest.mark.spawns
def test_a_script_in_init_d_knows_whether_its_service_runs(guest: Guest) -> None:
    script = guest.put({"etc/init.d/web": "#!/bin/sh\n[ $1 = status ]\n"}).path("etc/init.d/web")
    system = System(guest.root)
    assert words(system, "sysvinit", "reload", "web") is None  # not executable, so not there
    script.chmod(0o755)
    assert words(system, "sysvinit", "reload", "web") == ["/etc/init.d/web", "reload"]


def test_a_pid_file_counts_while_its_process_is_that_program(guest: Guest) -> None:
    guest.put({"run/sshd.pid": "77\n", "proc/77/comm": "sshd\n"})
    system = System(guest.root)
    assert is_running(system, "busybox", "sshd")
    assert words(system, "busybox", "reload", "sshd") == ["kill", "-HUP", "77"]
    guest.put({"proc/77/comm": "other\n"})
    assert not is_running(system, "busybox", "sshd")
    guest.put({"run/sshd.pid": "99999999999\n"})
    assert not is_running(system, "busybox", "sshd")


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
    guest.put({source: "#!/bin/sh\n", "sbin/init": ""})
    for path in starting:
        link(guest, path, f"/{source}")
        link(guest, path.replace("web", "webmail"), f"/{source}")
    if init in ("dinit", "s6"):
        guest.path("sbin/init").unlink()
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
    guest.put({"etc/init.d/web": ""})
    assert Services(System(guest.root)).disable("web")
    for level in "2345":
        assert [path.name for path in guest.path(f"etc/rc{level}.d").iterdir()] == ["K80web"]
    assert guest.path("etc/rc0.d/K20web").is_symlink()


def test_a_runit_service_is_kept_down_and_not_taken_from_its_supervisor(guest: Guest) -> None:
    guest.put({"etc/sv/web/run": "#!/bin/sh\n"})
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
    guest.put({"etc/s6/adminsv/default/contents.d/web": "", "etc/s6/rc/compiled/db": ""})
    before = guest.snapshot()
    with pytest.raises(AzureliteError, match="compile again"):
        Services(System(guest.root)).disable("web")
    assert guest.snapshot() == before


def test_what_dinits_distribution_starts_cannot_be_switched_off(guest: Guest) -> None:
    guest.put({"usr/lib/dinit.d/web": "", "usr/lib/dinit.d/boot.d/web": "", "etc/dinit.d/x": ""})
    services = Services(System(guest.root))
    assert services.enabled("web") is True
    with pytest.raises(AzureliteError, match="dinit lets nobody"):
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
