"""The crawl on a real server: each source may fail alone, and the others go on."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from kit import VM_ID, FastClock

from azurelite.datasource.crawl import crawl
from azurelite.errors import FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.hypervisor.identity import Identity
from azurelite.simulator import Scenario, Simulator

FIRMWARE = Identity(on_azure=True, system_uuid=VM_ID, vm_id=VM_ID)
NO_FIRMWARE = Identity(on_azure=False, system_uuid=None, vm_id=None)
BOTH = ("imds", "wireserver")
FROM_IMDS = {"username", "local_hostname", "public_ssh_keys", "region", "vm_size", "network", "tags"}


class Run:
    def __init__(
        self,
        *faults: dict[str, Any],
        sources: tuple[str, ...] = BOTH,
        identity: Identity = FIRMWARE,
        seconds: float = 60,
        timeout: float = 2,
        **vm: Any,
    ) -> None:
        self.clock = FastClock()
        scenario = Scenario.from_dict({"vm": vm, "faults": list(faults)})
        with Simulator(scenario, rate_limit=None) as simulator:
            imds = ImdsSettings(simulator.url, timeout=timeout)
            wireserver = WireServerSettings(simulator.url, timeout=timeout)
            with Fabric(seconds, imds=imds, wireserver=wireserver, clock=self.clock) as self.fabric:
                result = crawl(self.fabric, identity=identity, sources=sources)
        self.crawl, self.metadata, self.failures = result, result.metadata, result.metadata.gaps.failures
        self.asked = [request.endpoint for request in simulator.requests]


def test_all_sources_answer() -> None:
    run = Run()
    assert dict(run.failures) == {}
    assert run.asked == ["imds", "goal_state"]
    assert set(run.metadata.provenance) >= FROM_IMDS | {"vm_id", "instance_id"}
    assert run.metadata.provenance["vm_id"] == "firmware"
    assert set(run.metadata.raw) == {"imds", "goal_state"}
    assert run.metadata.raw["goal_state"]["incarnation"] == "1"


@pytest.mark.parametrize("sources", [("wireserver", "imds"), ("imds",), ("wireserver",), ()])
def test_only_the_sources_listed_are_asked(sources: tuple[str, ...]) -> None:
    run = Run(sources=sources)
    assert set(run.asked) == {{"imds": "imds", "wireserver": "goal_state"}[source] for source in sources}
    assert (run.metadata.username is not None) is ("imds" in sources)
    assert run.metadata.vm_id == VM_ID


TROUBLES = [
    {"status": 400},
    {"status": 503},
    {"redirect": "/"},
    {"drop": True},
    {"garbage": True},
    {"truncate": 10},
    {"size": 5_000_000},
    {"body": ""},
    {"body": "[]"},
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_imds_fails_alone(trouble: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    run = Run({"endpoint": "imds", **trouble})
    assert list(run.failures) == ["imds"]
    assert isinstance(run.failures["imds"], FabricError)
    assert (run.metadata.vm_id, run.metadata.username) == (VM_ID, None)
    assert "goal_state" in run.metadata.raw
    assert [r for r in caplog.records if r.levelname == "WARNING" and r.getMessage().startswith("imds: ")]


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_wireserver_fails_alone(trouble: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    run = Run({"endpoint": "goal_state", **trouble})
    assert list(run.failures) == ["wireserver"]
    assert set(run.metadata.provenance) >= FROM_IMDS
    assert list(run.metadata.raw) == ["imds"]
    assert [r for r in caplog.records if r.levelname == "WARNING" and r.getMessage().startswith("wireserver: ")]


def test_the_firmware_fails_alone() -> None:
    run = Run(identity=NO_FIRMWARE)
    assert (run.metadata.vm_id, run.metadata.provenance["vm_id"]) == (VM_ID, "imds")


def test_everything_fails() -> None:
    run = Run({"endpoint": "any", "status": 500}, identity=NO_FIRMWARE)
    assert list(run.failures) == ["imds", "wireserver"]
    assert dict(run.metadata.provenance) == {}


def test_a_retry_that_helped_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run = Run({"endpoint": "any", "status": 503, "requests": "1-2"})
    assert dict(run.failures) == {}
    assert {line.levelname for line in caplog.records} <= {"INFO"}


def test_the_goal_state_is_not_waited_for_long() -> None:
    """No setting of the VM hangs on it, and the report has patience of its own."""
    run = Run({"endpoint": "goal_state", "status": 503}, seconds=1200)
    assert sum(run.clock.slept) <= 10
    assert run.metadata.username == "azureuser"


def test_a_dead_imds_leaves_the_share_of_reporting() -> None:
    run = Run({"endpoint": "imds", "status": 503}, seconds=100)
    assert run.fabric.deadline.remaining() >= 9.5


@pytest.mark.parametrize(
    ("field", "source"),
    [("username", "imds"), ("public_ssh_keys", "imds"), ("local_hostname", "imds"), ("region", "imds")],
)
def test_why_a_field_may_be_missing(field: str, source: str) -> None:
    run = Run({"endpoint": "any", "status": 400})
    assert run.metadata.missing.get(field) is run.failures[source]


def test_a_field_is_not_missing_because_of_a_source_that_cannot_have_it() -> None:
    run = Run({"endpoint": "goal_state", "status": 400})
    assert run.metadata.missing.get("username") is None
    assert run.metadata.missing.get("region") is None


@pytest.mark.parametrize(
    "override",
    [
        {"compute": {"osProfile": 5}},
        {"compute": {"publicKeys": [5, {"keyData": 5}]}},
        {"compute": {"vmId": "../../etc"}},
        {"compute": {"userData": "%"}},
        {"network": "x"},
        {"extended": []},
    ],
    ids=str,
)
def test_one_bad_key_of_imds_never_takes_the_source_down(override: dict[str, Any]) -> None:
    run = Run(imds=override)
    assert dict(run.failures) == {}
    assert run.metadata.region == "westeurope"


def test_user_data_is_no_part_of_raw() -> None:
    run = Run(user_data="hunter2-canary")
    assert run.metadata.user_data is not None
    assert run.metadata.user_data.reveal() == b"hunter2-canary"
    assert "aHVudGVy" not in repr(run.metadata.raw)
    assert "hunter2" not in repr(run.metadata)
