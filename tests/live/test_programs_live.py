"""Executables in /etc/azurelite/handlers.d on a live system: their options, and their time."""

from __future__ import annotations

import json
import sys
from typing import Any, Callable

import pytest
import yaml
from kit import ED25519, VM_ID

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

FOLDER = "/etc/azurelite/handlers.d"
SLOW = "#!/bin/sh\nsleep 60 & echo $! >/var/child; wait\n"


def test_a_program_has_the_time_of_its_entry(on_stage: Callable[..., Any]) -> None:
    handlers = ["user", {"slow": {"timeout": 1}}, {"quick": {"timeout": 30, "my-key": "it"}}, "report_ready"]
    config = {
        f"{FOLDER}/slow": SLOW,
        f"{FOLDER}/quick": '#!/bin/sh\necho "$AZURELITE_OPTION_MY_KEY $AZURELITE_OPTION_TIMEOUT" >/var/quick\n',
        "/etc/azurelite/azurelite.yaml": yaml.safe_dump({"handlers": handlers}),
    }
    vm = {"vm_id": VM_ID, "username": "livewire", "ssh_keys": [ED25519], "hostname": "live"}
    look = "cat /var/quick; cut -d' ' -f3 /proc/$(cat /var/child)/stat 2>/dev/null || echo gone"
    runs = [
        {"argv": ["sh", "-c", f"chmod 755 {FOLDER}/*"], "files": config},
        {"argv": [sys.executable, "-m", "azurelite", "provision", "--json"]},
        {"argv": ["sh", "-c", look]},
    ]
    _, done, seen = on_stage({"scenario": {"vm": vm, "faults": []}, "runs": runs})
    steps = {step["name"]: step for step in json.loads(done["out"])["steps"]}
    assert "timed out and was killed" in steps["slow"]["error"]
    assert steps["slow"]["seconds"] < 20
    assert (steps["quick"]["status"], done["code"]) == ("done", 0)
    assert seen["out"] in ("it 30\ngone\n", "it 30\nZ\n")
