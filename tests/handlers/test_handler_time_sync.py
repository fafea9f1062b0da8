"""`time_sync`: the host's clock and servers in the files of each program; chrony's are read by the real chronyd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import VM_ID, FastClock, Guest, shim

from azurelite.errors import HandlerError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context
from azurelite.handlers.time_sync import Options, apply
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.record import replace
from azurelite.state.store import Memory
from azurelite.system.machine import System

CHRONYD = shutil.which("chronyd", path="/usr/sbin:/usr/bin:/sbin:/bin")
CLOCK = "refclock PHC /dev/ptp_hyperv poll 3 dpoll -2 offset 0 stratum 2"
STEP = "makestep 1.0 -1"
MAIN = "pool 2.example.org iburst\nserver ntp.old.example\ndriftfile /var/lib/chrony/drift\nrtcsync\n"
OUT = "#azurelite: pool 2.example.org iburst\n#azurelite: server ntp.old.example\n"
REST = "driftfile /var/lib/chrony/drift\nrtcsync\n"
OWN = "etc/chrony/conf.d/azurelite.conf"
WISH = Options(servers=("a.example", "fd00::1"), pools=("p.example",))
SOURCES = "server a.example iburst\nserver fd00::1 iburst\npool p.example iburst\n"


def program(guest: Guest, path: str) -> None:
    guest.put({path: ""}).path(path).chmod(0o755)


def debian(guest: Guest, *, clock: bool = True, main: str = MAIN) -> Guest:
    """chrony as in Debian, with a drop-in folder."""
    program(guest, "usr/sbin/chronyd")
    guest.put({"etc/chrony/chrony.conf": f"confdir /etc/chrony/conf.d\n{main}", "etc/chrony/conf.d/README": ""})
    return guest.put({"dev/ptp_hyperv": ""}) if clock else guest


def settled(guest: Guest, context: Callable[..., Context], options: Options) -> None:
    """Apply the options twice, and check that the second time changes nothing."""
    apply(context(), options)
    again = context()
    apply(again, options)
    assert again.system.journal.since(0) == ()


def test_chrony_reads_the_hosts_clock(guest: Guest, context: Callable[..., Context]) -> None:
    settled(debian(guest), context, Options())
    assert guest.text(OWN) == f"# written by azurelite\n{CLOCK}\n{STEP}\n"
    assert guest.text("etc/chrony/chrony.conf") == f"confdir /etc/chrony/conf.d\n{MAIN}"


@pytest.mark.parametrize(
    ("files", "device"),
    [
        ({"sys/class/ptp/ptp0/clock_name": "hyperv\n"}, "/dev/ptp0"),
        ({"sys/class/ptp/ptp0/clock_name": "mlx5\n", "sys/class/ptp/ptp1/clock_name": "hyperv\n"}, "/dev/ptp1"),
        ({"sys/class/ptp/ptp0/clock_name": "KVM virtual PTP\n"}, None),
    ],
)
def test_without_udev_the_clock_is_found_by_its_name(
    guest: Guest, context: Callable[..., Context], files: dict[str, str], device: Any
) -> None:
    settled(debian(guest, clock=False).put(files), context, Options())
    assert guest.path(OWN).exists() == (device is not None)
    if device is not None:
        assert f"refclock PHC {device} poll" in guest.text(OWN)


@pytest.mark.parametrize(
    ("where", "line", "expected"),
    [
        ("etc/chrony/conf.d/hyperv.conf", "refclock PHC /dev/ptp_hyperv poll 3", f"{STEP}\n"),
        ("etc/chrony/conf.d/hyperv.conf", "#refclock PHC /dev/ptp_hyperv poll 3", f"{CLOCK}\n{STEP}\n"),
        ("etc/chrony/conf.d/hyperv.conf.off", "refclock PHC /dev/ptp_hyperv", f"{CLOCK}\n{STEP}\n"),
        ("etc/chrony/conf.d/step.conf", "makestep 1 3", f"{CLOCK}\n"),
    ],
)
def test_settings_of_the_image_are_not_repeated(
    guest: Guest, context: Callable[..., Context], where: str, line: str, expected: str
) -> None:
    settled(debian(guest).put({where: f"{line}\n"}), context, Options())
    assert guest.text(OWN) == f"# written by azurelite\n{expected}"


def test_an_image_with_all_settings_gets_no_file(guest: Guest, context: Callable[..., Context]) -> None:
    settled(debian(guest, main=f"{MAIN}{CLOCK}\nmakestep 1.0 3\n"), context, Options())
    assert not guest.path(OWN).exists()


def test_servers_replace_the_configured_ones(guest: Guest, context: Callable[..., Context]) -> None:
    settled(debian(guest), context, WISH)
    assert guest.text(OWN) == f"# written by azurelite\n{CLOCK}\n{STEP}\n{SOURCES}"
    assert guest.text("etc/chrony/chrony.conf") == f"confdir /etc/chrony/conf.d\n{OUT}{REST}"
    settled(guest, context, Options(ptp=False, servers=("b.example",)))
    assert guest.text(OWN) == "# written by azurelite\nserver b.example iburst\n"


@pytest.mark.parametrize("include", ["include /etc/chrony.d/*.conf", "confdir /etc/gone /etc/chrony.d"])
def test_other_drop_in_folders_are_found(guest: Guest, context: Callable[..., Context], include: str) -> None:
    program(guest, "usr/bin/chronyd")
    guest.put({"etc/chrony.conf": f"{include}\n", "etc/chrony.d/README": "", "dev/ptp_hyperv": ""})
    settled(guest, context, Options())
    assert guest.text("etc/chrony.d/azurelite.conf").splitlines()[1:] == [CLOCK, STEP]


@pytest.mark.parametrize("head", ["", "#confdir /etc/chrony.d\n", "confdir /etc/chrony.d\n"])
def test_without_a_drop_in_folder_the_main_file_gets_a_block(
    guest: Guest, context: Callable[..., Context], head: str
) -> None:
    program(guest, "usr/sbin/chronyd")
    guest.put({"etc/chrony.conf": head + MAIN, "dev/ptp_hyperv": ""})
    settled(guest, context, Options())
    part = "# azurelite: begin\n%s# azurelite: end\n"
    assert guest.text("etc/chrony.conf") == head + MAIN + part % f"{CLOCK}\n{STEP}\n"
    settled(guest, context, WISH)
    assert guest.text("etc/chrony.conf") == head + OUT + REST + part % f"{CLOCK}\n{STEP}\n{SOURCES}"
    settled(guest, context, Options(ptp=False))
    assert guest.text("etc/chrony.conf") == head + OUT + REST


@pytest.mark.spawns
@pytest.mark.skipif(CHRONYD is None, reason="needs chronyd: install chrony")
@pytest.mark.parametrize("drop_in", [True, False])
def test_the_real_chronyd_reads_it(guest: Guest, context: Callable[..., Context], drop_in: bool) -> None:
    folder = guest.path("etc/chrony/conf.d")
    debian(guest, main=MAIN.replace("/var", str(guest.folder)))
    if not drop_in:
        guest.put({"etc/chrony/chrony.conf": MAIN})
    apply(context(), WISH)
    main = guest.path("etc/chrony/chrony.conf")
    main.write_text(main.read_text().replace("/etc/chrony/conf.d", str(folder)))
    done = subprocess.run([str(CHRONYD), "-p", "-f", str(main)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = [line for line in done.stdout.splitlines() if line.split()[0] in ("refclock", "makestep", "server", "pool")]
    assert sorted(shown) == sorted([CLOCK, STEP, *SOURCES.splitlines()])


NTP = "driftfile /d\npool 0.example iburst\n  server 127.127.1.0\npeer x\nrestrict default\n"
NTP_OUT = (
    "driftfile /d\n#azurelite: pool 0.example iburst\n  server 127.127.1.0\n#azurelite: peer x\nrestrict default\n"
)
OTHERS: dict[str, tuple[str, str, str, str]] = {
    "ntp": ("usr/sbin/ntpd", "etc/ntp.conf", NTP, f"{NTP_OUT}# azurelite: begin\n{SOURCES}# azurelite: end\n"),
    "ntpsec": (
        "usr/sbin/ntpd",
        "etc/ntpsec/ntp.conf",
        NTP,
        f"{NTP_OUT}# azurelite: begin\n{SOURCES}# azurelite: end\n",
    ),
    "OpenNTPD": (
        "usr/sbin/ntpd",
        "etc/openntpd/ntpd.conf",
        "servers old.example\n",
        "#azurelite: servers old.example\n@server a.example\nserver fd00::1\nservers p.example\n@",
    ),
    "BusyBox": (
        "usr/sbin/ntpd",
        "etc/conf.d/ntpd",
        'NTPD_OPTS="-N -p pool.example -I eth0"\n',
        'NTPD_OPTS="-N -I eth0 -p a.example -p fd00::1 -p p.example"\n',
    ),
    "timesyncd": (
        "usr/lib/systemd/systemd-timesyncd",
        "etc/systemd/timesyncd.conf.d/90-azurelite.conf",
        "",
        "# written by azurelite\n[Time]\nNTP=\nNTP=a.example fd00::1 p.example\n",
    ),
}


@pytest.mark.parametrize("case", sorted(OTHERS))
def test_the_servers_of_other_programs(guest: Guest, context: Callable[..., Context], case: str) -> None:
    tool, conf, before, after = OTHERS[case]
    program(guest, tool)
    if before:
        guest.put({conf: before})
    guest.put({"dev/ptp_hyperv": ""})
    untouched = guest.snapshot()
    settled(guest, context, Options())  # none of these programs can use the host's clock
    assert guest.snapshot() == untouched
    settled(guest, context, WISH)
    assert guest.text(conf) == after.replace("@", "# azurelite: begin\n", 1).replace("@", "# azurelite: end\n")
    with pytest.raises(HandlerError, match="requires chrony"):
        apply(context(), Options(ptp=True))


def test_servers_of_timesyncd_are_removed_again(guest: Guest, context: Callable[..., Context]) -> None:
    program(guest, "lib/systemd/systemd-timesyncd")
    settled(guest, context, WISH)
    settled(guest, context, Options())
    assert not guest.path("etc/systemd/timesyncd.conf.d/90-azurelite.conf").exists()


def test_without_a_program_the_remedy_is_named(guest: Guest, context: Callable[..., Context]) -> None:
    guest.put({"etc/chrony.conf": ""})
    before = guest.snapshot()
    apply(context(), Options())
    for options in (Options(servers=("a",)), Options(ptp=True)):
        with pytest.raises(HandlerError, match="to the image"):
            apply(context(), options)
    assert guest.snapshot() == before


def test_an_image_gets_the_usual_clock_device(guest: Guest, context: Callable[..., Context]) -> None:
    settled(debian(guest, clock=False), context, Options(ptp=True))
    assert CLOCK in guest.text(OWN)


@pytest.mark.parametrize("key", ["servers", "pools"])
@pytest.mark.parametrize(
    "name", ["", "a b", "a\nserver evil", "a#", "-a", "a/b", "a" * 254, "a.example\n", "fd00::1 x"]
)
def test_invalid_host_names_are_refused(key: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{key} must be host names"):
        replace(Options(), **{key: ("good.example", name)})


@pytest.mark.spawns
@pytest.mark.parametrize("runs", [True, False])
def test_a_service_that_runs_is_restarted_and_none_is_started(guest: Guest, tmp_path: Path, runs: bool) -> None:
    debian(guest).runs("/usr/lib/systemd/systemd")
    log = shim(tmp_path, "systemctl", script=f"echo {'active' if runs else 'inactive'}")

    def here(*, dry_run: bool = False) -> Context:
        system = System(guest.root, dry_run=dry_run, search_path=str(tmp_path), clock=FastClock())
        system.root.is_host = True
        memory = Memory(system.files, VM_ID)
        return Context(Metadata(), system, Fabric(0), Outcome("applied", ""), lambda _: None, lambda: None, memory)

    dry, real, again = here(dry_run=True), here(), here()
    apply(dry, Options())
    assert "restart" not in (log.read_text() if log.exists() else "")
    apply(real, Options())
    assert ("restart" in log.read_text()) == runs
    assert ("restart service chronyd" in [str(change) for change in real.system.journal.since(0)]) == runs
    assert dry.system.journal.since(0) == real.system.journal.since(0)
    apply(again, Options())
    assert again.system.journal.since(0) == ()


def test_on_the_running_system_a_missing_clock_is_an_error(guest: Guest, tmp_path: Path) -> None:
    """chronyd does not start with one."""
    system = System(debian(guest, clock=False).root, search_path=str(tmp_path), clock=FastClock())
    system.root.is_host = True
    memory = Memory(system.files, VM_ID)
    ctx = Context(Metadata(), system, Fabric(0), Outcome("applied", ""), lambda _: None, lambda: None, memory)
    before = guest.snapshot()
    with pytest.raises(HandlerError, match="ptp_hyperv does not exist"):
        apply(ctx, Options(ptp=True))
    assert guest.snapshot() == before
