"""The guest proxy agent, where the platform asks for it: waited for ahead of IMDS, and its absence is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit import FastClock, Guest, shim

from azurelite.datasource.crawl import Crawl, crawl
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.hypervisor.identity import Identity
from azurelite.media.find import MediaDocument
from azurelite.simulator import Scenario, Simulator
from azurelite.system.machine import System


def asked(search_path: Path, wanted: Any, *, root: str = "/") -> Crawl:
    """Crawl with a dry system of the running machine; the media says whether the agent is expected."""
    with Simulator(Scenario.from_dict({"vm": {"provision_guest_proxy_agent": wanted}})) as simulator:
        media = MediaDocument(simulator.ovf(), "test")
        fabric = Fabric(
            30, imds=ImdsSettings(simulator.url), wireserver=WireServerSettings(simulator.url), clock=FastClock()
        )
        with fabric:
            return crawl(
                fabric,
                identity=Identity(on_azure=True, system_uuid=None, vm_id=None),
                sources=("imds", "media"),
                system=System(root, dry_run=True, search_path=str(search_path)),
                given_media=media,
            )


@pytest.mark.spawns
def test_it_is_waited_for(tmp_path: Path) -> None:
    log = shim(tmp_path, "azure-proxy-agent")
    assert asked(tmp_path, True).metadata.refused is None
    assert log.read_text() == "--status\n--wait\n120\n--\n"


@pytest.mark.spawns
def test_its_bad_word_is_told(tmp_path: Path) -> None:
    shim(tmp_path, "azure-proxy-agent", exit_code=3)
    refused = asked(tmp_path, True).metadata.refused
    assert refused is not None
    assert refused.reason == "azure-proxy-agent status failure"
    assert "status 3" in refused.message


def test_its_absence_is_told(tmp_path: Path) -> None:
    refused = asked(tmp_path, True).metadata.refused
    assert refused is not None
    assert refused.reason == "azure-proxy-agent not found"


@pytest.mark.parametrize("wanted", [False, None])
def test_nobody_waits_for_it_unasked(tmp_path: Path, wanted: Any) -> None:
    assert asked(tmp_path, wanted).metadata.refused is None


def test_in_a_foreign_root_it_is_not_ours_to_ask(guest: Guest, tmp_path: Path) -> None:
    assert asked(tmp_path, True, root=guest.root).metadata.refused is None
