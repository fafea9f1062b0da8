"""What `network` writes, read and carried out by the programs that it is written for, with DHCP behind each NIC.

The programs are unpacked by tests/live/fetch_tools.sh, laid over a guest made of namespaces, and gone with the test.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

HERE = Path(__file__).parent
TOOLS = Path("/var/cache/azurelite-test-tools/tree")
AZURELITE = f"{sys.executable} -m azurelite"

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Sections = dict[str, str]
Play = Callable[[str], Sections]

NETWORK = {
    "interface": [
        {
            "macAddress": "000D3A5E7B21",
            "ipv4": {
                "ipAddress": [{"privateIpAddress": "10.0.0.4"}, {"privateIpAddress": "10.0.0.5"}],
                "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
            },
            "ipv6": {"ipAddress": [{"privateIpAddress": "fd00::4"}, {"privateIpAddress": "fd00::5"}]},
        },
        {
            "macAddress": "000D3A5E7B22",
            "ipv4": {
                "ipAddress": [{"privateIpAddress": "10.0.1.4"}, {"privateIpAddress": "10.0.1.5"}],
                "subnet": [{"address": "10.0.1.0", "prefix": "24"}],
            },
            "ipv6": {"ipAddress": []},
        },
    ]
}

# Until the last address that DHCP gives is there, ten seconds at most.
LEASED = """leased() {
    n=0; until ip -4 addr show "$1" | grep -q "inet $2/" || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done
}
"""
NETWORKD = """networkd() {
    SYSTEMD_LOG_LEVEL=info SYSTEMD_LOG_TARGET=console real_sys /lib/systemd/systemd-networkd > /run/log 2>&1 &
}
"""
CATCH_ALL = "printf '[Match]\\nName=*\\n[Network]\\nDHCP=yes\\n' > /etc/systemd/network/80-all.network\n"
LOOK = "section addr; ip -o addr; section route; ip -4 route; section log; cat /run/log\n"


def handle(**options: Any) -> str:
    """A line of shell that runs the handler."""
    config = yaml.safe_dump({"handlers": [{"network": options or None}]})
    return (
        f"printf %s {shlex.quote(config)} > /run/config.yaml\n"
        f"printf %s {shlex.quote(json.dumps({'network': NETWORK}))} > /run/metadata.json\n"
        f"apply() {{ {AZURELITE} apply network --config /run/config.yaml --metadata /run/metadata.json --json $*; }}\n"
    )


@pytest.fixture
def play(networks: list[str]) -> Play:
    """Run a script on the stage; what it printed behind each `section NAME`."""
    if not TOOLS.is_dir():
        pytest.skip("needs the programs themselves: run tests/live/fetch_tools.sh")

    def run(script: str) -> Sections:
        needed = sorted({sys.prefix, sys.base_prefix, os.getcwd()})
        command = [*networks, "sh", str(HERE / "network_stage.sh"), str(TOOLS), sys.executable, *needed]
        prelude = 'section() { echo "== $1"; }\n' + LEASED + NETWORKD
        done = subprocess.run(command, input=prelude + script, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        parts = done.stdout.split("== ")[1:]
        return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}

    return run


def addresses(text: str) -> set[tuple[str, str]]:
    """(interface, address) out of `ip -o addr`, without the loopback's and the link-local ones."""
    words = [line.split() for line in text.splitlines()]
    return {(word[1], word[3]) for word in words if word[1] != "lo" and not word[3].startswith("fe80:")}


EVERYTHING = {
    ("eth0", "10.0.0.4/24"),
    ("eth0", "10.0.0.5/32"),
    ("eth0", "fd00::5/128"),
    ("eth1", "10.0.1.4/24"),
    ("eth1", "10.0.1.5/32"),
}


def routes(text: str) -> list[str]:
    """The lines of `ip route` for the default and for the NICs' own subnets, without what does not matter here."""
    kept = [line.split() for line in text.splitlines() if line.startswith(("default", "10.0.0.0/24", "10.0.1.0/24"))]
    return [
        " ".join(word for word in words if word not in ("proto", "dhcp", "kernel", "scope", "link")) for words in kept
    ]


ROUTES = [
    "default via 10.0.0.1 dev eth0 src 10.0.0.4 metric 100",
    "default via 10.0.1.1 dev eth1 src 10.0.1.4 metric 200",
    "10.0.0.0/24 dev eth0 src 10.0.0.4 metric 100",
    "10.0.1.0/24 dev eth1 src 10.0.1.4 metric 200",
]


def complaints(log: str) -> list[str]:
    """What systemd says of keys that it does not know or cannot use."""
    words = ("Unknown", "Failed to parse", "Invalid", ", ignoring")
    return [line for line in log.splitlines() if any(word in line for word in words)]


