"""`hostname` on a live system: real DHCP clients tell a real server the new name, and no link or address goes.

Run as a program, this file is what runs inside the namespaces: `serve` is the DHCP server, `renew` the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import ED25519

from azurelite.system.machine import System
from azurelite.system.network.renew import publish

HERE = Path(__file__)
ADDRESS = "10.0.0.4"
MAC = "00:0d:3a:11:22:33"
LOG = Path("/run/dhcp.log")
SCENE = """
ip -n vm link set eth0 address 00:0d:3a:11:22:33
"$PYTHON" "$DRIVER" serve > /run/dhcp.log &
export SERVER=$!
exec ip netns exec vm "$PYTHON" "$DRIVER" renew "$1"
"""
UDHCPC_SCRIPT = """#!/bin/sh
case "$1" in bound|renew) ip addr replace "$ip/24" dev "$interface" ;; esac
"""
NETWORK = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n"
CLIENTS = {
    "udhcpc": ("udhcpc", "udhcpc -i eth0 -b -x hostname:old -s /run/script -p /run/udhcpc.pid"),
    "dhclient": ("isc-dhcp-client", "dhclient -cf /run/dhclient.conf -sf /bin/true -lf /run/l -pf /run/p eth0"),
    "dhcpcd": ("dhcpcd-base", "dhcpcd -q -f /run/dhcpcd.conf -c /bin/true eth0"),
}

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Renew = Callable[[str], dict[str, Any]]


@pytest.fixture
def renew(networks: list[str]) -> Renew:
    """Start a DHCP client under one name, give the machine another one, and see what the server hears of it."""

    def run(client: str) -> dict[str, Any]:
        own = {"PYTHON": sys.executable, "DRIVER": str(HERE)}
        own["PYTHONPATH"] = os.pathsep.join([*(path for path in sys.path if path), str(HERE.parent.parent)])
        stage = ["sh", str(HERE.parent / "stage.sh"), "sh", "-c", SCENE, "scene", client]
        done = subprocess.run(
            [*networks, *stage], env={**os.environ, **own}, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {**told, "said": done.stderr}

    return run


@pytest.mark.parametrize("client", [*CLIENTS, "networkd"])
def test_the_dhcp_server_receives_the_new_name_and_the_address_stays(renew: Renew, client: str) -> None:
    package = CLIENTS[client][0] if client in CLIENTS else "systemd"
    if shutil.which("networkctl" if client == "networkd" else client) is None:
        pytest.skip(f"needs `{client}`: install {package}")
    if client == "networkd" and shutil.which("dbus-daemon") is None:
        pytest.skip("needs `dbus-daemon`: install dbus-daemon")
    told = renew(client)
    assert told["before"] == ["old"], told
    assert told["changes"] == [f"send the new name to the DHCP server (service {told['called']} eth0)"]
    assert told["after"][:1] == ["new"], told
    assert ADDRESS in told["addresses"]
    assert "state DOWN" not in told["monitor"]
    if client != "networkd":  # it takes the address anew, at once
        assert "Deleted" not in told["monitor"]
    assert told["at_once"] == []  # nobody waits


@pytest.fixture
def stage(on_stage: Callable[..., Any]) -> Callable[..., list[dict[str, Any]]]:
    """Run commands in a guest whose file system is this machine's under an overlay, with a fabric beside it."""

    def run(*runs: dict[str, Any]) -> list[dict[str, Any]]:
        job = {"scenario": {"vm": {"hostname": "web_1.corp", "ssh_keys": [ED25519]}}, "runs": list(runs)}
        results: list[dict[str, Any]] = on_stage(job)
        return results

    return run


def sh(script: str, **files: str) -> dict[str, Any]:
    """A run of a shell in the guest."""
    return {"argv": ["sh", "-c", script], "files": files}


PROVISION = [sys.executable, "-m", "azurelite", "provision", "--force", "--json"]
HANDLERS = """handlers:
  - hostname: {frequency: boot, domain: corp.example, hosts: true}
  - timezone: {zone: Asia/Tokyo}
  - locale: {locale: et_EE.UTF-8}
  - report_ready
"""


def statuses(run: dict[str, Any]) -> dict[str, Any]:
    """Each step of a run: its status, and what changed."""
    return {step["name"]: (step["status"], step["changes"], step["error"]) for step in json.loads(run["out"])["steps"]}


def test_name_zone_and_language_hold_on_a_live_system(stage: Callable[..., list[dict[str, Any]]]) -> None:
    if shutil.which("locale-gen") is None:
        pytest.skip("needs `locale-gen`: install locales")
    if not Path("/usr/share/zoneinfo/Asia/Tokyo").exists():
        pytest.skip("needs time zones: install tzdata")
    config = {"/etc/azurelite/azurelite.yaml": HANDLERS}
    look = sh(
        "hostname; hostname -f; getent hosts web-1; date +%Z; locale -a | grep et_EE; . /etc/default/locale; echo $LANG"
    )
    dry, first, seen, second, _, third, kept = stage(
        {"argv": [*PROVISION, "--dry-run"], "files": config},
        {"argv": PROVISION},
        look,
        {"argv": PROVISION},
        sh("echo mine > /etc/hostname; hostname mine"),
        {"argv": PROVISION},
        sh("hostname; cat /etc/hostname; grep -c web-1 /etc/hosts"),
    )
    done = statuses(first)
    assert {name: status for name, (status, _, _) in done.items()} == dict.fromkeys(done, "done"), first
    told = statuses(dry)
    for name in ("hostname", "timezone", "locale"):
        assert told[name][1] == done[name][1] != [], name
        assert statuses(second)[name][1] == []
    assert seen["out"].splitlines() == [
        "web-1",
        "web-1.corp.example",
        "127.0.1.1       web-1.corp.example web-1",
        "JST",
        "et_EE.utf8",
        "et_EE.UTF-8",
    ]
    # A name that somebody gave the machine since stays.
    assert statuses(third)["hostname"][1] == []
    assert "mine is kept" in third["err"]
    assert kept["out"].split() == ["mine", "mine", "1"]


