"""What the live tests share: namespaces that end with the test, and the stage with a fabric and a machine in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def namespaces() -> list[str]:
    """The words ahead of a command that is to run in namespaces of its own."""
    words = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel or container does not allow new namespaces")
    return words


@pytest.fixture(scope="session")
def networks(namespaces: list[str]) -> list[str]:
    """The same, where the test also makes a network there."""
    if shutil.which("ip") is None:
        pytest.skip("needs `ip`: install iproute2")
    return namespaces


@pytest.fixture(scope="session")
def on_stage(networks: list[str]) -> Callable[..., Any]:
    """Give a job to a driver on the stage (stage.sh); its answer. Both are JSON."""

    def run(job: dict[str, Any], *, driver: str = "driver.py", timeout: float = 180) -> Any:
        command = [*networks, "sh", str(HERE / "stage.sh"), sys.executable, str(HERE / driver)]
        done = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
