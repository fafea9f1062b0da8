"""The host name where IMDS has no `computerName`: the media's, else the name of the VM's resource."""

from __future__ import annotations

import logging
from typing import Any, Optional

import pytest
from kit import VM_ID, FastClock, Guest

from azurelite.datasource.crawl import Crawl, crawl
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings
from azurelite.hypervisor.identity import Identity
from azurelite.simulator import Scenario, Simulator
from azurelite.system.machine import System


def read(guest: Guest, *, disc: bool = False, **vm: Any) -> Crawl:
    """Crawl a VM of that kind, with or without the provisioning media."""
    with Simulator(Scenario.from_dict({"vm": {"hostname": "computer", "name": "resource", **vm}})) as simulator:
        if disc:
            guest.put({"media/ovf-env.xml": simulator.ovf().decode()})
        with Fabric(60, imds=ImdsSettings(simulator.url), clock=FastClock()) as fabric:
            return crawl(
                fabric,
                identity=Identity(on_azure=True, system_uuid=VM_ID, vm_id=VM_ID),
                sources=("media", "imds"),
                system=System(guest.root, dry_run=True),
                media="/media" if disc else "none",
            )


OLD: dict[str, Any] = {"api_versions": ["2018-10-01", "2019-03-11", "2019-06-01"]}


def compute(**keys: Any) -> dict[str, Any]:
    return {"imds": {"compute": keys}}


@pytest.mark.parametrize(
    ("vm", "disc", "name", "source"),
    [
        pytest.param({}, False, "computer", "imds", id="computerName"),
        pytest.param({}, True, "computer", "imds", id="computerName, not the media"),
        pytest.param(OLD, False, "resource", "resource", id="an old IMDS has no osProfile"),
        pytest.param(OLD, True, "computer", "media", id="an old IMDS, and the media"),
        pytest.param({"api_versions": ["2017-08-01"]}, False, "resource", "resource", id="a very old IMDS"),
        pytest.param(compute(osProfile={"computerName": None}), False, "resource", "resource", id="missing"),
        pytest.param(compute(osProfile={"computerName": ""}), False, "resource", "resource", id="empty"),
        pytest.param(compute(osProfile={"computerName": ["x"]}), False, "resource", "resource", id="unusable"),
        pytest.param(compute(osProfile={"computerName": None}), True, "computer", "media", id="missing, and the media"),
        pytest.param(compute(osProfile="x"), False, "resource", "resource", id="osProfile is no object"),
        pytest.param(compute(osProfile=None), False, None, None, id="a specialised disk keeps its name"),
        pytest.param({**OLD, **compute(name=None)}, False, None, None, id="no name at all"),
        pytest.param({**OLD, **compute(name="")}, False, None, None, id="an empty name"),
        pytest.param({**OLD, **compute(name=7)}, False, None, None, id="a name of a wrong type"),
    ],
)
def test_the_name_and_where_it_comes_from(
    guest: Guest, vm: dict[str, Any], disc: bool, name: Optional[str], source: Optional[str]
) -> None:
    result = read(guest, disc=disc, **vm)
    assert (result.metadata.local_hostname, result.metadata.provenance.get("local_hostname")) == (name, source)
    assert result.metadata.region == "westeurope"
    assert dict(result.metadata.gaps.failures) == {}


def test_a_name_of_a_wrong_type_is_named(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(guest, **OLD, **compute(name=7))
    assert ["compute.name skipped" in line.getMessage() for line in caplog.records] == [True]
