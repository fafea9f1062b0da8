"""Every root, from its first boot on: provisioned, then left alone, then captured and another VM."""

from __future__ import annotations

import json
from typing import Callable

import pytest
from boot.machine import NAME, USER, Machine, Start
from boot.roots import ROOTS, Root

OTHER_ID = "5f8e3d10-94b7-4d0e-8f55-0c6f6b1f7a21"
LOOK = "hostname; cat /etc/hostname; sudo -n id -u; python3 -V; cat /run/azurelite/status.json"
# Without host keys sshd would not start: the default configuration does not list `ssh_host_keys`.
GENERALIZE = (
    "sudo -n azurelite generalize --yes --machine-id --leases --logs --histories --random-seed --agent-traces "
    "--files --adopted --delete-homes | grep -v 'SSH host keys\\|packages\\|stay: this disk'"
)
# Debian's ifupdown starts udhcpc without a name unless /etc/network/interfaces has one, so later boots do not tell it.
NAMELESS = {"ifupdown+udhcpc": ""}

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.boot]


@pytest.mark.parametrize("root", ROOTS, ids=[root.name for root in ROOTS])
def test_a_life(start: Start, root: Root, record_property: Callable[[str, object], None]) -> None:
    machine = start(root)
    record_property("boot", first_boot(machine))
    second_boot(machine)
    captured(machine)


def first_boot(machine: Machine) -> tuple[str, ...]:
    """Ready, a login that works, the name told to Azure's DNS. What it cost, as a row of the table."""
    machine.boot()
    machine.wait(report=True)
    name, kept, uid, python, *status = machine.ssh(LOOK).splitlines()
    assert (name, kept, uid) == (NAME, NAME, "0")
    done = json.loads("\n".join(status))
    assert (done["outcome"], done["report"]["state"]) == ("provisioned", "Ready")
    assert [step["name"] for step in done["steps"] if step["status"] == "failed"] == []
    machine.wait(dhcp=NAME, console="Azure accepted Ready")
    seen = machine.look()
    assert [(report["state"], report["accepted"]) for report in seen["reports"]] == [("Ready", True)]
    assert "Permission denied" in machine.try_ssh("true", user="root")["err"]
    root = machine.root
    took = f"{seen['reported_after']:.1f} s"
    memory = f"{seen['memory'] / 1024:.0f} MiB" if seen["memory"] else "not seen"
    return (root.init, root.suite, root.client, python.split()[1], took, f"{done['seconds']:.2f} s", memory)


def second_boot(machine: Machine) -> None:
    """Azure is not asked anything, the host is called as before from its first DHCP request on, the login works."""
    machine.boot()
    machine.wait(console="was provisioned earlier")
    assert machine.ssh("hostname; sudo -n id -u").split() == [NAME, "0"]
    seen = machine.look()
    assert seen["requests"] == []
    assert seen["dhcp"]
    named = {entry["name"] for entry in seen["dhcp"] if entry["kind"] in ("discover", "request")}
    assert named == {NAMELESS.get(machine.root.client, NAME)}, seen["dhcp"]


def captured(machine: Machine) -> None:
    """The same disk in another VM: a new name, a new owner, and nothing of the former one."""
    said = machine.ssh(GENERALIZE)
    assert f"this login ends here: its account {USER} is removed last" in said
    machine.boot(vm_id=OTHER_ID, hostname="beacon", username="keeper")
    machine.wait(report=True)
    assert machine.ssh("hostname; sudo -n id -u", user="keeper").split() == ["beacon", "0"]
    left = machine.ssh(
        f"getent passwd {USER}; sudo -n grep -rlE '{USER}|{NAME}' /etc /home /var/lib; true", user="keeper"
    )
    assert left == ""
    machine.wait(dhcp="beacon")
    assert [report["state"] for report in machine.look()["reports"]] == ["Ready"]
