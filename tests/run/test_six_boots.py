"""Six boots that fail: what the console says, for somebody who has only that.

Each is read as a stranger reads it: the lines must name the cause and what to do, and the last line, which is still
on the screen when the others have scrolled away, must name the step or the place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import Guest

import azurelite
from azurelite.cli import main
from azurelite.simulator import Fault, Scenario, Simulator

SUDO = ["hostname", {"user": {"sudo": "nopasswd"}}, "ssh_keys", "report_ready"]
NO_DISC = {"deadline": 3, "media": {"device": "none"}}
CUT_OFF = {"compute": {"publicKeys": [{"keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1", "path": "x"}]}}
Boot = Callable[[Guest, Simulator], None]


def without_sudo(guest: Guest, fabric: Simulator) -> None:
    guest.path("etc/sudoers.d/README").unlink()
    guest.path("etc/sudoers.d").rmdir()
    guest.configure(fabric, datasource=NO_DISC, handlers=SUDO)


def with_yaml(text: str) -> Boot:
    def prepare(guest: Guest, _: Simulator) -> None:
        guest.put({"etc/azurelite/azurelite.yaml": text})

    return prepare


def as_it_is(guest: Guest, fabric: Simulator) -> None:
    del guest, fabric


# name -> (faults, what differs in the VM, what differs in the guest, exit code, cause, remedy, the last line)
BOOTS: dict[str, tuple[tuple[Fault, ...], dict[str, Any], Boot, int, str, str, str]] = {
    "IMDS down": (
        (Fault(endpoint="imds", status=500),),
        {},
        as_it_is,
        1,
        "Azure's metadata service fails",
        "Reboot the VM; if it fails again, redeploy it",
        "failed: user: http error 500 querying IMDS",
    ),
    "wrong key": (
        (),
        {"imds": CUT_OFF},
        as_it_is,
        1,
        "ssh_keys: SSH key 1 of 1 skipped: its base64 part is damaged or cut off",
        "deploy the VM with a whole public key",
        "failed: ssh_keys: SSH key 1 of 1 skipped",
    ),
    "no key": (
        (),
        {"imds": {"compute": {"publicKeys": []}}},
        as_it_is,
        1,
        "ssh_keys: Azure gave no SSH key, and Azure forbids passwords, so nobody could log in",
        "deploy the VM with a whole public key",
        "failed: ssh_keys: Azure gave no SSH key",
    ),
    "sudo missing": (
        (),
        {},
        without_sudo,
        1,
        "user: sudo is not installed",
        "install it, or set `sudo: none`",
        "failed: user: sudo is not installed: install it",
    ),
    "unknown key in the YAML": (
        (),
        {},
        with_yaml("handlers:\n  - hostnam\n"),
        2,
        "/etc/azurelite/azurelite.yaml:2:5: unknown handler 'hostnam'",
        "did you mean 'hostname'?",
        "azurelite: error: /etc/azurelite/azurelite.yaml:2:5",
    ),
    "broken YAML": (
        (),
        {},
        with_yaml("handlers:\n  - user: {sudo\n"),
        2,
        "/etc/azurelite/azurelite.yaml:3:1: not valid YAML",
        "Correct it there or above",
        "azurelite: error: /etc/azurelite/azurelite.yaml:3:1",
    ),
}


@pytest.mark.parametrize("name", BOOTS)
def test_the_console_names_cause_and_remedy(name: str, guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    faults, vm, prepare, code, cause, remedy, last = BOOTS[name]
    given = Scenario.default().vm.changed({"password": None, **vm}, where="test")
    with Simulator(Scenario(given, faults)) as fabric:
        guest.on_azure().configure(fabric, datasource=NO_DISC)
        prepare(guest, fabric)
        assert main(["provision", "--root", guest.root]) == code
    said = capsys.readouterr()
    console = said.err + said.out
    assert cause in console, console
    assert remedy in console
    assert any(line.startswith(last) for line in console.splitlines()[-4:]), console


def test_without_sudo_the_keys_do_not_send_the_reader_elsewhere(
    guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    with Simulator(Scenario.default()) as fabric:
        without_sudo(guest.on_azure(), fabric)
        assert main(["provision", "--root", guest.root]) == 1
    said = capsys.readouterr().err
    assert "ssh_keys: the account azureuser does not exist, because `user` failed" in said
    assert "list `user`" not in said


# Run in namespaces of their own. The first: the guest on a small disk that is full.
FULL = """
import subprocess, sys
sys.path[:0] = sys.argv[2:]
from azurelite.cli import main
from azurelite.simulator import Scenario, Simulator
from kit import BASE, Guest
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "none", sys.argv[1]], check=True)
guest = Guest(sys.argv[1]).put(BASE).on_azure()
with Simulator(Scenario.default()) as fabric:
    guest.configure(fabric, datasource={"deadline": 3, "media": {"device": "none"}}, handlers=["user", "report_ready"])
    try:
        guest.path("fill").write_bytes(bytes(1 << 20))
    except OSError:
        pass
    sys.exit(main(["provision", "--root", guest.root]))
"""
# The second: no network but an interface that is down, so that the kernel has no route.
NO_DHCP = """
import sys
sys.path[:0] = sys.argv[2:]
from azurelite.cli import main
from kit import BASE, Guest
guest = Guest(sys.argv[1]).put(BASE).on_azure()
nic = {"operstate": "down\\n", "type": "1\\n", "address": "00:0d:3a:00:00:01\\n", "carrier": "0\\n", "ifindex": "2\\n"}
guest.put({f"sys/class/net/eth0/{name}": text for name, text in nic.items()})
guest.put({"sys/bus/vmbus/drivers/hv_netvsc/bind": ""})
guest.path("sys/class/net/eth0/device").mkdir()
guest.path("sys/class/net/eth0/device/driver").symlink_to("../../../../bus/vmbus/drivers/hv_netvsc")
guest.put({"proc/net/route": "Iface\\tDestination\\tGateway\\tFlags\\tRefCnt\\tUse\\tMetric\\tMask\\n"})
guest.configure(datasource={"deadline": 2, "imds": {"deadline": 1}, "media": {"device": "none"}})
sys.exit(main(["provision", "--root", guest.root]))
"""
IN_NAMESPACES = {
    "full disk": (
        FULL,
        "--mount",
        1,
        "user: cannot",
        "No space left on device: free space there, or give the VM a larger disk",
        "failed: user: cannot",
    ),
    "no DHCP": (
        NO_DHCP,
        "--net",
        3,
        "imds: unreachable: no route to 169.254.169.254 (eth0 is down)",
        "Bring the network up before azurelite starts, or set `datasource.dhcp: ephemeral`",
        "unreachable: user: IMDS unreachable",
    ),
}


@pytest.mark.spawns
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces")
@pytest.mark.parametrize("name", IN_NAMESPACES)
def test_the_console_of_a_boot_that_needs_a_namespace(name: str, tmp_path: Path) -> None:
    script, namespace, code, cause, remedy, last = IN_NAMESPACES[name]
    folders = [str(tmp_path), str(Path(__file__).parents[1]), str(Path(azurelite.__file__).parent.parent)]
    command = ["unshare", "--mount", "--propagation", "private", namespace, sys.executable, "-c", script, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    console = done.stderr + done.stdout
    assert done.returncode == code, console
    assert cause in console, console
    assert remedy in console
    assert any(line.startswith(last) for line in console.splitlines()[-4:]), console
