"""Reaching Azure's addresses, or not: real NICs, routes, firewall rules and DHCP clients in namespaces of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

HERE = Path(__file__).parent
TWO_NICS = """
ip -n vm addr add 10.0.0.4/24 dev eth0; ip -n vm link set eth0 up
ip -n vm addr add 10.0.1.4/24 dev eth1; ip -n vm link set eth1 up
"$PYTHON" "$DRIVER" serve 168.63.129.16 > /run/serve.log & wait_for /run/serve.log ready
"""
DEFAULT_BY_THE_FIRST = TWO_NICS + "ip -n vm route add default via 10.0.0.1\n"
DEFAULT_BY_THE_SECOND = TWO_NICS + "ip -n vm route add default via 10.0.1.1\n"
PACKAGES = {"udhcpc": "udhcpc", "dhclient": "isc-dhcp-client", "dhcpcd": "dhcpcd-base"}
ROUTES = [["0.0.0.0/0", "10.0.1.1"], ["168.63.129.16/32", "10.0.1.1"], ["169.254.169.254/32", "10.0.1.1"]]

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Scene = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def scene(networks: list[str], tmp_path: Path) -> Scene:
    """Play a scene; what each `azl` of it told."""

    def play(script: str, **environment: str) -> list[dict[str, Any]]:
        own = {
            "PYTHON": sys.executable,
            "DRIVER": str(HERE / "reach_driver.py"),
            "SERVER": str(HERE / "dhcp_server.py"),
        }
        own["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [*networks, "sh", str(HERE / "reach.sh"), script],
            env={**os.environ, **own, "SHIMS": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return play


def test_a_named_interface_is_the_one_that_is_asked_by(scene: Scene) -> None:
    """The default route leads nowhere; the second NIC leads to WireServer and has no route of its own to it."""
    by_route, by_name, by_wrong_name = scene(
        DEFAULT_BY_THE_FIRST + "azl ask 168.63.129.16; azl ask 168.63.129.16 eth1; azl ask 168.63.129.16 eth0"
    )
    assert "connection timeout" in by_route["failed"]
    assert by_name == {"body": "ok"}
    assert "connection" in by_wrong_name["failed"]


def test_a_named_interface_needs_no_privilege(scene: Scene) -> None:
    (answer,) = scene(DEFAULT_BY_THE_SECOND + "azl ask 168.63.129.16 eth1 65534")
    assert answer == {"body": "ok"}


def test_an_interface_that_does_not_exist_is_an_error_of_the_configuration(scene: Scene) -> None:
    (answer,) = scene("azl ask 168.63.129.16 hn0")
    assert answer["kind"] == "ConfigError"
    assert "this machine has no 'hn0': set auto or one of eth0, eth1, lo" in answer["failed"]


def test_an_interface_without_an_address_says_so(scene: Scene) -> None:
    (answer,) = scene("ip -n vm link set eth1 up; azl ask 168.63.129.16 eth1")
    assert "eth1 has no IPv4 address" in answer["failed"]


def test_no_route_at_all(scene: Scene) -> None:
    (answer,) = scene(TWO_NICS + "azl ask 168.63.129.16")
    assert "Network is unreachable" in answer["failed"]
    assert "no route to 168.63.129.16 and no default route" in answer["why"]
    assert "proxies are never used" in answer["why"]


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
def test_a_route_that_rejects_is_named(scene: Scene, kind: str) -> None:
    (answer,) = scene(DEFAULT_BY_THE_SECOND + f"ip -n vm route add {kind} 168.63.129.16; azl ask 168.63.129.16")
    assert f"a route of type {kind} blocks 168.63.129.16" in answer["why"]


def test_systemds_imds_service_is_named_where_it_holds_the_address(scene: Scene) -> None:
    """It sets a prohibit route in a table of its own; its socket shows that it is there."""
    (answer,) = scene(
        DEFAULT_BY_THE_SECOND
        + "ip -n vm route add prohibit 169.254.169.254 table 200\n"
        + "ip -n vm rule add lookup 200 pref 9\n"
        "mkdir -p /run/systemd; touch /run/systemd/io.systemd.InstanceMetadata; azl ask 169.254.169.254"
    )
    assert "Permission denied" in answer["failed"]
    assert "systemd.imds.network=unlocked" in answer["why"]


def test_a_gateway_that_is_not_there(scene: Scene) -> None:
    (answer,) = scene(
        TWO_NICS + "ip -n vm route add default via 10.0.1.99\n"
        "vm sh -c 'echo 1 > /proc/sys/net/ipv4/neigh/eth1/mcast_solicit'; azl ask 168.63.129.16"
    )
    assert "the gateway 10.0.1.99 does not answer on eth1" in answer["why"]


NFT = """vm nft add table ip security
vm nft add chain ip security OUTPUT '{ type filter hook output priority 50; }'
vm nft add rule ip security OUTPUT ip daddr 168.63.129.16 meta skuid != 0 ct state invalid,new counter drop
"""
IPTABLES = """vm iptables -t security -A OUTPUT -d 168.63.129.16 -p tcp -m owner --uid-owner 0 -j ACCEPT
vm iptables -t security -A OUTPUT -d 168.63.129.16 -p tcp -m conntrack --ctstate INVALID,NEW -j DROP
"""


FIREWALLS = [("nft", "nftables", NFT), ("iptables", "iptables", IPTABLES)]


@pytest.mark.parametrize(("tool", "package", "rules"), FIREWALLS, ids=["nft", "iptables"])
def test_a_rule_that_drops_what_others_than_root_ask(scene: Scene, tool: str, package: str, rules: str) -> None:
    """The Azure Linux agent sets these; root is answered, others wait for nothing."""
    if shutil.which(tool) is None:
        pytest.skip(f"needs `{tool}`: install {package}")
    set_rules = "if ! { " + " && ".join(rules.splitlines()) + """; }; then echo '{"lacks": "rules"}'; exit 0; fi\n"""
    told = scene(DEFAULT_BY_THE_SECOND + set_rules + "azl ask 168.63.129.16; azl ask 168.63.129.16 '' 65534")
    if told == [{"lacks": "rules"}]:
        pytest.skip(f"this kernel lacks what `{tool}` needs for the rule: connection tracking, or the owner's match")
    as_root, as_nobody = told
    assert as_root == {"body": "ok"}
    assert "connection timeout" in as_nobody["failed"]
    assert "Run as root" in as_nobody["why"]
    assert "waagent" not in as_nobody["why"] or "table security" in as_nobody["why"]


SERVED = """
ip -n vm link set eth1 up; settle eth1; ip -n vm link set eth1 @
ip -n vm link set eth0 name spare; ip -n vm link set eth1 down
ip -n vm link set eth1 name eth0; ip -n vm link set eth0 @
[ @ = down ] || settle eth0
"$PYTHON" "$SERVER" fab1 10.0.1.1 10.0.1.4 HOW > /run/served.log & wait_for /run/served.log ready
"$PYTHON" "$DRIVER" serve 168.63.129.16 > /run/serve.log & wait_for /run/serve.log ready
"""


def only(client: str, folder: Path) -> None:
    """Let the search find one of the clients: the others are there, and refuse."""
    if shutil.which(client) is None:
        pytest.skip(f"needs `{client}`: install {PACKAGES[client]}")
    for other in set(PACKAGES) - {client}:
        (folder / other).write_text("#!/bin/sh\nexit 1\n")
        (folder / other).chmod(0o755)


@pytest.mark.parametrize("link", ["up", "down"])
@pytest.mark.parametrize("client", sorted(PACKAGES))
class TestEphemeralLease:
    def test_it_is_applied_and_taken_back(self, scene: Scene, tmp_path: Path, client: str, link: str) -> None:
        only(client, tmp_path)
        (told,) = scene(SERVED.replace("@", link).replace("HOW", "") + "azl lease eth0 30")
        assert "failed" not in told, told
        assert (told["address"], told["prefix"], told["wireserver"]) == ("10.0.1.4", 24, "168.63.129.16")
        assert told["routes"] == ROUTES
        assert "inet 10.0.1.4/24" in told["addresses"]
        assert "168.63.129.16 via 10.0.1.1 dev eth0" in told["table"]
        assert told["changed"] == []

    def test_it_is_taken_back_when_the_work_under_it_fails(
        self, scene: Scene, tmp_path: Path, client: str, link: str
    ) -> None:
        only(client, tmp_path)
        (told,) = scene(SERVED.replace("@", link).replace("HOW", "bare") + "azl lease eth0 30 fail")
        assert told["failed"] == "KeyboardInterrupt"
        assert told["routes"] == ROUTES[:1]
        assert told["changed"] == []


@pytest.mark.parametrize("client", sorted(PACKAGES))
def test_without_a_dhcp_server_it_ends_in_time(scene: Scene, tmp_path: Path, client: str) -> None:
    only(client, tmp_path)
    (told,) = scene(SERVED.replace("@", "down").replace("HOW", "silent") + "azl lease eth0 3")
    assert "no DHCP lease on eth0" in told["failed"]
    assert told["changed"] == []


def test_what_the_system_set_itself_stays(scene: Scene, tmp_path: Path) -> None:
    """The system's own address and default route are there already: neither is doubled, and neither goes."""
    only("udhcpc", tmp_path)
    (told,) = scene(
        SERVED.replace("@", "up").replace("HOW", "")
        + "ip -n vm addr add 10.0.1.4/24 dev eth0; ip -n vm route add default via 10.0.1.1 metric 100\n"
        + "azl lease eth0 30"
    )
    assert "failed" not in told
    assert told["addresses"].count("inet 10.0.1.4/24") == 1
    assert told["changed"] == []


def test_busyboxs_ip_does_as_well(scene: Scene, tmp_path: Path) -> None:
    only("udhcpc", tmp_path)
    busybox = shutil.which("busybox")
    if (
        busybox is None
        or "\nip\n" not in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=False).stdout
    ):
        pytest.skip("needs BusyBox's own `ip`: install busybox")
    (tmp_path / "ip").symlink_to(busybox)
    (told,) = scene(SERVED.replace("@", "down").replace("HOW", "") + "azl lease eth0 30")
    assert "failed" not in told, told
    assert told["routes"] == ROUTES
    assert "169.254.169.254 via 10.0.1.1 dev eth0" in told["table"]
    assert told["changed"] == []
