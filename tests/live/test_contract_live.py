"""The contract of every handler on live roots: a Debian one with its own tools, and one with BusyBox's alone.

A dry run leaves the disk as it was and tells what the real one does; a second run changes nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from azurelite.handlers import BUILTIN

HERE = Path(__file__).parent
WISHES = HERE.parent / "handlers" / "wishes"

# What has no bounds of a namespace: the kernel's swap and the machine's own power are everybody's.
NOT_HERE = {"swap", "power_state"}
# Programs whose work cannot be compared beforehand: they run as often as the handler is applied.
RUN_AGAIN = {"run", "user_data", "custom_data"}
NEEDS_OPTIONS = {"run"}  # an entry without options is refused

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]


def cases() -> list[dict[str, Any]]:
    found = []
    for name in sorted(set(BUILTIN) - NOT_HERE):
        path = WISHES / f"{name}.yaml"
        wishes = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
        for number, wish in enumerate([{}, *wishes]):
            if not number and name in NEEDS_OPTIONS:
                continue
            if not wish.get("live", True):  # what hangs on the world outside cannot be foretold
                continue
            rest = {
                "options": wish.get("options", {}),
                "files": wish.get("files", {}),
                "before": wish.get("before", []),
            }
            found.append({"id": f"{name}-{number}", "name": name, **rest})
    return found


KINDS = ("debian", "busybox")
CASES = cases()
IDS = [case["id"] for case in CASES]


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in KINDS])
def answers(request: pytest.FixtureRequest, networks: list[str]) -> dict[str, dict[str, Any]]:
    """What came of every case, in guests of one kind."""
    if shutil.which("busybox") is None:
        pytest.skip("needs `busybox`: install busybox")
    job = json.dumps({"guest": request.param, "cases": CASES}, default=str)
    command = [*networks, sys.executable, str(HERE / "contract_stage.py")]
    done = subprocess.run(command, input=job, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(IDS, json.loads(done.stdout)))


@pytest.mark.parametrize("case", IDS)
class TestContract:
    def test_a_dry_run_leaves_nothing_behind(self, answers: dict[str, dict[str, Any]], case: str) -> None:
        assert "broken" not in answers[case], answers[case]["broken"]
        assert answers[case]["kept"] == []

    def test_a_dry_run_tells_what_the_real_one_does(self, answers: dict[str, dict[str, Any]], case: str) -> None:
        assert answers[case]["dry"] == answers[case]["real"]
        assert "canary" not in str(answers[case])

    def test_a_second_run_changes_nothing(self, answers: dict[str, dict[str, Any]], case: str) -> None:
        if case.partition("-")[0] in RUN_AGAIN:
            assert answers[case]["again"]["said"] == answers[case]["real"]["said"]
            return
        assert answers[case]["again"]["changes"] == []
        assert answers[case]["moved"] == []
