"""Scripts of the user data on a machine that goes down: each runs once, whenever azurelite is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Optional

import pytest
from kit import BASE, VM_ID, Guest

HERE = Path(__file__).parent
NAMES = ("part-001", "part-002", "part-003")
KILLS = 40
RECORD = f"var/lib/azurelite/vms/{VM_ID}/memory/user_data-scripts"

pytestmark = pytest.mark.spawns


class Machine:
    """A scratch machine whose user data holds scripts that write down that they ran."""

    def __init__(self, folder: Path, script: str = "echo $0 >>{ran}") -> None:
        folder.mkdir()
        self.guest = Guest(folder / "root").put(BASE)
        self.seconds = 0.0  # that the last run took
        self.ran = folder / "ran"
        self.document = folder / "document"
        line = f"#!/bin/sh\n{script.format(ran=self.ran)}\n"
        parts = "".join(f"--b\nContent-Type: text/x-shellscript\n\n{line}\n" for _ in NAMES)
        self.document.write_text(
            f'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n{parts}--b--\n', encoding="utf-8"
        )

    def run(self, rerun: str, *, kill_after: Optional[float] = None) -> str:
        """Its notes; with `kill_after`, azurelite is killed so many seconds after it has begun."""
        words = [sys.executable, str(HERE / "killed_driver.py"), self.guest.root, rerun, str(self.document)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=env, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            started = time.monotonic()
            if kill_after is not None:
                time.sleep(kill_after)
                process.kill()
            notes = process.stdout.read()
            self.seconds = time.monotonic() - started
            return notes

    def counts(self) -> Counter[str]:
        """How often each script ran."""
        text = self.ran.read_text(encoding="utf-8") if self.ran.exists() else ""
        return Counter(line.rpartition("/")[2] for line in text.splitlines())


@pytest.mark.thorough
@pytest.mark.parametrize("rerun", ["never", "interrupted"])
def test_a_kill_at_any_moment_loses_no_script_and_repeats_none(tmp_path: Path, rerun: str) -> None:
    whole = Machine(tmp_path / "whole")
    whole.run(rerun)
    lost, twice, early = 0, 0, 0
    for number in range(KILLS):
        machine = Machine(tmp_path / str(number))
        machine.run(rerun, kill_after=whole.seconds * number / KILLS)
        time.sleep(0.1)  # a script that was released runs to its end
        early += sum(machine.counts().values())
        machine.run(rerun)
        counts = machine.counts()
        lost += sum(counts[name] == 0 for name in NAMES)
        twice += sum(counts[name] > 1 for name in NAMES)
    assert 0 < early < KILLS * len(NAMES), "the kills hit the work"
    # Between the sync of the record and the start is one system call, and a kill may hit that.
    assert lost <= (1 if rerun == "never" else 0)
    assert twice <= (0 if rerun == "never" else KILLS // 4)


@pytest.mark.parametrize(("rerun", "times"), [("never", 1), ("interrupted", 2)])
def test_a_script_that_was_interrupted_counts_as_run_or_runs_again(tmp_path: Path, rerun: str, times: int) -> None:
    """As a script that reboots the machine: azurelite ends in the middle of it."""
    machine = Machine(tmp_path / "it", "echo $0 >>{ran}; [ -e {ran}.down ] || {{ touch {ran}.down; kill -9 $PPID; }}")
    assert machine.run("never") == ""
    assert machine.counts() == {"part-001": 1}
    notes = machine.run(rerun)
    assert machine.counts()["part-001"] == times
    named = "part-001 was interrupted in an earlier run and is not run again: set `rerun: interrupted`" in notes
    assert named is (rerun == "never")


def test_a_script_that_could_not_be_prepared_has_not_run(tmp_path: Path) -> None:
    """Its log cannot be created: nothing is recorded, and the next run starts it."""
    machine = Machine(tmp_path / "it")
    machine.guest.put({"var/log/azurelite": "in the way"})
    assert machine.run("never").count("var/log/azurelite") == len(NAMES)
    assert not machine.guest.path(RECORD).exists()
    machine.guest.path("var/log/azurelite").unlink()
    assert machine.run("never") == "\n"
    assert machine.counts() == dict.fromkeys(NAMES, 1)


def test_a_script_whose_start_cannot_be_recorded_does_not_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "it")
    machine.guest.put({f"{RECORD}/in/the": "way"})
    assert machine.run("never").count("its start cannot be recorded") == len(NAMES)
    assert not machine.counts()