def test_networkd_configures_both_nics_but_not_the_accelerated_devices(play: Play) -> None:
    seen = play(
        handle(renderer="networkd")
        + "apply > /dev/null\n"
        + CATCH_ALL
        + "networkd\nleased eth0 10.0.0.4; leased eth1 10.0.1.4\n"
        + LOOK
    )
    assert addresses(seen["addr"]) == EVERYTHING
    assert routes(seen["route"]) == ROUTES
    assert complaints(seen["log"]) == []
    assert "twin: Configuring" not in seen["log"]


# br0 on eth1, with its MAC; /sys of the stage shows it.
BRIDGE = """ip link add br0 type bridge; ip link set br0 address 00:0d:3a:5e:7b:22; ip link set eth1 master br0
ip link set eth1 up; ip link set br0 up
mkdir -p /sys/class/net/br0; echo 9 > /sys/class/net/br0/ifindex; echo 00:0d:3a:5e:7b:22 > /sys/class/net/br0/address
mkdir -p /sys/class/net/eth1/upper_br0
printf '[Match]\\nName=br0\\n[Network]\\nDHCP=ipv4\\n' > /etc/systemd/network/10-br0.network
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_bridge_on_a_nic_is_configured_and_the_nic_is_not(play: Play, when: str) -> None:
    """It is there when azurelite runs, or comes later. networkd must not take it for the second device of the NIC."""
    apply = "section apply; apply 2>&1\n"
    seen = play(
        handle(renderer="networkd")
        + (BRIDGE + apply if when == "before" else apply + BRIDGE)
        + f"networkd\nleased eth0 10.0.0.4\nleased {'br0' if when == 'before' else 'eth1'} 10.0.1.4\n"
        + LOOK
    )
    assert "br0: Configuring with /etc/systemd/network/10-br0.network" in seen["log"]
    assert complaints(seen["log"]) == []
    if when == "before":
        assert {at for at in addresses(seen["addr"]) if at[0] != "eth0"} == {("br0", "10.0.1.4/24")}
        assert "eth1 is not configured, because it is part of br0" in seen["apply"]


def test_applied_to_a_running_networkd_the_primary_nic_keeps_address_and_lease(play: Play) -> None:
    seen = play(
        handle(renderer="networkd", apply=True)
        + CATCH_ALL
        + "dbus-daemon --system --fork --nopidfile\nnetworkd\nleased eth0 10.0.0.4; leased eth1 10.0.1.4\n"
        "ip monitor address > /run/monitor &\nsleep 0.3\n"
        "section dry; apply --dry-run\nsection real; apply\nsection again; apply\n"
        "leased eth1 10.0.1.4; sleep 1; section monitor; grep Deleted /run/monitor || true\n" + LOOK
    )
    dry, real, again = (json.loads(seen[name])["steps"][0] for name in ("dry", "real", "again"))
    assert dry["changes"] == real["changes"]
    assert [change for change in real["changes"] if "reload" in change] == ["reload service systemd-networkd"]
    assert again["changes"] == []
    assert addresses(seen["addr"]) == EVERYTHING
    assert "dev eth1 src 10.0.1.4 metric 200" in "\n".join(routes(seen["route"]))
    assert "eth0" not in seen["monitor"]
    assert "eth0: Reconfiguring" not in seen["log"]
    assert "eth1: Reconfiguring with /etc/systemd/network/05-azurelite" in seen["log"]


def test_networkmanager_brings_both_nics_up(play: Play) -> None:
    seen = play(
        handle(renderer="networkmanager")
        + "apply > /dev/null\nmkdir -p /run/NetworkManager\n"
        + "timeout 60 unshare --mount sh -c 'umount /sys; mount -t sysfs -o ro sys /sys; exec "
        "/usr/sbin/NetworkManager --configure-and-quit=initrd -d --log-level=INFO' > /run/log 2>&1\n"
        "section config; /usr/sbin/NetworkManager --print-config\n" + LOOK
    )
    assert addresses(seen["addr"]) == EVERYTHING
    assert routes(seen["route"]) == ROUTES
    assert "starting connection 'azurelite-000d3a5e7b21'" in seen["log"]
    assert not [line for line in seen["log"].splitlines() if "azurelite" in line and "<warn>" in line]
    assert "[device-azurelite-not-veth]\nmatch-device=mac:00:0d:3a:5e:7b:21;mac:00:0d:3a:5e:7b:22;" in seen["config"]


LEFT_BY_CLOUD_INIT = """[connection]
id=cloud-init eth0
uuid=1dd9a779-d327-56e1-8454-c65e2556c12c
autoconnect-priority=120
type=ethernet
interface-name=eth0

