"""Files on disks that are full or read-only, and files that other programs hold locked: real mounts, real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit import FastClock, Guest

import azurelite
from azurelite.clock import Deadline, SystemClock
from azurelite.errors import FileError
from azurelite.hypervisor.kvp import rewrite_shared
from azurelite.system.machine import System

FULL = "cannot write /disk/f: No space left on device: free space there, or give the VM a larger disk"

pytestmark = pytest.mark.spawns

PACKAGE = str(Path(azurelite.__file__).parent.parent)
# As root plain mount namespaces do; an ordinary user needs one of users around it.
UNSHARE = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
]

# Runs in the namespace: mounts, tries one verb, and prints what became of it and what lies on the mount.
SCRIPT = """
import json, os, subprocess, sys
from azurelite.clock import Deadline, SystemClock
from azurelite.errors import FileError
from azurelite.system.machine import System
from azurelite.hypervisor.kvp import rewrite_shared
root, options, verb, size = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
mount = root + "/disk"
def mounted(*arguments):
    subprocess.run(["mount", *arguments], check=True)
mounted("-t", "tmpfs", "-o", "size=16k,mode=755", "none", mount)
with open(mount + "/f", "w") as file:
    file.write("old\\n")
if options == "ro":
    mounted("-o", "remount,bind,ro", mount)
files = System(root).files
acts = {
    "write": lambda: files.write("/disk/f", b"x" * size, mode=0o600),
    "mkdir": lambda: files.mkdir("/disk/d", mode=0o700),
    "append": lambda: files.append_line("/disk/f", "x" * size),
    "rewrite": lambda: rewrite_shared(files, "/disk/f", lambda old: old + b"x" * size, wait=Deadline(SystemClock(), 5)),
    "own": lambda: files.make_own_folder("/disk/a/b", mode=0o700),
}
error = None
try:
    acts[verb]()
except FileError as caught:
    error = caught.message
names = sorted(os.listdir(mount))
with open(mount + "/f") as file:
    print(json.dumps({"error": error, "names": names, "start": file.read(4)}))
"""


def on_a_small_disk(guest: Guest, options: str, verb: str, size: int = 1) -> dict[str, Any]:
    """What came of a verb on a tmpfs of 16 KiB."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("mount namespaces are not allowed here")
    guest.path("disk").mkdir()
    argv = [*UNSHARE, sys.executable, "-S", "-c", SCRIPT, guest.root, options, verb, str(size)]
    done = subprocess.run(
        argv, check=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": PACKAGE}, timeout=30, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.namespaces
class TestFullDisk:
    def test_a_write_keeps_the_old_file_and_leaves_no_temporary(self, guest: Guest) -> None:
        found = on_a_small_disk(guest, "rw", "write", 20_000)
        assert found["error"] == FULL
        assert (found["names"], found["start"]) == (["f"], "old\n")

    def test_an_appended_line_says_why_it_is_missing(self, guest: Guest) -> None:
        found = on_a_small_disk(guest, "rw", "append", 20_000)
        assert found["error"] == FULL
        assert found["start"] == "old\n"

    def test_a_file_rewritten_in_place_says_that_it_is_not_whole(self, guest: Guest) -> None:
        assert on_a_small_disk(guest, "rw", "rewrite", 20_000)["error"] == FULL

    def test_what_fits_is_written(self, guest: Guest) -> None:
        assert on_a_small_disk(guest, "rw", "write", 5000) == {"error": None, "names": ["f"], "start": "xxxx"}


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("verb", "says"),
    [
        ("write", "cannot write /disk/f"),
        ("append", "cannot write /disk/f"),
        ("rewrite", "cannot write /disk/f"),
        ("mkdir", "cannot create folder /disk/d"),
        ("own", "cannot create folder /disk/a"),
    ],
)
def test_a_read_only_disk_is_named_as_the_reason(guest: Guest, verb: str, says: str) -> None:
    found = on_a_small_disk(guest, "ro", verb)
    assert found == {
        "error": f"{says}: Read-only file system: mount it writable before azurelite starts",
        "names": ["f"],
        "start": "old\n",
    }


# Tries both kinds of lock without waiting and prints which it got.
TRY_LOCKS = """
import fcntl, sys
def got(lock):
    with open(sys.argv[1], "r+b") as file:
        try:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
print(got(fcntl.flock), got(fcntl.lockf))
"""
# Holds one kind of lock for a moment, and changes the file before it lets go.
HOLD_LOCK = """
import fcntl, sys, time
with open(sys.argv[1], "r+b", buffering=0) as file:
    getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(0.3)
    file.write(b"theirs")
"""
# Holds one kind of lock until its input ends.
KEEP_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def soon() -> Deadline:
    return Deadline(SystemClock(), 10)


class TestRewriteShared:
    def test_the_file_is_held_by_both_kinds_of_lock_meanwhile(self, guest: Guest) -> None:
        guest.put({"pool": "before"})
        seen = []

        def transform(before: bytes) -> bytes:
            argv = [sys.executable, "-S", "-c", TRY_LOCKS, str(guest.path("pool"))]
            seen.append((before, subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()))
            return b"after"

        rewrite_shared(System(guest.root).files, "/pool", transform, wait=soon())
        assert seen == [(b"before", ["False", "False"])]
        assert guest.text("pool") == "after"

    @pytest.mark.parametrize("kind", ["flock", "lockf"])
    def test_it_waits_for_another_program_and_keeps_what_that_wrote(self, guest: Guest, kind: str) -> None:
        guest.put({"pool": "before"})
        argv = [sys.executable, "-S", "-c", HOLD_LOCK, str(guest.path("pool")), kind]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            rewrite_shared(System(guest.root).files, "/pool", lambda before: before + b" and ours", wait=soon())
        assert guest.text("pool") == "theirs and ours"

    @pytest.mark.parametrize("kind", ["flock", "lockf"])
    def test_its_patience_ends_and_the_file_is_as_it_was(self, guest: Guest, clock: FastClock, kind: str) -> None:
        guest.put({"pool": "before"})
        argv = [sys.executable, "-S", "-c", KEEP_LOCK, str(guest.path("pool")), kind]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(FileError, match="cannot write /pool: another program holds the lock"):
                rewrite_shared(System(guest.root).files, "/pool", lambda _: b"after", wait=Deadline(clock, 5))
        assert 4 < sum(clock.slept) < 6
        assert guest.text("pool") == "before"

    @pytest.mark.parametrize(("before", "after"), [("long before", b"short"), ("short", b"long after it"), ("x", b"")])
    def test_the_file_is_changed_in_place(self, guest: Guest, before: str, after: bytes) -> None:
        guest.put({"pool": before}).path("pool").chmod(0o640)
        number = guest.path("pool").stat().st_ino
        rewrite_shared(System(guest.root).files, "/pool", lambda _: after, wait=soon())
        assert guest.path("pool").read_bytes() == after
        assert (guest.path("pool").stat().st_ino, guest.mode("pool")) == (number, 0o640)

    def test_a_new_file_is_roots_alone(self, guest: Guest) -> None:
        rewrite_shared(System(guest.root).files, "/pool", lambda before: before + b"new", wait=soon())
        assert (guest.text("pool"), guest.mode("pool")) == ("new", 0o600)

    @pytest.mark.parametrize("path", ["/none/pool", "/etc", "/etc/passwd/pool"])
    def test_what_cannot_be_written_says_so(self, guest: Guest, path: str) -> None:
        with pytest.raises(FileError, match=f"cannot write {path}: "):
            rewrite_shared(System(guest.root).files, path, lambda before: before, wait=soon())
