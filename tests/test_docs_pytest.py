"""The tests that docs/how-to/test.md shows are run by pytest, as a reader would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.mark.spawns
def test_the_shown_tests_pass(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs/how-to/test.md").read_text(encoding="utf-8")
    conftest, ready, scenario, reboot = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scenario = scenario.replace("contrib/", f"{CHECKOUT}/contrib/")
    files = {
        "conftest": conftest,
        "test_ready": ready,
        "test_other_vm": f"{scenario}\n\n{ready}",
        "test_reboot": reboot,
    }
    for name, code in files.items():
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr
