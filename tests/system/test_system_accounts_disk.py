"""Accounts on disks that are full or read-only: one failure, and the tables and homes as they were. Real mounts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit import BASE, Guest

import azurelite

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts disks and gives homes away"),
]

PACKAGE = str(Path(azurelite.__file__).parent.parent)
UNSHARE = ["unshare", "--mount", "--propagation", "private"]

# Runs in the namespace: copies the guest to a small disk, fills it, tries, frees it and tries again.
SCRIPT = """
import json, os, subprocess, sys
sys.path[:0] = sys.argv[2:]
from kit import FastClock, Guest
from pathlib import Path
from azurelite.errors import MachineError
from azurelite.metadata import Secret
from azurelite.system.machine import System
from azurelite.system.accounts.users import NewUser
job = json.loads(sys.argv[1])
root = job["root"]
source = root + ".source"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "none", root], check=True)
subprocess.run(["cp", "-a", source + "/.", root], check=True)
guest = Guest(Path(root))
if job["kind"] == "ro":
    subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
else:
    filler = open(root + "/filler", "wb", buffering=0)
    try:
        while True:
            filler.write(b"x" * 4096)
    except OSError:
        pass
    filler.truncate(max(0, os.fstat(filler.fileno()).st_size // 4096 * 4096 - 4096 * job["free"]))
def act():
    accounts = System(root, clock=FastClock()).accounts
    if job["act"] == "user":
        accounts.create_user(NewUser("azure", "/home/azure", "/bin/sh", groups=("wheel",)))
    elif job["act"] == "group":
        accounts.ensure_group("docker")
    else:
        accounts.passwords.set_text("root", Secret("canary"))
without = ("/etc/.pwd.lock", "/filler", "/var/lib/azurelite")
before = guest.snapshot(without=without)
error = None
try:
    act()
except MachineError as caught:
    error = caught.message
same = guest.snapshot(without=without) == before
again = None
if job["kind"] == "full" and error is not None:
    filler.truncate(0)
    try:
        act()
    except MachineError as caught:
        again = caught.message
print(json.dumps({"error": error, "same": same, "again": again, "passwd": guest.text("etc/passwd")}))
"""


def on_disk(folder: Path, act: str, kind: str, free: int = 0) -> dict[str, Any]:
    if shutil.which("unshare") is None or subprocess.run([*UNSHARE, "true"], check=False).returncode != 0:
        pytest.skip("this kernel or container does not allow new namespaces")
    guest = Guest(folder / "root.source").put(BASE)
    padding = "".join(f"{'x' * 30}{n}:x:{n + 2000}:9::/:/bin/sh\n" for n in range(400))
    guest.put({"etc/passwd": BASE["etc/passwd"] + padding, "etc/skel/big": "x" * 20000})
    (folder / "root").mkdir()
    job = {"root": str(folder / "root"), "act": act, "kind": kind, "free": free}
    command = [*UNSHARE, sys.executable, "-c", SCRIPT, json.dumps(job), PACKAGE, str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("act", ["user", "group", "password"])
def test_a_read_only_disk_is_one_failure(tmp_path: Path, act: str) -> None:
    found = on_disk(tmp_path, act, "ro")
    assert "Read-only file system" in found["error"]
    assert found["same"]


@pytest.mark.parametrize("free", [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 24])
def test_wherever_the_space_ends_an_account_is_whole_or_not_there(tmp_path: Path, free: int) -> None:
    found = on_disk(tmp_path, "user", "full", free)
    if found["error"] is None:
        assert "azure:x:1000:1000::/home/azure:/bin/sh" in found["passwd"]
    else:
        assert "No space left on device" in found["error"]
        assert found["same"], found["error"]
        assert found["again"] is None
        assert "azure:x:1000:1000::/home/azure:/bin/sh" in found["passwd"]


@pytest.mark.parametrize("act", ["group", "password"])
def test_a_full_disk_is_one_failure_and_later_it_works(tmp_path: Path, act: str) -> None:
    found = on_disk(tmp_path, act, "full")
    assert "No space left on device" in found["error"]
    assert found["same"]
    assert found["again"] is None
