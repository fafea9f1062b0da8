"""IMDS's `network` object as NICs: what is taken, what is named and left out, and that nothing of it can hurt."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from typing import Any

import pytest

from azurelite.netconf.nics import normal_mac, read_nics

MAC = "000D3A5E7B21"
OTHER = "000D3A5E7B22"


def nic(*v4: object, v6: tuple[object, ...] = (), mac: object = MAC) -> dict[str, Any]:
    """An entry as IMDS writes it."""
    return {
        "ipv4": {
            "ipAddress": [{"privateIpAddress": address, "publicIpAddress": ""} for address in v4],
            "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
        },
        "ipv6": {"ipAddress": [{"privateIpAddress": address} for address in v6]},
        "macAddress": mac,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (MAC, "00:0d:3a:5e:7b:21"),
        ("000d3a5e7b21", "00:0d:3a:5e:7b:21"),
        ("00:0D:3A:5E:7B:21", "00:0d:3a:5e:7b:21"),
        ("00-0d-3a-5e-7b-21", "00:0d:3a:5e:7b:21"),
        ("", None),
        (None, None),
        (12, None),
        (["000D3A5E7B21"], None),
        ("000D3A5E7B2", None),
        ("000D3A5E7B211", None),
        ("000D3A5E7B2G", None),
        ("000D3A5E7B21\n", None),
        ("000D3A5E7B21\n[Match]", None),
        ("../../../etc/x", None),
        ("０００D3A5E7B21", None),
        ("000000000000", None),
        ("010D3A5E7B21", None),
        ("FFFFFFFFFFFF", None),
    ],
)
def test_macs(given: object, expected: object) -> None:
    assert normal_mac(given) == expected


@pytest.mark.parametrize(
    ("entry", "further", "ipv6"),
    [
        (nic("10.0.0.4"), (), False),
        (nic("10.0.0.4", "10.0.0.5", "10.0.0.6"), ("10.0.0.5/32", "10.0.0.6/32"), False),
        (nic("10.0.0.4", "10.0.0.5", "10.0.0.5", "10.0.0.4"), ("10.0.0.5/32",), False),
        (nic("10.0.0.4", v6=("fd00::4",)), (), True),
        (nic("10.0.0.4", "10.0.0.5", v6=("fd00::4", "FD00:0::5")), ("10.0.0.5/32", "fd00::5/128"), True),
        (nic(v6=("fd00::4",)), (), True),
        # A bad one is DHCP's all the same when it comes first.
        (nic("damaged", "10.0.0.5"), ("10.0.0.5/32",), False),
        (nic("10.0.0.4", "damaged", "10.0.0.5"), ("10.0.0.5/32",), False),
        ({"macAddress": MAC, "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]}}, (), False),
        ({**nic("10.0.0.4"), "ipv6": None}, (), False),
        ({**nic("10.0.0.4"), "ipv6": {"ipAddress": None}}, (), False),
    ],
)
def test_an_entry(entry: dict[str, Any], further: tuple[str, ...], ipv6: bool) -> None:
    listing = read_nics({"interface": [entry]})
    assert [(found.addresses, found.ipv6) for found in listing.nics] == [(further, ipv6)]
    assert listing.complete
    assert len(listing.problems) == str(entry).count("damaged")
    assert [found.addresses for found in read_nics({"interface": [entry]}, secondary_addresses=False).nics] == [()]


@pytest.mark.parametrize(
    "address",
    [
        "",
        None,
        4,
        "10.0.0.5/24",
        "10.0.0.256",
        "10.0.0.05",
        "10.0.0.5\nup reboot",
        "10.0.0.5 ",
        "fd00::5",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "$(reboot)",
        {"privateIpAddress": "10.0.0.5"},
    ],
)
def test_what_is_no_address_of_a_nic_is_named_and_left_out(address: object) -> None:
    listing = read_nics({"interface": [nic("10.0.0.4", address)]})
    assert listing.nics[0].addresses == ()
    assert listing.problems == ("IMDS: network.interface[0].ipv4.ipAddress[1] skipped: a NIC cannot have this address",)


@pytest.mark.parametrize(
    "address", ["fe80::1", "fe80::1%eth0", "fd00::5%$(reboot)", "::1", "::", "ff02::1", "10.0.0.4"]
)
def test_the_same_for_ipv6(address: str) -> None:
    assert read_nics({"interface": [nic("10.0.0.4", v6=("fd00::4", address))]}).nics[0].addresses == ()


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (None, "not an object"),
        ("eth0", "not an object"),
        ([], "not an object"),
        ({}, "macAddress"),
        (nic("10.0.0.9", mac="damaged"), "macAddress"),
        (nic("10.0.0.9", mac=None), "macAddress"),
        (nic(mac="000D3A5E7B23"), "no valid IP address"),
        ({"macAddress": "000D3A5E7B23"}, "no valid IP address"),
        ({"macAddress": "000D3A5E7B23", "ipv4": [], "ipv6": "x"}, "no valid IP address"),
        (nic("10.0.0.9"), "an earlier entry has the same MAC"),
    ],
)
def test_one_bad_entry_leaves_the_others_alone(bad: object, word: str) -> None:
    good = [nic("10.0.0.4"), nic("10.0.0.5", mac=OTHER)]
    listing = read_nics({"interface": [good[0], bad, good[1]]})
    assert listing.nics == read_nics({"interface": good}).nics
    assert not listing.complete
    assert "network.interface[1]" in listing.problems[0]
    assert word in listing.problems[0]


@pytest.mark.parametrize("network", [{}, {"interface": None}, {"interface": []}, {"interface": {}}, {"interface": "x"}])
def test_without_a_list_of_nics_nothing_is_known(network: dict[str, Any]) -> None:
    listing = read_nics(network)
    assert listing.nics == ()
    assert not listing.complete
    assert len(listing.problems) == 1


def test_any_input_gives_only_macs_and_addresses() -> None:
    odd: list[object] = [None, True, 5, 1.5, "", "x\ny", [], [None], {}, "10.0.0.4"]
    odd += [{"ipAddress": 1}, {"ipAddress": [1, None, {}]}]
    for mac, v4, v6 in itertools.product([MAC, *odd], odd, odd):
        entry = {"macAddress": mac, "ipv4": v4, "ipv6": {"ipAddress": [{"privateIpAddress": v6}, {"x": v4}]}}
        json.dumps(entry)
        for network in ({"interface": [entry, nic(v4, v6, mac=mac)]}, {"interface": entry}):
            for found in read_nics(network).nics:
                assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", found.mac)
                for address in found.addresses:
                    assert str(ipaddress.ip_interface(address)) == address