def serve() -> None:
    """A DHCP server whose log has the name in each request."""
    from boot.dhcp import options_of
    from live.dhcp_server import DISCOVER, OFFER, REQUEST, listen, reply

    server = listen("fab0")
    tell("ready")
    while True:
        message = server.recv(4096)
        options = options_of(message)
        kind = options.get(53, b"\0")[0]
        if kind == REQUEST:
            tell(f"request {options.get(12, b'-').decode()}")
        if kind in (DISCOVER, REQUEST):
            answer = {DISCOVER: OFFER, REQUEST: 5}[kind]
            server.sendto(reply(message, answer, own="10.0.0.1", offered=ADDRESS, bare=True), ("255.255.255.255", 68))


def names() -> list[str]:
    """The names in the requests so far."""
    return [line.split()[1] for line in LOG.read_text().splitlines() if line.startswith("request ")]


def until(ready: Callable[[], bool], *, seconds: float = 15.0) -> None:
    """Wait for something, but not for ever."""
    end = time.monotonic() + seconds
    while not ready() and time.monotonic() < end:
        time.sleep(0.05)


def machine(client: str) -> dict[str, Any]:
    """What the machine does."""
    socket.sethostname("old")
    until(lambda: "ready" in LOG.read_text())
    Path("/run/script").write_text(UDHCPC_SCRIPT)
    Path("/run/script").chmod(0o755)
    Path("/run/dhclient.conf").write_text("send host-name = gethostname();\n")
    Path("/run/dhcpcd.conf").write_text("hostname\nnoarp\nipv4only\n")
    if os.path.isdir("/var/lib/dhcpcd"):
        subprocess.run("mount -t tmpfs leases /var/lib/dhcpcd", shell=True, check=True)
    index = Path("/sys/class/net/eth0/ifindex").read_text()
    if client == "networkd":
        start_networkd()
    else:
        subprocess.run(CLIENTS[client][1], shell=True, check=True, capture_output=True)
    until(lambda: bool(names()))
    if client == "networkd":
        until(lambda: Path(f"/run/systemd/netif/leases/{index.strip()}").exists())
    fake_sysfs(index)
    before = names()
    monitor = subprocess.Popen(["sh", "-c", "exec ip monitor link address > /run/monitor"])
    time.sleep(0.3)
    socket.sethostname("new")
    system = System("/", search_path=make_patient())
    os.kill(int(os.environ["SERVER"]), signal.SIGSTOP)
    asked = publish(system, "new")
    at_once = names()[len(before) :]
    os.kill(int(os.environ["SERVER"]), signal.SIGCONT)
    Path("/run/go").touch()
    if asked is not None:
        asked.join()
    until(lambda: len(names()) > len(before))
    time.sleep(0.3)
    until(lambda: ADDRESS in addresses())
    monitor.kill()
    return {
        "before": sorted(set(before)),
        "after": names()[len(before) :],
        "changes": [str(change) for change in system.journal.since(0)],
        "called": "systemd-networkd" if client == "networkd" else client,
        "addresses": addresses(),
        "monitor": Path("/run/monitor").read_text(),
        "at_once": at_once,
    }


def make_patient() -> str:
    """A folder with a `networkctl` that does nothing until it may: who waits for it, and for the server, waits long."""
    program = Path("/run/bin/networkctl")
    program.parent.mkdir()
    go = "until [ -e /run/go ]; do sleep 0.02; done"
    program.write_text(f'#!/bin/sh\n{go}\nexec {shutil.which("networkctl")} "$@"\n')
    program.chmod(0o755)
    return str(program.parent)


def addresses() -> str:
    """The addresses of the NIC."""
    return subprocess.run(["ip", "-o", "addr", "show", "eth0"], capture_output=True, text=True, check=True).stdout


def fake_sysfs(index: str) -> None:
    """Show the NIC as Hyper-V's: the kernel says that a veth has no device below it."""
    subprocess.run("mount -t tmpfs sys /sys", shell=True, check=True)
    folder = Path("/sys/class/net/eth0")
    (folder / "device").mkdir(parents=True)
    Path("/sys/bus/vmbus/drivers/hv_netvsc").mkdir(parents=True)
    (folder / "device/driver").symlink_to("/sys/bus/vmbus/drivers/hv_netvsc")
    for name, text in {"ifindex": index, "address": MAC, "type": "1", "carrier": "1", "operstate": "up"}.items():
        (folder / name).write_text(text)


def start_networkd() -> None:
    """systemd-networkd, with a bus of its own and without systemd."""
    for folder in ("/run/systemd/network", "/run/dbus", "/run/systemd/netif/leases", "/run/systemd/netif/links"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("/run/systemd/network/10-eth0.network").write_text(NETWORK)
    subprocess.run("mount -o remount,ro,bind /sys; chown -R systemd-network /run/systemd/netif", shell=True, check=True)
    subprocess.run("ip addr flush dev eth0; dbus-daemon --system --fork", shell=True, check=True)
    program = next(
        path for path in ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd") if os.path.exists(path)
    )
    subprocess.Popen(["sh", "-c", f"exec {program} > /run/networkd.log 2>&1"])


def tell(line: str) -> None:
    """Write a line for who waits for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """What runs inside the namespaces."""
    if sys.argv[1] == "serve":
        serve()
    else:
        tell(json.dumps(machine(sys.argv[2])))


if __name__ == "__main__":
    main()
