"""Real kills of real first boots: azurelite ends at any moment, and the next boot makes a whole of it."""

from __future__ import annotations

import json
import sys
from typing import Any, Callable

import pytest
import yaml
from kit import ED25519, VM_ID

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.thorough]

POINTS = [round(0.1 + 0.04 * number, 2) for number in range(40)]  # seconds; a whole boot takes about one
PROVISION = f"{sys.executable} -m azurelite provision"
BOOTS = f"""
rm -rf /var/lib/azurelite /run/azurelite; : >/var/ran
timeout -s KILL "$1" {PROVISION} >/dev/null 2>&1
echo "$?"
sleep 0.2
grep -c ran /var/ran
{PROVISION} --json 2>/dev/null
echo; sleep 0.2
cat /var/ran
"""


def test_a_script_after_ready_runs_once_whenever_the_first_boot_was_killed(on_stage: Callable[..., Any]) -> None:
    config = yaml.safe_dump({"handlers": ["user", "ssh_keys", "report_ready", "user_data"]})
    script = "#!/bin/sh\necho ran >>/var/ran; sleep 0.3\n"
    vm = {"vm_id": VM_ID, "username": "livewire", "ssh_keys": [ED25519], "hostname": "live", "user_data": script}
    runs = [
        {"argv": ["sh", "-c", BOOTS, "sh", str(point)], "files": {"/etc/azurelite/azurelite.yaml": config}}
        for point in POINTS
    ]
    results = on_stage({"scenario": {"vm": vm, "faults": []}, "runs": runs}, timeout=550)
    seen = set()
    for point, result in zip(POINTS, results):
        first, early, rest = result["out"].split("\n", 2)
        outcome, end = json.JSONDecoder().raw_decode(rest)
        assert rest[end:].split() == ["ran"], (point, first, early, outcome)
        assert outcome["outcome"] in ("provisioned", "already provisioned"), (point, outcome)
        states = {(report["state"], report["accepted"]) for report in result["reports"]}
        assert states == {("Ready", True)}, (point, states)
        seen.add((first != "0", early != "0"))
    assert {(True, False), (True, True)} <= seen, "kills before and after the start of the script"