[ipv4]
method=auto
"""


def test_networkmanager_takes_azurelites_profile_and_not_cloud_inits(play: Play) -> None:
    left = "/etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection"
    seen = play(
        handle(renderer="networkmanager")
        + f"apply > /dev/null\nmkdir -p /run/NetworkManager\nprintf %s {shlex.quote(LEFT_BY_CLOUD_INIT)} > {left}\n"
        + f"chmod 600 {left}\n"
        + "timeout 60 unshare --mount sh -c 'umount /sys; mount -t sysfs -o ro sys /sys; exec "
        "/usr/sbin/NetworkManager --configure-and-quit=initrd -d --log-level=INFO' > /run/log 2>&1\n" + LOOK
    )
    assert "starting connection 'azurelite-000d3a5e7b21'" in seen["log"]
    assert addresses(seen["addr"]) == EVERYTHING


def test_nmcli_reads_the_profiles_as_they_are_meant(play: Play) -> None:
    seen = play(
        handle(renderer="networkmanager") + "apply > /dev/null\nfor nic in 1 2; do section $nic; "
        "nmcli --offline connection modify connection.autoconnect yes "
        "< /etc/NetworkManager/system-connections/azurelite-000d3a5e7b2$nic.nmconnection; done\n"
    )
    assert "driver=veth;" in seen["1"]
    assert "address1=10.0.0.5/32" in seen["1"]
    assert "route-metric=100" in seen["1"]
    assert "ignore-auto-dns=true" in seen["2"]
    assert "mac-address=00:0D:3A:5E:7B:22" in seen["2"]


def test_applied_to_a_running_networkmanager_active_nics_stay_as_they_are(play: Play) -> None:
    seen = play(
        handle(renderer="networkmanager", apply=True) + "dbus-daemon --system --fork --nopidfile\n"
        "real_sys /usr/sbin/NetworkManager -n --log-level=INFO > /run/log 2>&1 &\n"
        "leased eth0 10.0.0.4; leased eth1 10.0.1.4\nip monitor address > /run/monitor &\nsleep 0.3\n"
        "section dry; apply --dry-run\nsection real; apply\nsection again; apply\n"
        "section profiles; nmcli -g NAME connection show\nsection monitor; grep Deleted /run/monitor || true\n" + LOOK
    )
    dry, real, again = (json.loads(seen[name])["steps"][0] for name in ("dry", "real", "again"))
    assert dry["changes"] == real["changes"]
    assert "reload service NetworkManager" in real["changes"]
    assert again["changes"] == []
    assert "azurelite-000d3a5e7b22" in seen["profiles"].splitlines()
    assert seen["monitor"] == ""
    assert addresses(seen["addr"]) == EVERYTHING


def test_netplan_hands_both_nics_to_networkd(play: Play) -> None:
    seen = play(
        "mkdir -p /etc/netplan; chmod 755 /etc/netplan\n"
        + handle()
        + "apply > /dev/null\n/usr/lib/netplan/generate --root-dir / > /run/said 2>&1\n"
        # A veth has no permanent address; a NIC of Hyper-V has, and it is the same.
        "sed -i s/PermanentMACAddress/MACAddress/ /run/systemd/network/*\n"
        "section said; cat /run/said\nnetworkd\nleased eth0 10.0.0.4; leased eth1 10.0.1.4\n" + LOOK
    )
    assert seen["said"] == ""
    assert addresses(seen["addr"]) == EVERYTHING
    assert routes(seen["route"]) == ROUTES
    assert complaints(seen["log"]) == []


DEBIANS = """network:
    version: 2
    ethernets:
        all-en: {match: {name: en*}, dhcp4: true, dhcp6: true}
        all-eth: {match: {name: eth*}, dhcp4: true, dhcp6: true}
