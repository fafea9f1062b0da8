"""Runs inside the stage: serves the fabric on Azure's real addresses and runs commands in a guest that is live.

The guest is this machine's own file system under an overlay, so its `/` is real and its tools are, and every
change it sees goes to a tmpfs. Reads a job as JSON on standard input, writes what happened as JSON.

Job: {"scenario": {...}, "runs": [{"argv": [...], "files": {path: text}, "vm_id": "...", "env": {...}}]}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from azurelite.simulator import Scenario, Simulator

STAGE = Path("/run/stage")
GUEST = STAGE / "guest"
CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"
ADDRESSES = [("168.63.129.16", 80), ("169.254.169.254", 80), ("10.0.0.1", 80)]


def main() -> None:
    """Build the guest, do the runs, tell."""
    job = json.load(sys.stdin)
    build_guest()
    results = []
    with Simulator(Scenario.from_dict(job["scenario"]), listen=ADDRESSES) as fabric:
        for run in job["runs"]:
            results.append(run_in_guest(run, fabric))
    json.dump(results, sys.stdout)


def build_guest(root: str = "/") -> None:
    """Make the file system of the stage, and the guest on it, as `mount_guest` does."""
    STAGE.mkdir()
    _mount("-t", "tmpfs", "stage", STAGE)
    for name in ("upper", "work", "guest"):
        (STAGE / name).mkdir()
    mount_guest(root)


def mount_guest(root: str = "/") -> None:
    """Mount a root, by default this machine's, under an overlay, with the firmware of an Azure VM."""
    layers = f"lowerdir={root},upperdir={STAGE}/upper,workdir={STAGE}/work"
    _mount("-t", "overlay", "guest", "-o", layers, GUEST)
    for needed in {sys.prefix, sys.base_prefix, os.getcwd()} if root == "/" else ():
        if os.stat(needed).st_dev != os.stat("/").st_dev:  # an overlay does not reach into other mounts
            _mount("--rbind", needed, GUEST / needed.lstrip("/"))
    for name in ("run", "sys", "dev", "proc"):
        (GUEST / name).mkdir(exist_ok=True)
    for name in ("run", "sys"):
        _mount("-t", "tmpfs", name, GUEST / name)
    _mount("--rbind", "/dev", GUEST / "dev")
    _mount("-t", "proc", "proc", GUEST / "proc")
    (GUEST / "sys/firmware/efi").mkdir(parents=True)
    (GUEST / "sys/class/dmi/id").mkdir(parents=True)
    (GUEST / "sys/class/dmi/id/chassis_asset_tag").write_text(CHASSIS_TAG + "\n")


def run_in_guest(run: dict[str, Any], fabric: Simulator) -> dict[str, Any]:
    """Run one command of a job; what came of it."""
    (GUEST / "sys/class/dmi/id/product_uuid").write_text(run.get("vm_id", fabric.scenario.vm.vm_id) + "\n")
    for name, text in run.get("files", {}).items():
        path = GUEST / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    asked, told = len(fabric.requests), len(fabric.reports)
    command = ["ip", "netns", "exec", "vm", "chroot", str(GUEST), *run["argv"]]
    done = subprocess.run(
        command,
        env=run.get("env"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return {
        "code": done.returncode,
        "out": done.stdout,
        "err": done.stderr,
        "requests": [[r.method, r.target, r.status] for r in fabric.requests[asked:]],
        "hosts": [r.headers.get("Host", "") for r in fabric.requests[asked:]],
        "reports": [dict(vars(report)) for report in fabric.reports[told:]],
        "hostname": os.uname().nodename,
    }


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
