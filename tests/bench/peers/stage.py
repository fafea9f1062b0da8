"""Other agents, measured from outside: makes the layer over their root, enters the stage, takes the samples."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Optional, Sequence

from bench.build import ARTICLE, HERE, Tools, wheel
from bench.figures import Counts, Sample, Summary, summary
from bench.peers.root import PeerRoot, RootError
from bench.rows import MAIN_JOB

from azurelite.simulator import Scenario, Simulator

__all__ = ["RootError", "StageError", "measured", "missing"]

NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc")
PACKAGES = "usr/lib/python3/dist-packages"
# As the package of azurelite has it.
ENTRY = """#!/usr/bin/python3
import sys
from azurelite.cli import command
if __name__ == "__main__":
    sys.exit(command())
"""


class StageError(RuntimeError):
    """The agents could not be measured. The message has the stage's own words."""


def missing() -> Optional[str]:
    """Why agents cannot run here, or None."""
    if os.geteuid() != 0:
        return "they run in namespaces that only root can make"
    absent = [name for name in ("ip", "mmdebstrap", "unshare") if shutil.which(name) is None]
    return f"needs {', '.join(absent)}" if absent else None


def measured(tools: Tools, scratch: Path, *, rounds: int, only: Sequence[str] = ()) -> dict[str, Summary]:
    """A summary of each case. Raises StageError, or RootError where their root cannot be built."""
    lower = PeerRoot().build()
    job = {"lower": str(lower), "layer": str(_layer(tools, lower, scratch)), "rounds": rounds, "only": list(only)}
    tests = HERE.parent
    command = [*NAMESPACES, "sh", str(tests / "live/stage.sh"), sys.executable, str(HERE / "peers/drive.py")]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode != 0:
        raise StageError(done.stderr.strip())
    return {name: _summary(name, taken) for name, taken in json.loads(done.stdout).items()}


def _summary(name: str, taken: Sequence[dict[str, Any]]) -> Summary:
    tasks = [one.pop("tasks") for one in taken]
    return summary(name, [Sample(**one) for one in taken], Counts(processes=tasks[-1]))


def _layer(tools: Tools, lower: Path, scratch: Path) -> Path:
    """azurelite and the rig, as files over the root; byte-compiled by the root's own interpreter."""
    layer = scratch / "layer"
    (layer / "opt/bench").mkdir(parents=True)
    (layer / PACKAGES).mkdir(parents=True)
    (layer / "usr/bin").mkdir(parents=True)
    for source in (tools.launcher, ARTICLE, HERE / "article/unit.sh"):
        shutil.copy(source, layer / "opt/bench")
    document = Simulator(Scenario.default()).ovf().decode()
    # With the guest agent wanted, waagent begins its endless work right after Ready, and would be measured doing it.
    document = document.replace("<ProvisionGuestAgent>true<", "<ProvisionGuestAgent>false<")
    (layer / "opt/bench/ovf-env.xml").write_text(document, encoding="utf-8")
    (layer / "opt/bench/main-job.yaml").write_text(f"handlers: [{', '.join(MAIN_JOB)}]\n", encoding="utf-8")
    with zipfile.ZipFile(next(scratch.glob("azurelite-*.whl"), None) or wheel(scratch)) as packed:
        packed.extractall(layer / PACKAGES)
    entry = layer / "usr/bin/azurelite"
    entry.write_text(ENTRY, encoding="utf-8")
    entry.chmod(0o755)
    script = """
set -eu
mount --make-rprivate /
mkdir "$1/work" "$1/root"
mount -t overlay root -o "lowerdir=$2,upperdir=$1/layer,workdir=$1/work" "$1/root"
chroot "$1/root" /usr/bin/python3 -m compileall -q "/$3/azurelite"
"""
    words = ["unshare", "--mount", "sh", "-c", script, "sh", str(scratch), str(lower), PACKAGES]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError(f"azurelite could not be byte-compiled in the agents' root: {done.stderr.strip()}")
    return layer
