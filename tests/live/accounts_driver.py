"""Runs inside namespaces: builds a guest whose `/` is real and applies account handlers in it, with its own tools.

Job: {"setup": "shell script", "busybox": path, "steps": [{"sh": "..."} or {"apply": [[handler, options], ...],
"metadata": {...}, "dry": bool, "wait": seconds}]}.
Writes as JSON what came of each step.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from live import driver

APPLY = """
import importlib, json, sys
from azurelite.config.document import Document
from azurelite.errors import AzureliteError
from azurelite.fabric.client import Fabric
from azurelite.handlers import BUILTIN, Context
from azurelite.state.store import Memory
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.config.schema import bind
from azurelite.system.machine import System
job = json.loads(sys.stdin.read())
system = System("/", dry_run=job.get("dry", False))
if "wait" in job:
    from azurelite.clock import Deadline, SystemClock
    system.commands.limit = Deadline(SystemClock(), job["wait"])
notes, errors = [], []
memory = Memory(system.files, "2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4")
known = Metadata.from_dict(job["metadata"])
ctx = Context(known, system, Fabric(0), Outcome("applied", ""), notes.append, lambda: None, memory)
for name, options in job["apply"]:
    module = importlib.import_module(BUILTIN[name])
    try:
        module.apply(ctx, bind(module.Options, options, Document({}, {}), (name,)))
    except AzureliteError as error:
        errors.append(str(error))
print(json.dumps({"changes": [str(change) for change in system.journal.since(0)], "notes": notes, "errors": errors}))
"""


def main() -> None:
    """Build the guest, take the steps, tell."""
    job = json.load(sys.stdin)
    driver.build_guest()
    pam = driver.GUEST / "etc/pam.d/common-auth"
    if pam.exists():  # two seconds for each wrong password otherwise
        pam.write_text(pam.read_text().replace("pam_unix.so", "pam_unix.so nodelay"))
    if job["busybox"]:
        shutil.copy(job["busybox"], driver.GUEST / "run/busybox")
    setup = _inside(["sh", "-ec", job["setup"]])
    if setup["code"] != 0:
        sys.exit(setup["err"])
    json.dump([_step(step) for step in job["steps"]], sys.stdout)


def _step(step: dict[str, Any]) -> dict[str, Any]:
    if "sh" in step:
        return _inside(["sh", "-c", step["sh"]])
    done = _inside([sys.executable, "-c", APPLY], given=json.dumps(step))
    return json.loads(done["out"]) if done["code"] == 0 else done


def _inside(argv: list[str], given: str = "") -> dict[str, Any]:
    command = ["chroot", str(driver.GUEST), "env", f"PYTHONPATH={os.getcwd()}", *argv]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


if __name__ == "__main__":
    main()