"""


def test_it_wins_beside_the_file_of_debians_images_for_clouds(play: Play) -> None:
    seen = play(
        f"mkdir -p /etc/netplan; printf %s {shlex.quote(DEBIANS)} > /etc/netplan/90-default.yaml\n"
        "chmod 600 /etc/netplan/*\n"
        + handle()
        + "apply > /dev/null\n/usr/lib/netplan/generate --root-dir /\n"
        + "sed -i s/PermanentMACAddress/MACAddress/ /run/systemd/network/*\n"
        + "networkd\nleased eth0 10.0.0.4; leased eth1 10.0.1.4\n"
        + LOOK
    )
    assert addresses(seen["addr"]) == EVERYTHING, seen["log"]
    assert routes(seen["route"]) == ROUTES


def test_netplan_renames_with_set_name(play: Play) -> None:
    seen = play(
        "mkdir -p /etc/netplan\n"
        + handle(set_name=True)
        + "apply > /dev/null\n/usr/lib/netplan/generate --root-dir /\n"
        "section link; cat /run/systemd/network/*7b22.link\n"
    )
    assert "PermanentMACAddress=00:0d:3a:5e:7b:22" in seen["link"]
    assert "Name=eth1" in seen["link"]


def test_behind_a_netplan_for_networkmanager_it_speaks_to_networkmanager(play: Play) -> None:
    seen = play(
        "mkdir -p /etc/netplan\nprintf 'network: {version: 2, renderer: NetworkManager}\\n' > /etc/netplan/01.yaml\n"
        + handle()
        + "apply > /dev/null\nsection files; ls /etc/netplan /etc/NetworkManager/system-connections\n"
    )
    assert "azurelite-000d3a5e7b21.nmconnection" in seen["files"]
    assert "50-azurelite" not in seen["files"]


INTERFACES = (
    "printf 'source /etc/network/interfaces.d/*\\nauto lo\\niface lo inet loopback\\n%s' > /etc/network/interfaces\n"
)


def test_ifupdown_brings_a_nic_up_by_its_stanza(play: Play) -> None:
    seen = play(
        INTERFACES % "auto eth0\\niface eth0 inet dhcp\\n"
        + handle(renderer="ifupdown")
        + "apply > /dev/null\nsection query; ifquery --list -a\nsection plan; ifup --no-act --verbose -a 2>&1\n"
        "section up; ifup eth1 > /run/log 2>&1 || true; leased eth1 10.0.1.4\n" + LOOK
    )
    assert seen["query"].split() == ["lo", "eth1", "eth0"]
    assert "ip address replace 10.0.0.5/32 dev eth0\n" in seen["plan"]
    assert seen["plan"].count("dhclient -4") + seen["plan"].count("udhcpc") + seen["plan"].count("dhcpcd") == 2
    assert addresses(seen["addr"]) == {("eth1", "10.0.1.4/24"), ("eth1", "10.0.1.5/32")}, seen["log"]


def test_ifupdown_asks_dhcp_once_where_another_folder_has_the_nic(play: Play) -> None:
    """As on Debian's images for clouds, where cloud-ifupdown-helper fills the folder below /run."""
    seen = play(
        "mkdir -p /run/network/interfaces.d\n"
        "printf 'auto eth0\\niface eth0 inet dhcp\\n' > /run/network/interfaces.d/eth0\n"
        + INTERFACES % "source /run/network/interfaces.d/*\\n"
        + handle(renderer="ifupdown")
        + "apply > /dev/null\nsection plan; ifup --no-act --verbose -a 2>&1\n"
    )
    clients = [
        line for line in seen["plan"].splitlines() if any(word in line for word in ("dhclient -4", "udhcpc", "dhcpcd"))
    ]
    assert len(clients) == 2, seen["plan"]
    assert "ip address replace 10.0.0.5/32 dev eth0\n" in seen["plan"]


def test_applied_with_ifupdown_the_addresses_are_there_at_once(play: Play) -> None:
    seen = play(
        INTERFACES % ""
        + handle(renderer="ifupdown", apply=True)
        + "section dry; apply --dry-run\nsection real; apply\nsection again; apply\nsection addr; ip -o addr\n"
    )
    dry, real, again = (json.loads(seen[name])["steps"][0] for name in ("dry", "real", "again"))
    assert dry["changes"] == real["changes"]
    assert again["changes"] == []
    assert addresses(seen["addr"]) == {item for item in EVERYTHING if not item[1].endswith("/24")}


@pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox: install busybox")
def test_busybox_reads_the_stanzas(play: Play) -> None:
    seen = play(
        "rm -f /sbin/ifup /usr/sbin/ifup; ln -s $(command -v busybox) /usr/sbin/ifup\n"
        + INTERFACES % ""
        + handle(renderer="ifupdown")
        + "apply > /dev/null\nmkdir -p /var/run /run/network\n"
        "section plan; busybox ifup -n -v -a -i /etc/network/interfaces.d/azurelite 2>&1\n"
    )
    assert "ip address replace 10.0.0.5/32 dev eth0" in seen["plan"]
    assert "ip address replace 10.0.1.5/32 dev eth1" in seen["plan"]


def test_udev_finds_no_fault_with_the_rule_for_names(play: Play) -> None:
    seen = play(
        handle(renderer="networkd", set_name=True)
        + "apply > /dev/null\nsection rules; cat /etc/udev/rules.d/70-azurelite-net.rules\n"
        "section said; real_sys udevadm test --action=add /sys/class/net/eth0 2>&1 || true\n"
    )
    assert 'NAME="eth1"' in seen["rules"]
    assert "Reading rules file: /etc/udev/rules.d/70-azurelite-net.rules" in seen["said"]
    assert not [line for line in seen["said"].splitlines() if "70-azurelite-net.rules:" in line]
