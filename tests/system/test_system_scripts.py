"""People's programs: environment, input, log, time-out. They run on this machine, and touch the test's folder only."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from kit import FastClock, Guest, shim

from azurelite.clock import Deadline, SystemClock
from azurelite.errors import CommandError, FileError, MachineError
from azurelite.metadata import Secret
from azurelite.system.accounts.users import User
from azurelite.system.machine import System
from azurelite.system.scripts import Scripts

pytestmark = pytest.mark.spawns


def run(log: Optional[Path], script: str, *, limit: int = 100_000, **more: Any) -> Optional[int]:
    more.setdefault("timeout", 20)
    place = None if log is None else str(log)
    return Scripts(System("/"), log_limit=limit).run(["/bin/sh", "-c", script], name="it", log=place, **more)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143), ("nonsense-x", 127)]
)
def test_the_exit_status_is_as_a_shell_tells_it(tmp_path: Path, script: str, status: int) -> None:
    assert run(tmp_path / "log", script) == status


def test_output_and_complaints_go_into_one_log_for_root_alone(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log"
    run(log, "echo out; echo err >&2; echo more")
    assert log.read_text() == "out\nerr\nmore\n"
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    run(log, "echo again")
    assert log.read_text() == "again\n"


def test_a_folder_that_is_there_keeps_its_mode_and_a_planted_link_is_replaced(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "log").symlink_to(precious)
    run(tmp_path / "log", "echo mine")
    assert precious.read_text() == "kept"
    assert (tmp_path / "log").read_text() == "mine\n"
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_the_environment_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("AZURELITE_CANARY", "canary")
    run(tmp_path / "log", "pwd; env", env={"MINE": "1 2", "LANG": "C"}, cwd=str(tmp_path))
    folder, *lines = (tmp_path / "log").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    found.pop("PWD", None)
    assert folder == str(tmp_path)
    assert found.pop("PATH").endswith("/usr/sbin:/usr/bin:/sbin:/bin")
    expected = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh", "LANG": "C", "MINE": "1 2"}
    assert {name: value for name, value in found.items() if not name.startswith("_")} == expected


@pytest.mark.parametrize("given", [b"x" * 300_000, Secret("canary\n"), b""])
def test_input_is_given_whole_and_need_not_be_read(tmp_path: Path, given: Any) -> None:
    assert run(tmp_path / "log", "wc -c", stdin=given) == 0
    size = len(given.reveal_bytes() if isinstance(given, Secret) else given)
    assert int((tmp_path / "log").read_text()) == size
    assert run(tmp_path / "log", "true", stdin=given) == 0
    assert run(tmp_path / "log", "cat") == 0, "without input there is nothing to wait for"


def test_too_slow_is_killed_with_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(CommandError, match="it timed out and was killed"):
        run(tmp_path / "log", "sleep 60 & echo $!; wait", timeout=0.5)
    assert time.monotonic() - started < 10
    child = int((tmp_path / "log").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.02)


def test_while_azure_waits_nothing_takes_longer_than_azure(tmp_path: Path) -> None:
    system = System("/")
    system.commands.limit = Deadline(SystemClock(), 0.3)
    with pytest.raises(CommandError, match="timed out"):
        Scripts(system).run(["/bin/sleep", "60"], name="it", timeout=600, log=None)


def test_what_it_leaves_running_does_not_hold_us_up_and_lives_on(tmp_path: Path) -> None:
    go = tmp_path / "go"
    assert run(tmp_path / "log", f"(until [ -e {go} ]; do sleep 0.02; done; echo late) & echo early", timeout=30) == 0
    assert (tmp_path / "log").read_text() == "early\n"
    go.touch()
    deadline = time.monotonic() + 5
    while (tmp_path / "log").read_text() != "early\nlate\n":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_log_does_not_grow_without_end_and_keeps_its_end(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 6 ]; do head -c 60000 /dev/zero; sleep 0.2; i=$((i+1)); done; echo; echo the end"
    assert run(tmp_path / "log", script, limit=100_000) == 0
    data = (tmp_path / "log").read_bytes()
    assert len(data) < 300_000
    assert data.startswith(b"[azurelite: ")
    assert data.endswith(b"\nthe end\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root may become somebody else")
def test_somebody_else_may_run_it(tmp_path: Path) -> None:
    run(tmp_path / "log", "id -u; id -g; echo $HOME $USER", user=User("nobody", 65534, 65534, "/nowhere", "/bin/sh"))
    assert (tmp_path / "log").read_text() == "65534\n65534\n/nowhere nobody\n"


@pytest.mark.parametrize(
    ("argv", "more", "match"),
    [
        (["no-such-program-x"], {}, "not installed"),
        (["/etc/passwd"], {}, "not installed or not executable"),
        (["/bin/true"], {"cwd": "/nonexistent"}, "cannot be started: No such file"),
        (["/bin/true", "a\0b"], {}, "are invalid"),
    ],
)
def test_what_cannot_be_started_says_why(argv: list[str], more: dict[str, Any], match: str) -> None:
    with pytest.raises(CommandError, match=match):
        Scripts(System("/")).run(argv, name="it", timeout=5, log=None, **more)


def test_a_script_without_an_interpreter_is_no_program(tmp_path: Path) -> None:
    shim(tmp_path, "odd").unlink(missing_ok=True)
    (tmp_path / "odd").write_text("echo x\n")
    with pytest.raises(CommandError, match="it cannot be started: Exec format error"):
        Scripts(System("/")).run([str(tmp_path / "odd")], name="it", timeout=5, log=None)


def test_no_place_for_the_log_is_said_and_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        run(tmp_path / "file" / "log", f"touch {tmp_path}/ran")
    assert not (tmp_path / "ran").exists()


def test_nothing_runs_in_a_dry_run_and_the_record_is_the_same(tmp_path: Path) -> None:
    records = []
    for dry_run in (True, False):
        system = System("/", dry_run=dry_run, clock=FastClock())
        status = Scripts(system).run(["/bin/sh", "-c", f"echo >> {tmp_path}/ran"], name="it", timeout=5, log=None)
        assert status is (None if dry_run else 0) or status == 0
        records.append(system.journal.since(0))
    assert records[0] == records[1]
    assert (tmp_path / "ran").read_text() == "\n"


def test_nothing_runs_in_a_foreign_root(guest: Guest) -> None:
    system = System(guest.root)
    with pytest.raises(MachineError, match="not the running system"):
        Scripts(system).run(["/bin/true"], name="it", timeout=5, log=None)
    assert len(system.journal) == 0
