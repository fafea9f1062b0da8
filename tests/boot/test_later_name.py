"""contrib/hostname under a real systemd and a real ifupdown: the DHCP server hears of a name that changes later."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from boot.machine import NAME, Machine, Start
from boot.roots import ROOTS, Root

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.boot]

FOLDER = Path(__file__).parents[2] / "contrib" / "hostname"
UNIT = "azurelite-publish-hostname"
PROGRAM = {f"/usr/local/sbin/{UNIT}*": (FOLDER / UNIT).read_text()}
UNITS = {f"/etc/systemd/system/{UNIT}.{kind}": (FOLDER / f"{UNIT}.{kind}").read_text() for kind in ("path", "service")}
ENABLE = f"systemctl enable {UNIT}.path"
CYCLES = "journalctl -b | grep -c 'ordering cycle' || true"
CALLS = f"sudo -n journalctl -b -u {UNIT}.service | grep -c Finished || true"
SYSTEMD = [root for root in ROOTS if root.init == "systemd"]
IFUPDOWN = [root for root in ROOTS if root.client == "ifupdown+udhcpc"]


def heard(machine: Machine) -> list[str]:
    """The names in the requests that the DHCP server has received."""
    return [entry["name"] for entry in machine.look()["dhcp"] if entry["kind"] == "request"]


def until_heard(machine: Machine, name: str) -> None:
    """Wait until the DHCP server has received a request with a name, but not for ever."""
    end = time.monotonic() + 60
    while name not in heard(machine) and time.monotonic() < end:
        time.sleep(0.2)
    assert name in heard(machine), machine.story()


@pytest.mark.parametrize("root", SYSTEMD, ids=[root.name for root in SYSTEMD])
def test_a_later_name_is_sent_once(start: Start, root: Root) -> None:
    machine = start(root)
    machine.write({**PROGRAM, **UNITS})
    machine.inside(ENABLE)
    machine.boot()
    machine.wait(report=True)
    assert machine.ssh(f"systemctl is-active {UNIT}.path; {CYCLES}").split() == ["active", "0"]
    assert machine.ssh(f"hostname; {CALLS}").split() == [NAME, "0"]  # azurelite itself has published this name
    machine.ssh("echo renamed | sudo -n tee /etc/hostname")
    until_heard(machine, "renamed")
    assert machine.ssh("hostname; cat /etc/hostname /run/azurelite/published-hostname").split() == ["renamed"] * 3
    calls, before = int(machine.ssh(CALLS)), heard(machine)
    machine.ssh("sudo -n touch /etc/hostname")
    time.sleep(3)
    assert (int(machine.ssh(CALLS)) > calls, heard(machine)) == (True, before)


@pytest.mark.parametrize("root", IFUPDOWN, ids=[root.name for root in IFUPDOWN])
def test_ifupdown_sends_a_name_at_later_boots_too(start: Start, root: Root) -> None:
    machine = start(root)
    hook = {"/etc/network/if-up.d/azurelite-hostname*": (FOLDER / "ifupdown-hook").read_text()}
    machine.write({**PROGRAM, **hook})
    machine.boot()
    machine.wait(report=True)
    machine.ssh("echo renamed | sudo -n tee /etc/hostname")
    machine.boot()
    until_heard(machine, "renamed")
