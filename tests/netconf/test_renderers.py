"""NICs as text: read back by a reader of each format, not compared letter by letter."""

from __future__ import annotations

import configparser
from typing import Callable

import pytest
import yaml

from azurelite.netconf import ifupdown, netplan, networkd, networkmanager
from azurelite.netconf.nics import MARK, PLACES, File, Nic, udev_rules

# What may be built on a NIC and have its MAC.
BUILT = "bridge bonding team macvlan ipvlan 802.1Q*"
EXCEPT = "except:type:bridge;except:type:bond;except:type:team;except:type:macvlan;except:type:vlan"
FIRST = Nic(
    "00:0d:3a:5e:7b:21",
    ipv6=True,
    addresses=("10.0.0.5/32", "10.0.0.6/32", "fd00::5/128"),
    metric=100,
    driver="hv_netvsc",
    name="eth0",
)
SECOND = Nic("00:0d:3a:5e:7b:22", ipv6=False, rank=1, metric=200, driver="hv_netvsc", name="eth1")
BARE = Nic("00:0d:3a:5e:7b:23", ipv6=False)
RENDERERS: list[Callable[..., tuple[File, ...]]] = [
    networkd.render,
    netplan.render,
    networkmanager.render,
    lambda nics: ifupdown.render(nics, taken=(), busybox=False),
    udev_rules,
]


