"""Every verb works whatever the locale is, with names that ASCII cannot write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Iterator

import pytest
from kit import Guest

from azurelite.simulator import Scenario, Simulator

pytestmark = pytest.mark.spawns

# What a boot or an old image may have. The first is the narrowest: Python's own ways out of it are closed.
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "ASCII alone": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "ASCII output": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
    "UTF-8": {"LC_ALL": "C.UTF-8"},
}
VERBS = [
    ["metadata"],
    ["metadata", "tags"],
    ["metadata", "--format", "yaml"],
    ["metadata", "--format", "text"],
    ["metadata", "--format", "env"],
    ["metadata", "--format", "cloud-init"],
    ["plan"],
    ["provision", "--dry-run"],
    ["report", "failure", "--reason", "Grüße: \N{SNOWMAN}"],
    ["provision", "--json"],
    ["apply", "hostname", "write_files"],
    ["handlers"],
    ["config", "show"],
    ["config", "check"],
]
NAME = "Jörg \N{SNOWMAN}"
WRONG = "\ud800"  # half a character, which JSON can write and UTF-8 cannot


@pytest.fixture
def named(guest: Guest) -> Iterator[Guest]:
    scenario = Scenario.from_dict({"vm": {"tags": {"owner": NAME, "odd": WRONG}}})
    with Simulator(scenario) as simulator:
        motd = {"write_files": {"files": [{"path": "/etc/Grüße", "content": f"{NAME}\n"}]}}
        yield guest.on_azure().configure(simulator, handlers=["hostname", motd, "tags", "report_ready"])


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        [sys.executable, "-m", "azurelite", *words], env=known, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_each_verb_works(environment: dict[str, str], named: Guest) -> None:
    failed = {}
    for words in VERBS:
        done = run([*words, "--root", named.root], **environment)
        if done.returncode or b"Traceback" in done.stderr or b"unhandled" in done.stderr:
            failed[" ".join(words)] = (done.returncode, done.stderr)
    assert failed == {}
    assert named.text("etc/Grüße") == f"{NAME}\n"


def test_json_says_the_name_in_ascii_output(named: Guest) -> None:
    done = run(["metadata", "--root", named.root], **ENVIRONMENTS["ASCII alone"])
    assert json.loads(done.stdout)["tags"]["owner"] == NAME
