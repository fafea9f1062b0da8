"""contrib/hostname on a live system: a changed name is sent through the running DHCP client, an unchanged one is not.

The client is a program called NetworkManager, and its `nmcli` writes down each request and the machine's name by then.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable

import pytest

FOLDER = Path(__file__).parents[2] / "contrib" / "hostname"
PROGRAM = "/usr/local/sbin/azurelite-publish-hostname"
ASKED = "--wait 0 device reapply eth0"
PLACES = {
    PROGRAM: FOLDER / "azurelite-publish-hostname",
    "/run/hooks/networkmanager": FOLDER / "networkmanager-dispatcher",
    "/run/hooks/ifupdown": FOLDER / "ifupdown-hook",
    "/run/hooks/dhcpcd": FOLDER / "dhcpcd-hook",
}
FILES = {
    **{place: file.read_text() for place, file in PLACES.items()},
    "/usr/local/bin/azurelite": f'#!/bin/sh\nexec {sys.executable} -m azurelite "$@"\n',
    "/usr/local/bin/nmcli": '#!/bin/sh\necho "$* $(uname -n)" >>/run/asked\n',
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 web-1\n",
    "/etc/hostname": "web-1\n",
    # A drop-in with a list of its own, and a name that is set at each boot.
    "/etc/azurelite/conf.d/1.yaml": "handlers:\n  - hostname: {name: other, frequency: boot}\n",
    "/sys/class/net/eth0/address": "00:0d:3a:11:22:33\n",
    "/sys/class/net/eth0/type": "1\n",
    "/sys/class/net/eth0/carrier": "1\n",
    "/sys/class/net/eth0/ifindex": "2\n",
}
START = f"""
chmod 755 {" ".join(PLACES)} /usr/local/bin/azurelite /usr/local/bin/nmcli
mkdir -p /sys/class/net/eth0/device /sys/bus/vmbus/drivers/hv_netvsc
ln -s /sys/bus/vmbus/drivers/hv_netvsc /sys/class/net/eth0/device/driver
hostname web-1
cp "$(command -v sleep)" /run/NetworkManager
/run/NetworkManager 100 >/dev/null 2>&1 </dev/null &
"""
NETWORKMANAGER, IFUPDOWN = "/run/hooks/networkmanager", "/run/hooks/ifupdown"
DHCPCD = "reason={}; . /run/hooks/dhcpcd; echo goes on"
# What happens on the machine, and the name that the DHCP client is asked to send then.
STEPS: list[tuple[str, str]] = [
    (PROGRAM, "web-1"),  # the first call of a boot
    (PROGRAM, ""),
    (f"echo web-2 >/etc/hostname; hostname web-2; {PROGRAM}", "web-2"),  # as by hostnamectl
    (PROGRAM, ""),
    (f"printf '# mine\\n\\nweb-3.corp.example' >/etc/hostname; {PROGRAM}", "web-3.corp.example"),  # as by an editor
    (PROGRAM, ""),
    (f"{PROGRAM} --again", "web-3.corp.example"),
    (f"rm /etc/hostname; hostname web-4; {PROGRAM}", "web-4"),
    (f"echo localhost >/etc/hostname; {PROGRAM}", ""),
    (f"echo web-5 >/etc/hostname; {NETWORKMANAGER} eth0 up", ""),
    (f"{NETWORKMANAGER} '' hostname", "web-5"),
    (f"{NETWORKMANAGER} none hostname", ""),
    (f"METHOD=static {IFUPDOWN}", ""),
    (f"METHOD=dhcp {IFUPDOWN}", "web-5"),
    (f"echo web-6 >/etc/hostname; {DHCPCD.format('PREINIT')}", ""),
    (DHCPCD.format("BOUND"), "web-6"),
]

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]
OnStage = Callable[..., Any]


def live(on_stage: OnStage, *scripts: str) -> list[dict[str, Any]]:
    """Run scripts in the guest, one after the other, each with an empty record of the requests."""
    runs: list[dict[str, Any]] = [{"argv": ["sh", "-c", START], "files": FILES}]
    runs += [{"argv": ["sh", "-c", f">/run/asked\n{script}"]} for script in scripts]
    runs = [run for one in runs for run in (one, {"argv": ["sh", "-c", "cat /run/asked /etc/hosts"]})]
    results: list[dict[str, Any]] = on_stage({"scenario": {"vm": {}}, "runs": runs})[2:]
    return [{**done, "seen": seen["out"]} for done, seen in zip(results[::2], results[1::2])]


def test_only_a_changed_name_is_sent_and_hosts_stays(on_stage: OnStage) -> None:
    results = live(on_stage, *(script for script, _ in STEPS))
    assert [result["code"] for result in results] == [0] * len(STEPS), results
    told = [result["seen"].partition("127.0.0.1")[0] for result in results]
    assert told == [f"{ASKED} {name}\n" if name else "" for _, name in STEPS]
    assert all(result["seen"].endswith(FILES["/etc/hosts"]) for result in results)
    assert "goes on" in results[-1]["out"]
    assert [result["requests"] for result in results] == [[]] * len(STEPS)


@pytest.mark.parametrize("name", ["web_2", "a..b", "-a", "a-.b", "x" * 64, "'; reboot; '", "{}", "ä"])
def test_a_name_that_dns_cannot_have_is_refused(on_stage: OnStage, name: str) -> None:
    first, again = live(on_stage, f'echo "{name}" >/etc/hostname; {PROGRAM}', f"{PROGRAM} --agian")
    assert (first["code"], first["seen"]) == (1, FILES["/etc/hosts"])
    assert "use letters, digits" in first["err"]
    assert (again["code"], again["err"]) == (2, "usage: azurelite-publish-hostname [--again]\n")


def test_a_failed_call_is_repeated(on_stage: OnStage) -> None:
    broken = "echo 'handlers: [' >/etc/azurelite/azurelite.yaml"
    first, again = live(on_stage, f"{broken}; {PROGRAM}", f"rm /etc/azurelite/azurelite.yaml; {PROGRAM}")
    assert (first["code"], first["seen"]) == (2, FILES["/etc/hosts"])
    assert again["seen"].startswith(f"{ASKED} web-1\n")
