"""The unit ahead of the network: the first DHCP request carries the name, and a later name of somebody else's stays."""

from __future__ import annotations

import pytest
from boot.machine import NAME, USER, VM_ID, Start
from boot.roots import ROOTS, Root

from azurelite.simulator import Scenario
from azurelite.simulator.ovf import ovf_document

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.boot]

DISC = "/srv/disc"
CONFIG = f"datasource: {{media: {{device: {DISC}}}}}\n"
EARLY = "azurelite service install --init systemd --early"
STATE = "systemctl is-active azurelite.service azurelite-hostname.service"
CYCLES = "journalctl -b | grep -c 'ordering cycle'; hostname"
SYSTEMD = [root for root in ROOTS if root.init == "systemd"]


@pytest.mark.parametrize("root", SYSTEMD, ids=[root.name for root in SYSTEMD])
def test_the_name_is_there_ahead_of_the_network_and_a_later_one_stays(start: Start, root: Root) -> None:
    machine = start(root)
    vm = Scenario.from_dict({"vm": {"vm_id": VM_ID, "hostname": NAME, "username": USER}}).vm
    machine.write({f"{DISC}/ovf-env.xml": ovf_document(vm).decode(), "/etc/azurelite/azurelite.yaml": CONFIG})
    machine.inside(EARLY)
    machine.boot()
    machine.wait(report=True)
    assert machine.ssh(CYCLES).split() == ["0", NAME]
    assert machine.ssh(STATE).split() == ["active", "active"]
    asked = [entry["name"] for entry in machine.look()["dhcp"] if entry["kind"] in ("discover", "request")]
    assert set(asked) == {NAME}
    machine.ssh(f"echo renamed | sudo -n tee /etc/hostname; sudo -n rm -r {DISC}")
    for _ in range(2):
        machine.boot()
        machine.wait(console="was provisioned earlier")
        assert machine.ssh(f"hostname; cat /etc/hostname; {STATE}").split() == ["renamed"] * 2 + ["active"] * 2
        assert machine.look()["requests"] == []
