"""A program between fork and exec: it runs only if it is released, and its caller knows of every failure."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from azurelite.clock import Deadline, SystemClock
from azurelite.system.held import Held, Identity

pytestmark = pytest.mark.spawns


@pytest.fixture
def null() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def held(null: int, *argv: str, **more: Any) -> Held:
    given = {"env": {}, "stdin": null, "output": null, "cwd": "/", **more}
    return Held(given.pop("program", argv[0]), argv, **given)


def soon() -> Deadline:
    return Deadline(SystemClock(), 20)


def is_there(path: Path, *, within: float = 5.0) -> bool:
    until = time.monotonic() + within
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return path.exists()


def test_it_runs_when_it_is_released_and_not_before(null: int, tmp_path: Path) -> None:
    with held(null, "/bin/sh", "-c", "touch ran; exit 3", cwd=str(tmp_path)) as process:
        assert process.wait(Deadline(SystemClock(), 0.2)) is None
        assert not (tmp_path / "ran").exists()
        process.release()
        assert process.wait(soon()) == 3
    assert (tmp_path / "ran").exists()


def test_what_is_not_released_never_runs(null: int, tmp_path: Path) -> None:
    with (
        pytest.raises(LookupError),
        held(null, "/bin/touch", str(tmp_path / "ran"), orphaned=lambda: True) as process,
    ):
        raise LookupError
    assert process.wait(soon()) == -9
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"cwd": "/nonexistent"}, errno.ENOENT),
        ({"cwd": "/etc/passwd"}, errno.ENOTDIR),
        ({"stdin": 9999}, errno.EBADF),
        pytest.param(
            {"identity": Identity(1, 2**40)},
            None,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root may become somebody else"),
        ),
    ],
)
def test_what_cannot_be_prepared_is_known_before_the_release(null: int, more: dict[str, Any], code: Any) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        held(null, "/bin/true", **more)
    assert caught.value.errno == (code or 0)


@pytest.mark.parametrize(("program", "code"), [("/etc/passwd", errno.EACCES), ("/nowhere", errno.ENOENT)])
def test_what_is_no_program_fails_at_its_release(null: int, program: str, code: int) -> None:
    process = held(null, "it", program=program)
    with pytest.raises(OSError, match=r".") as caught, process:
        process.release()
    assert caught.value.errno == code


@pytest.mark.parametrize("argv", [("/bin/true", "a\0b"), ("/bin/\0true",)])
def test_a_nul_is_refused(null: int, argv: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="null byte"):
        held(null, *argv)


def test_nothing_stays_open(null: int) -> None:
    before = os.listdir("/proc/self/fd")
    with held(null, "/bin/true") as process:
        process.release()
        assert process.wait(soon()) == 0
    with pytest.raises(OSError, match="No such file"):
        held(null, "/bin/true", cwd="/nonexistent")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("answer", [True, False])
def test_when_its_caller_is_killed_the_record_decides(tmp_path: Path, answer: bool) -> None:
    code = f"""
import os, signal
from azurelite.system.held import Held
null = os.open(os.devnull, os.O_RDWR)
def orphaned():
    open({str(tmp_path / "asked")!r}, "w").close()
    return {answer}
process = Held("/bin/touch", ["touch", {str(tmp_path / "ran")!r}], env={{}}, stdin=null, output=null, cwd="/",
               orphaned=orphaned)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert is_there(tmp_path / "asked")
    assert is_there(tmp_path / "ran", within=5 if answer else 0.3) is answer
