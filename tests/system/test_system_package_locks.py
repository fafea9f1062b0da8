"""Another program holds a lock of the package manager: it is waited for, named, and never forced."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator

import pytest
from kit import FastClock, Guest, shim

from azurelite.clock import Clock, SystemClock
from azurelite.errors import CommandError
from azurelite.system.machine import System
from azurelite.system.package_locks import LOCKS
from azurelite.system.packages import MANAGERS, Package, Packages

BY_NAME = {manager.name: manager for manager in MANAGERS}
HOLD = """
import fcntl, sys, time
path, how, seconds = sys.argv[1:]
held = open(path, "w")
if how == "lockf":
    fcntl.lockf(held, fcntl.LOCK_EX)
elif how == "flock":
    fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(seconds))
"""
KERNEL = [
    (manager, lock.path, how)
    for manager, locks in LOCKS.items()
    for lock in locks
    if lock.kind == "kernel"
    for how in ("lockf", "flock")
]


class Holder:
    def __init__(self, guest: Guest, path: str, how: str, seconds: float) -> None:
        place = guest.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-c", HOLD, str(place), how, str(seconds)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"
        pid = self.process.pid
        guest.put({f"proc/{pid}/comm": "unattended-upgr\n"})
        self.name = f"unattended-upgr (process {pid})"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for holder in made:
        holder.end()


def packages(guest: Guest, tmp_path: Path, manager: str, *, clock: Clock) -> Packages:
    return Packages(System(guest.root, search_path=str(tmp_path / "bin"), clock=clock), BY_NAME[manager])


@pytest.mark.spawns
@pytest.mark.parametrize(("manager", "path", "how"), KERNEL)
def test_a_held_lock_is_named_at_the_deadline_and_nothing_is_run(
    guest: Guest, tmp_path: Path, holders: list[Holder], manager: str, path: str, how: str
) -> None:
    holders.append(Holder(guest, path, how, 60))
    log = shim(tmp_path / "bin", manager)
    who = holders[0].name if how == "lockf" else "another program"  # the kernel tells no holder of an flock
    with pytest.raises(CommandError) as caught:
        packages(guest, tmp_path, manager, clock=FastClock()).update(timeout=20)
    assert str(caught.value) == f"{manager} was not run: {who} holds {path}: let that end, or stop it"
    assert not log.exists()


@pytest.mark.spawns
def test_the_manager_runs_once_the_lock_is_free(
    guest: Guest, tmp_path: Path, holders: list[Holder], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "azurelite")
    path = "/var/lib/apt/lists/lock"
    holders.append(Holder(guest, path, "lockf", 1.5))
    log = shim(tmp_path / "bin", "apt-get", script=f"date +%s.%N > {tmp_path}/ran")
    started = time.time()
    packages(guest, tmp_path, "apt-get", clock=SystemClock()).install([Package("web")], timeout=30)
    assert float((tmp_path / "ran").read_text()) - started > 1
    assert log.read_text().endswith("install\nweb\n--\n")
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"packages: apt-get waits: {holders[0].name} holds {path}"]


@pytest.mark.spawns
def test_another_program_that_was_faster_is_waited_for(guest: Guest, tmp_path: Path) -> None:
    """The manager fails as apt does, because the lock was taken after the look at it."""
    taken = tmp_path / "taken"

    script = f"[ -e {taken} ] || {{ touch {taken}; exec {tmp_path}/hold; }}"
    place = guest.path("var/cache/apt/archives/lock")
    place.parent.mkdir(parents=True)
    (tmp_path / "hold").write_text(
        f"#!/bin/sh\n{sys.executable} -c '{HOLD}' {place} lockf 60 >{tmp_path}/said 2>/dev/null </dev/null &\n"
        f"echo $! >{tmp_path}/pid\nwhile ! grep -q held {tmp_path}/said; do sleep 0.05; done\nexit 100\n"
    )
    (tmp_path / "hold").chmod(0o755)
    log = shim(tmp_path / "bin", "apt-get", script=script)

    class Ends(FastClock):
        def sleep(self, seconds: float) -> None:
            os.kill(int((tmp_path / "pid").read_text()), 9)
            time.sleep(0.2)
            super().sleep(seconds)

    packages(guest, tmp_path, "apt-get", clock=Ends()).update(timeout=60)
    assert log.read_text().count("update\n") == 2


@pytest.mark.parametrize(
    ("manager", "files", "held"),
    [
        ("zypper", {"run/zypp.pid": "77\n", "proc/77/comm": "zypper\n"}, "zypper (process 77) holds /run/zypp.pid"),
        ("zypper", {"run/zypp.pid": "77\n"}, ""),
        ("zypper", {"run/zypp.pid": "", "proc/77/comm": "zypper\n"}, ""),
        ("zypper", {"run/zypp.pid": "not a number\n"}, ""),
        ("yum", {"run/yum.pid": "77", "proc/77/comm": "yum\n"}, ""),
        ("yum", {"var/run/yum.pid": "77", "proc/77/comm": "yum\n"}, "yum (process 77) holds /var/run/yum.pid"),
        (
            "pacman",
            {"var/lib/pacman/db.lck": "", "proc/9/comm": "sh\n", "proc/12/comm": "packagekitd\n"},
            "packagekitd (process 12) holds /var/lib/pacman/db.lck",
        ),
        ("pacman", {"proc/12/comm": "packagekitd\n"}, ""),
    ],
)
@pytest.mark.spawns
def test_locks_that_are_files(guest: Guest, tmp_path: Path, manager: str, files: dict[str, str], held: str) -> None:
    guest.put(files)
    log = shim(tmp_path / "bin", manager)
    managed = packages(guest, tmp_path, manager, clock=FastClock())
    if held:
        with pytest.raises(CommandError, match=held.replace("(", "[(]").replace(")", "[)]")):
            managed.update(timeout=20)
    else:
        managed.update(timeout=20)
    assert log.exists() is not bool(held)


@pytest.mark.spawns
def test_a_failure_without_a_held_lock_is_not_repeated(guest: Guest, tmp_path: Path) -> None:
    log = shim(tmp_path / "bin", "apt-get", exit_code=100)
    with pytest.raises(CommandError, match="status 100"):
        packages(guest, tmp_path, "apt-get", clock=FastClock()).update(timeout=20)
    assert log.read_text().count("update\n") == 1
