"""A program with a descriptor for answers: its lines come back, its output is logged, its death does not spread."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Optional

import pytest

from azurelite.clock import Deadline, SystemClock
from azurelite.errors import MachineError
from azurelite.system.child import Child

pytestmark = pytest.mark.spawns

ANSWER = "import os, sys\ndef answer(data): os.write(int(sys.argv[1]), data)\n"


def soon(seconds: float = 20.0) -> Deadline:
    return Deadline(SystemClock(), seconds)


def start(script: str, said: list[str], *, given: bytes = b"") -> Child:
    return Child([sys.executable, "-c", ANSWER + script], given, what="the plug-in x", say=said.append)


def answered(script: str, *, given: bytes = b"", seconds: float = 20.0) -> tuple[bytes, list[str]]:
    said: list[str] = []
    with start(script, said, given=given) as child:
        answer = child.answer(soon(seconds))
    return answer, said


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_what_is_given_comes_back_whole(size: int) -> None:
    script = "data = sys.stdin.buffer.read() + b'\\n'\nwhile data: data = data[os.write(int(sys.argv[1]), data):]"
    assert answered(script, given=b"x" * size)[0] == b"x" * size


def test_answers_come_one_by_one() -> None:
    with start("answer(b'one\\ntwo\\n')", []) as child:
        assert [child.answer(soon()), child.answer(soon())] == [b"one", b"two"]


def test_output_is_logged_line_by_line_and_is_no_answer() -> None:
    script = "print('out', flush=True); print('err', file=sys.stderr, flush=True); print('end', end='', flush=True)"
    answer, said = answered(script + "; answer(b'done\\n')")
    assert answer == b"done"
    assert said == ["out", "err", "end"]


def test_endless_output_is_cut_and_does_not_block_the_child() -> None:
    answer, said = answered("[print('x' * 1000) for _ in range(5000)]; sys.stdout.flush(); answer(b'done\\n')")
    assert answer == b"done"
    assert said[-1] == "the rest of its output is left out"
    assert len(said) < 200


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("raise RuntimeError('canary')", "ended without an answer (exit status 1)"),
        ("sys.exit(3)", "ended without an answer (exit status 3)"),
        ("os._exit(0)", "ended without an answer (exit status 0)"),
        ("os.kill(os.getpid(), 9)", "ended without an answer (signal 9)"),
        ("answer(b'half an answer')", "ended without an answer (exit status 0)"),
        ("os.closerange(3, 100); sys.exit(2)", "ended without an answer (exit status 2)"),
        ("while True: answer(b'x' * 65536)", "gave an answer that is too long and was killed"),
        ("import time; time.sleep(300)", "timed out and was killed"),
        ("import time; os.closerange(0, 100); time.sleep(300)", "timed out and was killed"),
    ],
)
def test_a_death_is_an_error_with_its_cause(script: str, error: str) -> None:
    with pytest.raises(MachineError) as caught:
        answered(script, given=b"x" * 1_000_000, seconds=2.0 if "sleep" in script else 20.0)
    assert caught.value.message == f"the plug-in x {error}"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("answer(b'one\\n')", None),
        ("answer(b'one\\n'); sys.exit(3)", "failed after its answer (exit status 3)"),
        ("answer(b'one\\ntwo\\n')", "gave more than one answer: its code wrote to a descriptor it did not open"),
        ("import time; answer(b'one\\n'); time.sleep(60)", "still ran 5 s after its answer: let its threads end"),
    ],
)
def test_a_bad_end_after_the_answer_is_an_error_with_its_cause(script: str, error: Optional[str]) -> None:
    with start(script, []) as child:
        assert child.answer(soon()) == b"one"
        if error is None:
            child.end()
            return
        with pytest.raises(MachineError) as caught:
            child.end()
    assert caught.value.message == f"the plug-in x {error}"


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MachineError, match="x cannot be started: No such file"):
        Child(["/nonexistent"], b"", what="x", say=print)


def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("own_session", [False, True])
def test_one_that_hangs_is_killed_with_what_it_started(tmp_path: Path, own_session: bool) -> None:
    note = tmp_path / "pid"
    script = f"import subprocess, time\nchild = subprocess.Popen(['sleep', '300'], start_new_session={own_session})\n"
    script += f"open({str(note)!r}, 'w').write(str(child.pid))\ntime.sleep(300)"
    with pytest.raises(MachineError, match="timed out and was killed"):
        answered(script, seconds=2.0)
    assert is_gone(int(note.read_text()))


def test_what_it_leaves_in_the_background_neither_delays_it_nor_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = "import time\npid = os.fork()\nif pid == 0:\n    os.setsid(); time.sleep(60); os._exit(0)\n"
    script += f"open({str(note)!r}, 'w').write(str(pid))\nanswer(b'done\\n')"
    started = time.monotonic()
    assert answered(script)[0] == b"done"
    assert time.monotonic() - started < 20
    daemon = int(note.read_text())
    assert Path(f"/proc/{daemon}").exists()
    os.kill(daemon, signal.SIGKILL)


def test_a_death_is_noticed_while_another_holds_the_descriptor() -> None:
    with pytest.raises(MachineError, match="without an answer"):
        answered("import time\nif os.fork() == 0: time.sleep(3)\nos._exit(0)")


def test_no_process_is_left_behind() -> None:
    answered("answer(b'done\\n')")
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_no_descriptor_is_left_open() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    answered("answer(b'done\\n')")
    with pytest.raises(MachineError):
        answered("pass")
    assert sorted(os.listdir("/proc/self/fd")) == before
