"""The units of every init system as plain files: their syntax by the tools that read them, and what they do when run.

Booting them as process 1 is for the tests in `boot/`. Here each script runs by itself, with its fixed paths replaced.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterator, Optional

import pytest

REPO = Path(__file__).parents[2]
UNITS = REPO / "azurelite" / "service" / "units"
CONTRIB = REPO / "contrib"
TREE = Path("/var/cache/azurelite-test-tools/tree")  # see tests/live/fetch_tools.sh

FILES = sorted(str(path.relative_to(UNITS)) for path in UNITS.rglob("*") if path.is_file())
SCRIPTS = [name for name in FILES if (UNITS / name).read_bytes().startswith(b"#!")]
HOOKS = sorted(path for path in (CONTRIB / "initramfs").rglob("*") if path.is_file() and path.suffix != ".md")
SHELLS = [(UNITS / name, name) for name in SCRIPTS] + [(path, str(path.relative_to(CONTRIB))) for path in HOOKS]

# What each init system's own shell functions and variables are, which shellcheck cannot know of.
KNOWN_TO_OTHERS = "SC1091,SC2034"

PROVISION = "provision --detach"  # what each unit asks for: it returns when Azure knows, and later boots go on behind

# A directive and the release of systemd that first knew it; Debian 11 has 247.
OLDEST_SYSTEMD = 247
DIRECTIVES = {
    "Description": 1, "Documentation": 1, "DefaultDependencies": 1, "ConditionPathExists": 1,
    "ConditionKernelCommandLine": 1, "After": 1, "Before": 1, "Wants": 1, "Conflicts": 1, "Type": 1,
    "RemainAfterExit": 1, "ExecStart": 1, "TimeoutStartSec": 188, "StandardOutput": 1, "StandardError": 1,
    "KillMode": 1, "WantedBy": 1, "RestrictAddressFamilies": 211, "RestrictNamespaces": 233, "RestrictRealtime": 231,
    "RestrictSUIDSGID": 242, "LockPersonality": 235, "SystemCallArchitectures": 209,
}  # fmt: skip


def need(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}: install {package}")


def text_of(name: str) -> str:
    return (UNITS / name).read_text(encoding="utf-8")


class Stage:
    """A folder in which a script runs; its program, off switch, status and console are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "azurelite"
        self.console = folder / "console"
        self.log = folder / "log"
        self.off = folder / "disabled"
        self.console.touch()

    def have_program(self, exit_code: int = 0, *, last: str = "") -> None:
        self.program.write_text(f'#!/bin/sh\necho "$@" >> {self.log}\necho its words\n{last}\nexit {exit_code}\n')
        self.program.chmod(0o755)

    def text(self, name: str) -> str:
        replaced = {
            "/usr/bin/azurelite": str(self.program),
            "/usr/local/bin/azurelite": str(self.program),
            "/etc/azurelite/disabled": str(self.off),
            "/run/azurelite/exit-status": str(self.folder / "run" / "exit-status"),
            "/etc/rc.subr": str(self.folder / "rc.subr"),
            "/dev/console": str(self.console),
        }
        text = text_of(name)
        for here, there in replaced.items():
            text = text.replace(here, there)
        return text

    def put(self, name: str, path: str) -> Path:
        script = self.folder / path
        script.parent.mkdir(exist_ok=True)
        script.write_text(self.text(name), encoding="utf-8")
        script.chmod(0o755)
        return script

    def runs(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def run(*argv: str, cwd: Optional[Path] = None) -> tuple[int, str]:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


# Where they lie


def test_every_init_system_has_its_folder() -> None:
    assert {name.split("/")[0] for name in FILES} == {
        "systemd", "openrc", "sysvinit", "runit", "s6", "s6-rc", "dinit", "finit", "busybox", "freebsd"
    }  # fmt: skip


def test_contrib_links_to_each_of_them_and_to_nothing_else() -> None:
    folders = {name.split("/")[0] for name in FILES}
    found = {str(path.relative_to(CONTRIB)): path for folder in folders for path in (CONTRIB / folder).rglob("*")}
    links = {name: path for name, path in found.items() if not path.is_dir()}
    assert sorted(links) == FILES
    for name, path in links.items():
        assert not os.readlink(path).startswith("/")
        assert path.resolve() == (UNITS / name).resolve()


def test_scripts_can_be_run_and_the_rest_cannot() -> None:
    for name in FILES:
        assert os.access(UNITS / name, os.X_OK) == (name in SCRIPTS), name


def test_none_starts_it_again() -> None:
    again = re.compile(r"^\s*(Restart\s*=|respawn|restart\s*=\s*(yes|true))", re.MULTILINE)
    assert [name for name in FILES if again.search(text_of(name))] == []


def test_each_names_the_program_by_its_path() -> None:
    without = {name for name in FILES if "preset" in name or name.endswith(("rc.conf", "/type"))}
    offenders = []
    for name in sorted({*FILES} - without):
        expected = "/usr/local/bin/azurelite" if name.startswith("freebsd/") else "/usr/bin/azurelite"
        if (expected in text_of(name)) == name.endswith("/finish"):
            offenders.append(name)
    assert offenders == []


# Shell


@pytest.mark.spawns
@need("shellcheck", "shellcheck")
@pytest.mark.parametrize("openrc", [True, False])
def test_shellcheck_has_nothing_to_say(openrc: bool) -> None:
    """OpenRC's scripts have a first line that shellcheck does not know, so their dialect is told."""
    dialect = ["-s", "sh"] if openrc else []
    paths = [str(path) for path, name in SHELLS if name.startswith("openrc/") is openrc]
    assert paths
    assert run("shellcheck", "-e", KNOWN_TO_OTHERS, *dialect, *paths) == (0, "")


@pytest.mark.spawns
@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"]], ids=" ".join)
def test_small_shells_can_read_them(shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"needs {shell[0]}: install {shell[0]}")
    results = {}
    for path, name in SHELLS:
        bash = path.read_bytes().startswith(b"#!/bin/bash")  # dracut's modules are bash's
        results[name] = run(*(["bash"] if bash else shell), "-n", str(path))
    assert {name: result for name, result in results.items() if result != (0, "")} == {}


# systemd


def directives(name: str) -> Iterator[tuple[str, str]]:
    for line in text_of(name).splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            yield key, value


SERVICES = ["systemd/azurelite.service", "systemd/azurelite-hostname.service"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_oldest_systemd_knows_every_directive(name: str) -> None:
    for key, _ in directives(name):
        assert DIRECTIVES[key] <= OLDEST_SYSTEMD


@pytest.mark.parametrize("name", SERVICES)
def test_the_services_run_once_and_show_it(name: str) -> None:
    found = dict(directives(name))
    kind = "oneshot" if "hostname" in name else "forking"  # what detaches is a process that systemd is to follow
    assert (found["Type"], found["RemainAfterExit"]) == (kind, "yes")
    assert found["StandardOutput"] == found["StandardError"] == "journal+console"
    conditions = [value for key, value in directives(name) if key.startswith("Condition")]
    assert "!/etc/azurelite/disabled" in conditions
    assert "!azurelite=off" in conditions


def test_no_socket_is_ordered_behind_a_service_that_is_behind_all_sockets() -> None:
    found = [value for key, value in directives("systemd/azurelite.service") if key == "Before"]
    assert "ssh.service sshd.service dropbear.service" in found
    assert not any(".socket" in value for value in found)
    assert "DefaultDependencies" not in dict(directives("systemd/azurelite.service"))


def test_nothing_takes_the_owners_scripts_and_mounts_into_a_sandbox() -> None:
    keys = [key for key, _ in directives("systemd/azurelite.service")]
    assert not [
        key for key in keys if key.startswith(("Protect", "Private", "Restrict", "ReadOnly", "NoNew", "System"))
    ]


def analyzer() -> Optional[tuple[str, dict[str, str]]]:
    if shutil.which("systemd-analyze") is not None:
        return "systemd-analyze", {}
    program = TREE / "usr" / "bin" / "systemd-analyze"
    if not program.exists():
        return None
    libraries = [str(path.parent) for path in (TREE / "usr").rglob("libsystemd-*.so*")]
    return str(program), {"LD_LIBRARY_PATH": ":".join(dict.fromkeys(libraries))}


@pytest.mark.spawns
@pytest.mark.skipif(analyzer() is None, reason="needs systemd-analyze: run tests/live/fetch_tools.sh")
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    found = analyzer()
    assert found is not None
    unit = tmp_path / Path(name).name
    unit.write_text(text_of(name).replace("/usr/bin/azurelite", "/bin/true"), encoding="utf-8")
    command = [found[0], "verify", "--man=no", str(unit)]
    environment = {**os.environ, **found[1]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "azurelite" in line]
    assert (done.returncode, ours) == (0, [])


# Scripts that are called with a verb


@pytest.mark.spawns
class TestSysvinit:
    @pytest.mark.parametrize("exit_code", [0, 1, 3])
    def test_the_exit_status_is_the_programs(self, stage: Stage, exit_code: int) -> None:
        stage.have_program(exit_code)
        code, said = run("sh", str(stage.put("sysvinit/azurelite", "init.d/azurelite")), "start")
        assert (code, stage.runs()) == (exit_code, [PROVISION])
        assert ("exit status" in said) == (exit_code != 0)

    def test_a_missing_program_is_said_in_one_line(self, stage: Stage) -> None:
        code, said = run("sh", str(stage.put("sysvinit/azurelite", "azurelite.sh")), "start")
        assert (code, said) == (5, f"azurelite: {stage.program} does not exist: install azurelite\n")

    def test_the_switch_turns_it_off(self, stage: Stage) -> None:
        stage.have_program()
        stage.off.touch()
        assert run("sh", str(stage.put("sysvinit/azurelite", "azurelite.sh")), "start") == (0, "")
        assert stage.runs() == []

    def test_the_other_verbs_do_nothing(self, stage: Stage) -> None:
        stage.have_program()
        script = str(stage.put("sysvinit/azurelite", "azurelite.sh"))
        for verb in ("stop", "restart", "reload", "force-reload", "try-restart"):
            assert run("sh", script, verb) == (0, "")
        assert run("sh", script)[0] == 2
        assert stage.runs() == []

    @pytest.mark.parametrize(("exit_code", "told"), [(0, 0), (3, 1)])
    def test_the_status_is_of_this_boot_whether_or_not_there_was_anything_to_do(
        self, stage: Stage, exit_code: int, told: int
    ) -> None:
        stage.have_program(exit_code)
        script = str(stage.put("sysvinit/azurelite", "azurelite.sh"))
        assert run("sh", script, "status") == (3, "azurelite has not run since the boot\n")
        run("sh", script, "start")
        code, said = run("sh", script, "status")
        assert (code, said.count("\n")) == (told, 1)
        assert (f"exit status {exit_code}" in said) == (exit_code != 0)

    def test_its_header_is_one_that_insserv_reads(self) -> None:
        header = text_of("sysvinit/azurelite").partition("### BEGIN INIT INFO\n")[2].partition("### END INIT INFO")[0]
        known = ("Provides", "Required-Start", "Required-Stop", "Should-Start", "X-Start-Before", "Default-Start",
                 "Default-Stop", "Short-Description", "Description")  # fmt: skip
        keys = [line[2:].partition(":")[0] for line in header.splitlines() if not line.startswith("#  ")]
        assert tuple(keys) == known


OPENRC = """
. {script}
use() {{ echo "use $*"; }}
after() {{ echo "after $*"; }}
before() {{ echo "before $*"; }}
need() {{ echo "need $*"; }}
keyword() {{ echo "keyword $*"; }}
ebegin() {{ echo "begin $*"; }}
eerror() {{ echo "error $*"; }}
eend() {{ status=$1; shift; [ "$status" = 0 ] || echo "end $*"; return "$status"; }}
"""


@pytest.mark.spawns
class TestOpenrc:
    def call(self, stage: Stage, function: str) -> tuple[int, str]:
        script = stage.put("openrc/azurelite", "script")
        return run("sh", "-c", OPENRC.format(script=script) + function)

    @pytest.mark.parametrize("exit_code", [0, 3])
    def test_the_exit_status_is_the_programs(self, stage: Stage, exit_code: int) -> None:
        stage.have_program(exit_code)
        code, said = self.call(stage, "start")
        assert (code, stage.runs()) == (exit_code, [PROVISION])
        assert (f"end azurelite: exit status {exit_code}" in said) == (exit_code != 0)

    def test_a_missing_program_is_said_in_one_line(self, stage: Stage) -> None:
        code, said = self.call(stage, "start")
        assert (code, said) == (1, f"error azurelite: {stage.program} does not exist: install azurelite\n")

    def test_the_switch_turns_it_off(self, stage: Stage) -> None:
        stage.have_program()
        stage.off.touch()
        assert self.call(stage, "start") == (0, "")
        assert stage.runs() == []

    def test_nothing_is_needed_and_sshd_waits_as_long_as_it_takes(self, stage: Stage) -> None:
        lines = {line.split()[0]: line.split()[1:] for line in self.call(stage, "depend")[1].splitlines()}
        assert "need" not in lines
        assert {"net", "networking"} <= set(lines["use"])
        assert {"localmount", "bootmisc"} <= set(lines["after"])
        assert {"ssh", "sshd"} <= set(lines["before"])
        assert "-timeout" in lines["keyword"]


@pytest.mark.spawns
class TestFreebsd:
    def start(self, stage: Stage) -> tuple[int, str]:
        (stage.folder / "rc.subr").write_text(
            'load_rc_config() { :; }\nrun_rc_command() { "$start_cmd"; }\nwarn() { echo "$name: WARNING: $*"; }\n'
        )
        return run("sh", str(stage.put("freebsd/azurelite", "script")), "start")

    def test_it_provisions_and_says_how_that_ended(self, stage: Stage) -> None:
        stage.have_program(3)
        assert self.start(stage) == (3, "its words\nazurelite: WARNING: exit status 3\n")
        assert stage.runs() == [PROVISION]

    def test_a_missing_program_is_said_in_one_line(self, stage: Stage) -> None:
        assert self.start(stage) == (1, f"azurelite: WARNING: {stage.program} does not exist: install azurelite\n")

    def test_it_runs_at_every_boot_ahead_of_sshd(self) -> None:
        text = text_of("freebsd/azurelite")
        assert "# BEFORE: sshd\n" in text
        assert "# KEYWORD: nojail\n" in text


# Folders that a supervisor runs


SUPERVISORS = [
    pytest.param("runit", "runsv", marks=need("runsv", "runit")),
    pytest.param("s6", "s6-supervise", marks=need("s6-supervise", "s6")),
]


TELLERS = {"runit": ["sv", "status"], "s6": ["s6-svstat"]}


class Supervised:
    """A service under its real supervisor."""

    def __init__(self, stage: Stage, init: str, program: str) -> None:
        self.stage = stage
        self.teller = TELLERS[init]
        self.service = stage.folder / "service"
        for name in ("run", "finish"):
            stage.put(f"{init}/{name}", f"service/{name}")
        self.process = subprocess.Popen([program, str(self.service)], start_new_session=True)

    def settled(self) -> str:
        """What the console says when the supervisor holds the service down and means to leave it there."""
        limit = time.monotonic() + 20
        while not self.is_held_down():
            assert time.monotonic() < limit, self.stage.console.read_text()
            time.sleep(0.02)
        return self.stage.console.read_text()

    def is_held_down(self) -> bool:
        """Ahead of its start, and in the second before another one, it says `want up`.

        s6 says `down` while `finish` runs, and `ready` behind that.
        """
        code, said = run(*self.teller, str(self.service))
        ended = "ready" in said or "s6-svstat" not in self.teller
        return code == 0 and said.startswith("down") and ended and "want up" not in said

    def end(self) -> None:
        # runsv would think about it for a second; where nothing runs under it, nothing is lost with it.
        self.process.send_signal(signal.SIGKILL if self.is_held_down() else signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        finally:
            if self.process.poll() is None:
                self.process.kill()


@pytest.mark.spawns
@pytest.mark.parametrize(("init", "program"), SUPERVISORS)
class TestSupervised:
    @pytest.mark.parametrize("exit_code", [0, 3])
    def test_it_runs_once_however_it_ends(self, stage: Stage, init: str, program: str, exit_code: int) -> None:
        stage.have_program(exit_code)
        supervised = Supervised(stage, init, program)
        try:
            said = supervised.settled()
        finally:
            supervised.end()
        assert stage.runs() == [PROVISION]
        assert said == "its words\n" + (f"azurelite: exit status {exit_code}\n" if exit_code else "")

    def test_one_that_is_killed_is_not_started_again(self, stage: Stage, init: str, program: str) -> None:
        stage.have_program(last="kill -9 $$")
        supervised = Supervised(stage, init, program)
        try:
            supervised.settled()
            time.sleep(1.5)  # both start again after a second
            said = supervised.settled()
        finally:
            supervised.end()
        assert stage.runs() == [PROVISION]
        assert said in ("its words\nazurelite: exit status -1\n", "its words\nazurelite: exit status 256\n")

    @pytest.mark.parametrize("exit_code", [0, 3])
    def test_it_runs_once_though_the_supervisor_cannot_be_told(
        self, stage: Stage, init: str, program: str, exit_code: int
    ) -> None:
        stage.have_program(exit_code)
        path = stage.folder / "bin"  # without `sv` and `s6-svc`
        path.mkdir()
        for name in ("sh", "sleep"):
            (path / name).symlink_to(str(shutil.which(name)))
        service = stage.folder / "service"
        for name in ("run", "finish"):
            stage.put(f"{init}/{name}", f"service/{name}")
        process = subprocess.Popen(
            [str(shutil.which(program)), str(service)], start_new_session=True, env={**os.environ, "PATH": str(path)}
        )
        try:
            time.sleep(3.5)  # both would have started it again by now
            said = stage.console.read_text()
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(timeout=10)
        assert stage.runs() == [PROVISION]
        assert said == "its words\n" + (f"azurelite: exit status {exit_code}\n" if exit_code else "")

    def test_a_missing_program_is_said_in_one_line(self, stage: Stage, init: str, program: str) -> None:
        supervised = Supervised(stage, init, program)
        try:
            said = supervised.settled()
        finally:
            supervised.end()
        assert said == f"azurelite: {stage.program} does not exist: install azurelite\n"

    def test_the_switch_turns_it_off(self, stage: Stage, init: str, program: str) -> None:
        stage.have_program()
        stage.off.touch()
        supervised = Supervised(stage, init, program)
        try:
            said = supervised.settled()
        finally:
            supervised.end()
        assert (stage.runs(), said) == ([], "")


# Lines and descriptions


@pytest.mark.spawns
@need("execlineb", "execline")
class TestS6Rc:
    def up(self, stage: Stage) -> int:
        return run("execlineb", "-P", str(stage.put("s6-rc/azurelite/up", "up")))[0]

    @pytest.mark.parametrize("exit_code", [0, 3])
    def test_its_exit_status_is_the_programs(self, stage: Stage, exit_code: int) -> None:
        stage.have_program(exit_code)
        assert (self.up(stage), stage.runs()) == (exit_code, [PROVISION])
        assert stage.console.read_text() == "its words\n"

    def test_a_missing_program_is_said_in_one_line(self, stage: Stage) -> None:
        assert self.up(stage) == 127
        assert stage.console.read_text() == f"azurelite: {stage.program} does not exist: install azurelite\n"

    def test_the_switch_turns_it_off(self, stage: Stage) -> None:
        stage.have_program()
        stage.off.touch()
        assert (self.up(stage), stage.runs()) == (0, [])

    def test_it_is_a_oneshot(self) -> None:
        assert text_of("s6-rc/azurelite/type") == "oneshot\n"


@pytest.mark.spawns
class TestBusybox:
    def call(self, stage: Stage) -> tuple[int, str]:
        """As BusyBox's init runs a line that needs a shell."""
        (line,) = [line for line in stage.text("busybox/inittab").splitlines() if not line.startswith("#")]
        terminal, levels, action, command = line.split(":", 3)
        assert (terminal, levels, action) == ("", "", "once")
        return run("sh", "-c", f"exec {command}")

    @pytest.mark.parametrize("exit_code", [0, 3])
    def test_the_line_provisions_and_says_how_that_ended(self, stage: Stage, exit_code: int) -> None:
        stage.have_program(exit_code)
        said = self.call(stage)[1]
        assert said == "its words\n" + (f"azurelite: exit status {exit_code}\n" if exit_code else "")
        assert stage.runs() == [PROVISION]

    def test_a_missing_program_is_said(self, stage: Stage) -> None:
        assert f"{stage.program}: not found" in self.call(stage)[1]

    def test_the_line_is_short_enough_for_every_busybox(self) -> None:
        assert all(len(line) < 200 for line in text_of("busybox/inittab").splitlines() if not line.startswith("#"))


def test_dinits_description_has_known_settings_alone() -> None:
    lines = [line for line in text_of("dinit/azurelite").splitlines() if not line.startswith("#")]
    settings = dict(line.split(" = ", 1) for line in lines)
    assert settings == {
        "type": "scripted",
        "command": f"/usr/bin/azurelite {PROVISION}",
        "restart": "false",
        "start-timeout": "0",
        "options": "shares-console",
    }


def test_finits_task_waits_for_no_condition() -> None:
    (line,) = [line for line in text_of("finit/azurelite.conf").splitlines() if not line.startswith("#")]
    assert re.fullmatch(
        r"task \[2345\] name:azurelite log:console /usr/bin/azurelite provision --detach -- [A-Za-z ]+", line
    )


# The hooks of the initramfs


@pytest.mark.spawns
class TestInitramfs:
    def boot(self, tmp_path: Path, document: Optional[str], *, tag: str = "7783-7084-3265-9085-8269-3286-77") -> str:
        """Run the script on a drive that is a folder; the name that the kernel got."""
        tools = tmp_path / "bin"
        tools.mkdir()
        kernel, drive = tmp_path / "hostname", tmp_path / "sr0"
        drive.mkdir()
        if document is not None:
            (drive / "ovf-env.xml").write_text(document, encoding="utf-8")
        (tmp_path / "tag").write_text(f"{tag}\n")
        (tools / "mount").write_text('#!/bin/sh\n[ "$2" = udf ] || exit 1\nexec cp -r "$5"/. "$6"\n')
        (tools / "umount").write_text('#!/bin/sh\nexec rm -rf "$1"/*\n')
        for tool in tools.iterdir():
            tool.chmod(0o755)
        script = CONTRIB / "initramfs" / "initramfs-tools" / "scripts" / "init-premount" / "azurelite-media"
        text = script.read_text(encoding="utf-8").replace('[ -b "$drive" ]', '[ -d "$drive" ]')
        for here, there in {
            "/sys/class/dmi/id/chassis_asset_tag": tmp_path / "tag", "/dev/sr": tmp_path / "sr",
            "/run/azurelite": tmp_path / "run", "/proc/sys/kernel/hostname": kernel,
            "/proc/cmdline": tmp_path / "cmdline",
        }.items():  # fmt: skip
            text = text.replace(here, str(there))
        environment = {"PATH": f"{tools}:/usr/bin:/bin"}
        done = subprocess.run(["sh"], input=text, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        return kernel.read_text().strip() if kernel.exists() else ""

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("myvm", "myvm"),
            ("My-VM.example.org", "My-VM"),
            ("", ""),
            ("-x", ""),
            ("a b", ""),
            ("$(reboot)", ""),
            ("a/b", ""),
            ("n" * 63, "n" * 63),
            ("n" * 64, ""),
        ],
    )
    def test_the_name_is_taken_where_it_is_one(self, tmp_path: Path, host: str, expected: str) -> None:
        document = f"<Environment><x:Set><x:HostName>{host}</x:HostName><x:UserPassword>p</x:UserPassword></x:Set>"
        assert self.boot(tmp_path, document) == expected
        kept = tmp_path / "run" / "media" / "ovf-env.xml"
        assert kept.read_text(encoding="utf-8") == document
        assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert not (tmp_path / "run" / "disc").exists()

    @pytest.mark.parametrize("document", [None, "", "<x/>"])
    def test_without_a_name_nothing_is_named(self, tmp_path: Path, document: Optional[str]) -> None:
        assert self.boot(tmp_path, document) == ""

    def test_elsewhere_nothing_is_done(self, tmp_path: Path) -> None:
        assert self.boot(tmp_path, "<HostName>x</HostName>", tag="other") == ""
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("words", "off"),
        [("azurelite=off", True), ("quiet azurelite=off root=x", True), ("xazurelite=off azurelite=offline", False)],
    )
    def test_the_kernels_word_switches_it_off(self, tmp_path: Path, words: str, off: bool) -> None:
        (tmp_path / "cmdline").write_text(f"{words}\n")
        assert (self.boot(tmp_path, "<HostName>x</HostName>") == "") == off
        assert (tmp_path / "run").exists() != off

    def test_both_builders_are_given_the_same_script(self) -> None:
        link = CONTRIB / "initramfs" / "dracut" / "90azurelite-media" / "azurelite-media"
        assert link.resolve() == (CONTRIB / "initramfs/initramfs-tools/scripts/init-premount/azurelite-media").resolve()
