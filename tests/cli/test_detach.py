"""`provision --detach` as a process: it ends once Azure has accepted Ready, and what is left goes on without it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, Optional

import pytest
from kit import VM_ID, Guest

from azurelite.cli import main
from azurelite.simulator import Simulator

pytestmark = pytest.mark.spawns

# A plug-in that works until a file says that it may end, and leaves word of its process and its session.
SLOW = """
import os, time
FREQUENCY = "{frequency}"
def apply(ctx, options):
    parent = os.getppid()
    with open("{folder}/begun.new", "w") as file:
        file.write(f"{{parent}} {{os.getsid(parent)}} {{os.getpgid(parent)}}")
    os.rename("{folder}/begun.new", "{folder}/begun")
    while not os.path.exists("{folder}/gate"):
        time.sleep(0.02)
    ctx.note("it is through")
    if os.path.exists("{folder}/fail"):
        raise ValueError("told to")
"""
MARKER = f"var/lib/azurelite/vms/{VM_ID}/provisioned"
STATUS = "run/azurelite/status.json"
SECONDS = 20.0


class Run:
    """`azurelite provision --detach` on a guest, its words in files: a pipe would be held open by what goes on."""

    def __init__(self, guest: Guest, folder: Path, fabric: Simulator) -> None:
        self.guest, self.folder, self.fabric = guest, folder, fabric
        guest.on_azure()

    def configure(self, *handlers: str, frequency: str = "instance") -> None:
        (self.folder / "slow.py").write_text(SLOW.format(folder=self.folder, frequency=frequency))
        self.guest.configure(self.fabric, handlers=list(handlers))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", "azurelite", "provision", "--root", self.guest.root, *words],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": f"{self.folder}:{os.environ.get('PYTHONPATH', '')}"},
            )

    def ended(self, *words: str) -> tuple[int, int]:
        """Exit status and process id of a run that has ended."""
        process = self.start("--detach", *words)
        return process.wait(timeout=SECONDS), process.pid

    def begun(self) -> tuple[int, int, int]:
        """Process, session and group of what went on."""
        wait_for((self.folder / "begun").exists)
        pid, session, group = map(int, (self.folder / "begun").read_text().split())
        return pid, session, group

    def let_it_end(self) -> None:
        pid = self.begun()[0]
        (self.folder / "gate").touch()
        wait_for(lambda: not is_running(pid))

    def has(self, name: str) -> bool:
        return self.guest.path(name).exists()

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()


def wait_for(seen: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not seen():
        assert time.monotonic() < limit
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """By its state: where nobody reaps orphans, one that has ended stays in the table."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found


@pytest.fixture
def run(guest: Guest, tmp_path: Path, fabric: Simulator) -> Iterator[Run]:
    folder = tmp_path / "beside"
    folder.mkdir()
    made = Run(guest, folder, fabric)
    yield made
    (folder / "gate").touch()  # nothing of a test that failed goes on


def test_it_ends_when_azure_has_accepted_ready_and_another_process_does_the_rest(run: Run) -> None:
    run.configure("user", "report_ready", "slow:apply")
    code, pid = run.ended()
    assert code == 0
    assert [(report.state, report.accepted) for report in run.fabric.reports] == [("Ready", True)]
    other, session, group = run.begun()
    assert other != pid
    assert session == group == other  # no hang-up of the old one's terminal reaches it
    assert not run.has(MARKER)
    told = json.loads(run.guest.text(STATUS))
    assert (told["state"], told["step"], told["pid"]) == ("background", "slow:apply", other)
    assert "azurelite: info: background: continuing in the background: slow:apply" in run.err
    run.let_it_end()
    assert run.has(MARKER)
    done = json.loads(run.guest.text(STATUS))
    assert (done["outcome"], done["report"]["state"]) == ("provisioned", "Ready")
    assert [step["status"] for step in done["steps"]] == ["done"] * 3
    assert run.err.splitlines()[-1].startswith("azurelite: info: provision: provisioned: Azure accepted Ready (")
    assert run.out == ""
    assert len(run.fabric.reports) == 1


