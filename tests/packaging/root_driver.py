"""Runs inside the stage of tests/live/stage.sh: a folder becomes the root of a VM on Azure for some commands.

The folder itself stays as it is: an overlay takes the changes. Reads a job as JSON on standard input, writes what
happened as JSON.

Job: {"root": "/folder", "vm": {...}, "put": {guest path: [host path, mode]}, "outside": [argv...], "runs": [argv...]}.
Commands in `outside` run on this machine, ahead of the others, with {root} in their words replaced by the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from azurelite.simulator import Scenario, Simulator

STAGE = Path("/run/stage")
GUEST = STAGE / "guest"
CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"
ADDRESSES = [("168.63.129.16", 80), ("169.254.169.254", 80)]
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def main() -> None:
    """Build the guest, do the runs, tell."""
    job = json.load(sys.stdin)
    scenario = Scenario.from_dict({"vm": job["vm"]})
    _build_guest(job["root"], scenario.vm.vm_id)
    for name, (source, mode) in job["put"].items():
        path = GUEST / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
        path.chmod(mode)
    for argv in job["outside"]:
        words = [word.replace("{root}", str(GUEST)) for word in argv]
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"{words}: {done.stdout}{done.stderr}")
    with Simulator(scenario, listen=ADDRESSES) as fabric:
        json.dump([_run(argv, fabric) for argv in job["runs"]], sys.stdout)


def _build_guest(root: str, vm_id: str) -> None:
    STAGE.mkdir()
    _mount("-t", "tmpfs", "stage", STAGE)
    for name in ("upper", "work", "guest"):
        (STAGE / name).mkdir()
    layers = f"lowerdir={root},upperdir={STAGE}/upper,workdir={STAGE}/work"
    _mount("-t", "overlay", "guest", "-o", layers, GUEST)
    for name in ("run", "sys", "dev", "proc"):
        (GUEST / name).mkdir(exist_ok=True)
    for name in ("run", "sys"):
        _mount("-t", "tmpfs", name, GUEST / name)
    _mount("--rbind", "/dev", GUEST / "dev")
    _mount("-t", "proc", "proc", GUEST / "proc")
    (GUEST / "sys/firmware/efi").mkdir(parents=True)
    firmware = GUEST / "sys/class/dmi/id"
    firmware.mkdir(parents=True)
    (firmware / "chassis_asset_tag").write_text(CHASSIS_TAG + "\n")
    (firmware / "product_uuid").write_text(vm_id + "\n")


def _run(argv: list[str], fabric: Simulator) -> dict[str, Any]:
    asked, told = len(fabric.requests), len(fabric.reports)
    command = ["ip", "netns", "exec", "vm", "chroot", str(GUEST), *argv]
    done = subprocess.run(
        command, env=ENV, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    return {
        "code": done.returncode,
        "out": done.stdout,
        "err": done.stderr,
        "requests": len(fabric.requests) - asked,
        "reports": [report.state for report in fabric.reports[told:] if report.accepted],
        "hostname": os.uname().nodename,
    }


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
