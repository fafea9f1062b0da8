"""Work in a child process: its answer comes back, its death does not spread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from azurelite.clock import Clock, Deadline
from azurelite.errors import MachineError
from azurelite.system.child import in_child

pytestmark = pytest.mark.spawns


def soon(seconds: float = 20.0) -> Deadline:
    return Deadline(Clock(), seconds)


def raising() -> bytes:
    raise RuntimeError("canary")


def leaving() -> bytes:
    sys.exit(3)


def crashing() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def hanging() -> bytes:
    time.sleep(300)
    return b"late"


@pytest.mark.parametrize("answer", [b"", b"x", b"+", b"\0\n" * 300_000], ids=len)
def test_the_answer_comes_back(answer: bytes) -> None:
    assert in_child(lambda: answer, what="x", deadline=soon()) == answer


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (raising, "the plug-in x ended without an answer (it left on its own)"),
        (leaving, "the plug-in x ended without an answer (it left on its own)"),
        (crashing, "the plug-in x ended without an answer (signal 9)"),
        (lambda: b"x" * (5 << 20), "the plug-in x ended without an answer"),
    ],
)
def test_a_death_is_an_error_with_its_cause(work: object, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MachineError) as caught:
        in_child(work, what="the plug-in x", deadline=soon())  # type: ignore[arg-type]
    assert caught.value.message.startswith(said.partition(" (")[0])
    assert "canary" not in caught.value.message


def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_one_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def work() -> bytes:
        note.write_text(str(subprocess.Popen(["sleep", "300"]).pid))
        return hanging()

    with pytest.raises(MachineError, match="did not end in time and was killed"):
        in_child(work, what="x", deadline=soon(1.0))
    assert is_gone(int(note.read_text()))


def test_nothing_but_the_answer_reaches_the_parent(tmp_path: Path) -> None:
    seen = []

    def work() -> bytes:
        seen.append("child")
        os.environ["CANARY"] = "child"
        return b"done"

    assert in_child(work, what="x", deadline=soon()) == b"done"
    assert seen == []
    assert "CANARY" not in os.environ


def test_what_has_a_session_of_its_own_is_ended_too(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def work() -> bytes:
        note.write_text(str(subprocess.Popen(["sleep", "300"], start_new_session=True).pid))
        return hanging()

    with pytest.raises(MachineError, match="did not end in time"):
        in_child(work, what="x", deadline=soon(1.0))
    assert is_gone(int(note.read_text()))


def test_what_a_child_leaves_behind_on_purpose_neither_holds_it_up_nor_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def work() -> bytes:
        pid = os.fork()  # with no exec: it holds the pipe
        if pid == 0:
            os.setsid()
            time.sleep(60)
            os._exit(0)
        note.write_text(str(pid))
        return b"done"

    started = time.monotonic()
    assert in_child(work, what="x", deadline=soon(30)) == b"done"
    assert time.monotonic() - started < 20
    daemon = int(note.read_text())
    assert Path(f"/proc/{daemon}").exists()
    os.kill(daemon, signal.SIGKILL)


def test_a_child_that_dies_while_another_holds_its_pipe_is_noticed() -> None:
    def work() -> bytes:
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        os._exit(0)

    with pytest.raises(MachineError, match="without an answer"):
        in_child(work, what="x", deadline=soon(30))


def test_no_process_is_left_behind() -> None:
    in_child(lambda: b"", what="x", deadline=soon())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
