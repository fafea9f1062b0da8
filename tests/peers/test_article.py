"""The simulator satisfies clients that are not ours: those of Azure's own article."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from azurelite.simulator import Simulator

HERE = Path(__file__).parent
IDS = [
    "ContainerId: 7b324f53-983a-43bc-b919-1775d6077608",
    "InstanceId: fbb84507-46cd-4f4e-bd78-a2edaa9d059b._thstringnopa2",
]

pytestmark = pytest.mark.spawns


def run(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_articles_python_is_accepted(fabric: Simulator) -> None:
    said = run(sys.executable, str(HERE / "article_report_ready.py"), fabric.url)
    assert said == [*IDS, "Response: 200 OK"]
    assert [(report.state, report.accepted) for report in fabric.reports] == [("Ready", True)]


def test_the_articles_curl_sequence_is_accepted(fabric: Simulator) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs `curl`: install curl")
    said = run("sh", str(HERE / "article_report_ready.sh"), fabric.url)
    assert said == [*IDS, "Response: 200", fabric.scenario.vm.name]
    assert [(report.state, report.accepted) for report in fabric.reports] == [("Ready", True)]


def test_the_articles_fixed_incarnation_is_refused_once_the_fabric_moved(fabric: Simulator) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs `curl`: install curl")
    fabric.move_incarnation()
    done = subprocess.run(
        ["sh", str(HERE / "article_report_ready.sh"), fabric.url], capture_output=True, timeout=30, check=False
    )
    assert done.returncode != 0
    assert [(report.status, report.accepted) for report in fabric.reports] == [(410, False)]
