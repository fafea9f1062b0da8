"""Runs inside the stage of tests/live/stage.sh: a folder becomes the root of a VM on Azure for some commands.

The folder itself stays as it is: an overlay takes the changes. Reads a job as JSON on standard input, writes what
happened as JSON.

Job: {"root": "/folder", "vm": {...}, "put": {guest path: [host path, mode]}, "outside": [argv...], "runs": [argv...]}.
Commands in `outside` run on this machine, ahead of the others, with {root} in their words replaced by the folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from live.driver import ADDRESSES, GUEST, build_guest, run_in_guest

from azurelite.simulator import Scenario, Simulator

ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def main() -> None:
    """Build the guest, do the runs, tell."""
    job = json.load(sys.stdin)
    scenario = Scenario.from_dict({"vm": job["vm"]})
    build_guest(job["root"])
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
        json.dump([run_in_guest({"argv": argv, "env": ENV}, fabric) for argv in job["runs"]], sys.stdout)


if __name__ == "__main__":
    main()