class Keys(dict):  # type: ignore[type-arg]
    """Repeated keys of a section are a list."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def sections(text: str) -> dict[str, dict[str, list[str]]]:
    """An INI file, with every value of every key."""
    parser = configparser.RawConfigParser(dict_type=Keys, strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return {name: {key: value.split("\n") for key, value in parser.items(name)} for name in parser.sections()}


@pytest.mark.parametrize("render", RENDERERS)
def test_every_file_is_marked_and_in_a_known_folder(
    render: Callable[..., tuple[File, ...]],
) -> None:
    renamed = Nic(BARE.mac, ipv6=False, name="eth2", renamed=True)
    files = render([FIRST, SECOND, renamed])
    assert files
    for file in files:
        assert file.text.startswith(MARK)
        assert file.text.endswith("\n")
        assert any(file.path.startswith(f"{folder}/{prefix}") for folder, prefix in PLACES)
    assert len({file.path for file in files}) == len(files)


def test_networkd() -> None:
    first, second, bare, twins = (sections(file.text) for file in networkd.render([FIRST, SECOND, BARE]))
    assert first == {
        "Match": {"MACAddress": [FIRST.mac], "Driver": ["hv_netvsc"]},
        "Network": {"DHCP": ["yes"], "Address": list(FIRST.addresses)},
        "DHCPv4": {"RouteMetric": ["100"]},
        "IPv6AcceptRA": {"RouteMetric": ["100"]},
    }
    assert second == {
        "Match": {"MACAddress": [SECOND.mac], "Driver": ["hv_netvsc"]},
        "Link": {"RequiredForOnline": ["no"]},
        "Network": {"DHCP": ["ipv4"]},
        "DHCPv4": {"RouteMetric": ["200"], "UseDNS": ["no"]},
    }
    assert bare == {"Match": {"MACAddress": [BARE.mac]}, "Network": {"DHCP": ["ipv4"]}}
    assert twins == {
        "Match": {"MACAddress": [f"{FIRST.mac} {SECOND.mac}"], "Driver": [f"!hv_netvsc {BUILT}"]},
        "Link": {"Unmanaged": ["yes"]},
    }


def test_netplan() -> None:
    files = netplan.render([FIRST, SECOND, Nic(BARE.mac, ipv6=False, name="eth2", renamed=True)])
    assert {file.mode for file in files} == {0o600}
    documents = [yaml.safe_load(file.text)["network"] for file in files]
    assert {document["version"] for document in documents} == {2}
    first, second, third = (next(iter(document["ethernets"].values())) for document in documents)
    assert first == {
        "match": {"macaddress": FIRST.mac, "driver": "hv_netvsc"},
        "dhcp4": True,
        "dhcp4-overrides": {"route-metric": 100},
        "dhcp6": True,
        "dhcp6-overrides": {"route-metric": 100},
        "addresses": list(FIRST.addresses),
    }
    assert second == {
        "match": {"macaddress": SECOND.mac, "driver": "hv_netvsc"},
        "dhcp4": True,
        "dhcp4-overrides": {"route-metric": 200, "use-dns": False},
        "dhcp6": False,
        "optional": True,
    }
    assert third == {"match": {"macaddress": BARE.mac}, "set-name": "eth2", "dhcp4": True, "dhcp6": False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("network:\n  version: 2\n  renderer: NetworkManager\n", True),
        ("network: {version: 2, renderer: NetworkManager}\n", True),
        ("network:\n  'renderer': \"NetworkManager\"\n", True),
        ("network:\n  renderer: networkd\n", False),
        ("network:\n  # renderer: NetworkManager\n  version: 2\n", False),
        ("", False),
    ],
)
def test_netplan_that_renders_for_networkmanager(text: str, expected: bool) -> None:
    assert netplan.hands_on(["network: {version: 2}\n", text]) is expected


def test_networkmanager() -> None:
    files = networkmanager.render([FIRST, SECOND, BARE])
    assert [file.mode for file in files] == [0o600, 0o600, 0o600, 0o644]
    first, second, bare, twins = (sections(file.text) for file in files)
    assert first["ethernet"] == {"mac-address": [FIRST.mac]}
    assert first["match"] == {"driver": ["hv_netvsc;"]}
    assert first["ipv4"] == {
        "method": ["auto"],
        "address1": ["10.0.0.5/32"],
        "address2": ["10.0.0.6/32"],
        "route-metric": ["100"],
    }
    assert first["ipv6"] == {"method": ["auto"], "address1": ["fd00::5/128"], "route-metric": ["100"]}
    assert second["ipv4"] == {"method": ["auto"], "route-metric": ["200"], "ignore-auto-dns": ["true"]}
    assert second["ipv6"] == {"method": ["link-local"]}
    assert "match" not in bare
    assert len({nic["connection"]["uuid"][0] for nic in (first, second, bare)}) == 3
    assert twins["device-azurelite-not-hv_netvsc"] == {
        "match-device": [f"mac:{FIRST.mac};mac:{SECOND.mac};except:driver:hv_netvsc;{EXCEPT}"],
        "managed": ["0"],
    }


def test_a_profile_keeps_its_uuid() -> None:
    assert networkmanager.render([FIRST]) == networkmanager.render([FIRST])


def stanzas(*nics: Nic, taken: tuple[str, ...] = (), busybox: bool = False) -> list[list[str]]:
    """The stanzas, each as its lines without their indent."""
    files = ifupdown.render(nics, taken=taken, busybox=busybox)
    body = "".join(file.text for file in files).partition("\n")[2]
    return [[line.strip() for line in block.splitlines()] for block in body.split("\n\n") if block]


@pytest.mark.parametrize(
    ("nic", "taken", "busybox", "expected"),
    [
        (SECOND, (), False, [["auto eth1", "iface eth1 inet dhcp", "metric 200"]]),
        (
            FIRST,
            (),
            False,
            [
                ["auto eth0", "iface eth0 inet dhcp", "metric 100"]
                + [f"up ip address replace {address} dev eth0" for address in FIRST.addresses],
                ["iface eth0 inet6 dhcp"],
            ],
        ),
        (
            FIRST,
            (),
            True,
            [
                ["auto eth0", "iface eth0 inet dhcp", "metric 100"]
                + [f"up ip address replace {address} dev eth0" for address in FIRST.addresses]
            ],
        ),
        (
            FIRST,
            ("eth0",),
            False,
            [["iface eth0 inet manual"] + [f"up ip address replace {address} dev eth0" for address in FIRST.addresses]],
        ),
        (FIRST, ("eth0",), True, []),
        (SECOND, ("eth1",), False, []),
        (BARE, (), False, []),
    ],
)
def test_ifupdown(nic: Nic, taken: tuple[str, ...], busybox: bool, expected: list[list[str]]) -> None:
    assert stanzas(nic, taken=taken, busybox=busybox) == expected
    # What is not written as a whole is told of.
    told = ifupdown.problems(nic, taken=taken, busybox=busybox)
    assert bool(told) == (nic is BARE or bool(taken) or (busybox and nic.ipv6))


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        ("source /etc/network/interfaces.d/*\n", True),
        ("source interfaces.d/*\n", True),
        ("auto lo\n  source-directory /etc/network/interfaces.d\n", True),
        ("source-directory interfaces.d/\n", True),
        ("source /etc/network/interfaces.d/azurelite\n", True),
        ("source /etc/network/interfaces.d/*.cfg\n", False),
        ("# source /etc/network/interfaces.d/*\n", False),
        ("source-directory /etc/network/other.d\n", False),
        ("", False),
    ],
)
def test_whether_the_main_file_takes_ours_in(main: str, expected: bool) -> None:
    assert ifupdown.takes_in(main) is expected


def test_which_interfaces_have_a_stanza() -> None:
    texts = ["auto eth0\niface eth0 inet dhcp\n# iface eth8 inet dhcp\n", "  iface\teth1 inet6 auto\nauto eth9\n", ""]
    assert ifupdown.interfaces_named(texts) == {"eth0", "eth1"}


def test_names_by_udev() -> None:
    wished = Nic(FIRST.mac, ipv6=False, driver="hv_netvsc", name="eth0", renamed=True)
    (file,) = udev_rules([wished, SECOND])
    _, rule = file.text.splitlines()
    assert rule.split(", ") == [
        'SUBSYSTEM=="net"',
        'ACTION=="add"',
        'DRIVERS=="hv_netvsc"',
        f'ATTR{{address}}=="{FIRST.mac}"',
        'NAME="eth0"',
    ]
    assert udev_rules([SECOND]) == ()