def test_another_run_waits_for_what_goes_on(run: Run) -> None:
    run.configure("report_ready", "slow:apply")
    assert run.ended()[0] == 0
    run.begun()
    second = run.start()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1)
    run.let_it_end()
    assert second.wait(timeout=SECONDS) == 0
    assert "was provisioned earlier" in run.out
    assert len(run.fabric.reports) == 1


def test_what_fails_behind_ready_is_told_by_the_one_that_ends_last(run: Run) -> None:
    run.configure("report_ready", "slow:apply")
    (run.folder / "fail").touch()
    assert run.ended()[0] == 0
    run.let_it_end()
    steps = json.loads(run.guest.text(STATUS))["steps"]
    assert [step["status"] for step in steps] == ["done", "failed"]
    assert "azurelite: info: slow:apply: " in run.err
    assert run.has(MARKER)


def test_what_was_left_undone_when_the_power_went_is_done_in_the_background_too(run: Run) -> None:
    run.configure("report_ready", "slow:apply")
    assert run.ended()[0] == 0
    pid = run.begun()[0]
    for victim in (pid, *children(pid)):  # the first would otherwise see the second die, and end by itself
        os.kill(victim, 9)
    (run.folder / "begun").unlink()
    assert run.ended()[0] == 0
    run.let_it_end()
    assert run.has(MARKER)
    assert len(run.fabric.reports) == 1


def test_what_runs_at_every_boot_goes_on_in_the_background_too(run: Run) -> None:
    run.configure("report_ready", "slow:apply", frequency="boot")
    for _ in range(2):
        (run.folder / "gate").unlink(missing_ok=True)
        (run.folder / "begun").unlink(missing_ok=True)
        code, pid = run.ended()
        assert code == 0
        assert run.begun()[0] != pid
        run.let_it_end()
    assert len(run.fabric.reports) == 1


@pytest.mark.parametrize("handlers", [("report_ready",), ("report_ready", "user_data"), ("slow:apply", "report_ready")])
def test_with_nothing_to_do_behind_ready_there_is_one_process(run: Run, handlers: tuple[str, ...]) -> None:
    run.configure(*handlers)
    (run.folder / "gate").touch()
    code, pid = run.ended()
    assert code == 0
    assert run.has(MARKER)
    assert "in the background" not in run.err
    assert run.out.startswith("provisioned: ")
    if (run.folder / "begun").exists():
        assert run.begun()[0] == pid


def test_a_run_that_fails_ahead_of_ready_ends_with_its_own_status(run: Run) -> None:
    run.configure("report_ready", "slow:apply")
    run.guest.put({"etc/azurelite/azurelite.yaml": run.guest.text("etc/azurelite/azurelite.yaml") + "nonsense: 1\n"})
    assert run.ended()[0] == 2
    run.configure("hostname", "user", "report_ready", "slow:apply")
    run.guest.path("etc/passwd").unlink()
    run.guest.path("etc/passwd").mkdir()
    (run.folder / "gate").touch()
    code, pid = run.ended()
    assert (code, [report.state for report in run.fabric.reports]) == (1, ["NotReady"])
    assert json.loads(run.guest.text(STATUS))["outcome"] == "failed"
    assert not (run.folder / "begun").exists() or run.begun()[0] == pid


@pytest.mark.parametrize("word", ["--json", "--dry-run"])
def test_it_does_not_go_with_what_somebody_reads(run: Run, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    run.configure("report_ready", "slow:apply")
    assert main(["provision", "--detach", word, "--root", run.guest.root]) == 2
    assert f"--detach excludes {word}" in capsys.readouterr().err
    assert run.fabric.requests == []


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--detach"], 0), (["--detach=yes"], 2), (["--detach="], 2), (["--root", "--detach"], 2)],
)
def test_how_it_is_spelled(run: Run, words: list[str], code: int) -> None:
    run.configure("report_ready")
    try:
        found: Optional[int] = main(["provision", "--root", run.guest.root, *words])
    except SystemExit as error:  # the parser's
        found = int(error.code or 0)
    assert found == code


def test_only_provision_knows_it(guest: Guest) -> None:
    with pytest.raises(SystemExit):
        main(["report", "ready", "--root", guest.root, "--detach"])
