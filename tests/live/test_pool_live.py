"""VMs from a pool, on a live system: a real link goes down and up, or away and back, while azurelite waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from kit import ED25519

HERE = Path(__file__).parent
POOL = {"username": "pool", "hostname": "in-the-pool", "ssh_keys": [], "preprovisioned_vm": True}
OWNER = {"username": "owner", "hostname": "of-the-owner", "ssh_keys": [ED25519]}
POOL_READY, OWNERS_READY = ["Ready", "1", True], ["Ready", "2", True]

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play(on_stage: Callable[..., Any]) -> Play:
    """Play acts; what was seen after each, by the act's name (the last one of that name)."""

    def run(kind: str, *acts: str) -> dict[str, Any]:
        job = {"vm": {**POOL, "pps_type": kind}, "owner": OWNER, "acts": acts}
        return {seen["act"]: seen for seen in on_stage(job, driver="pool_driver.py", timeout=60)}

    return run


def check_owned(seen: dict[str, Any], *, provisioned: str = "end") -> None:
    """It is the owner's VM, and nothing of the pool is left."""
    assert seen[provisioned]["code"] == 0, seen[provisioned]["said"]
    assert seen[provisioned]["reports"] == [POOL_READY, OWNERS_READY], seen[provisioned]["said"]
    assert not seen[provisioned]["marker"]
    passwd, hostname, key = seen["look"]["said"].splitlines()
    assert passwd.startswith("owner:x:")
    assert (hostname, key) == ("of-the-owner", ED25519)


def test_a_running_vm_is_switched_into_its_owners_network(play: Play) -> None:
    seen = play("Running", "start", "ready", "waiting", "flap", "polled", "assign", "end", "look")
    assert (seen["waiting"]["reports"], seen["waiting"]["polls"], seen["waiting"]["marker"]) == ([POOL_READY], 0, True)
    assert seen["polled"]["reports"] == [POOL_READY]
    check_owned(seen)


def test_a_savable_vm_gets_another_nic(play: Play) -> None:
    seen = play("Savable", "start", "ready", "waiting", "replace", "assign", "end", "look")
    assert (seen["waiting"]["reports"], seen["waiting"]["polls"]) == ([POOL_READY], 0)
    check_owned(seen)


def test_a_switch_right_after_ready_is_not_missed_and_the_next_boot_is_silent(play: Play) -> None:
    seen = play("Running", "start", "ready", "flap", "assign", "end", "look", "start", "end")
    check_owned(seen)
    assert seen["end"]["requests"] == seen["look"]["requests"]
    assert "provisioned earlier" in seen["end"]["said"]


def test_a_run_that_was_killed_in_the_pool_is_continued_without_a_second_ready(play: Play) -> None:
    seen = play("Running", "start", "waiting", "kill", "start", "polled", "assign", "end", "look")
    assert seen["kill"]["marker"]
    assert seen["polled"]["reports"] == [POOL_READY]
    check_owned(seen)
