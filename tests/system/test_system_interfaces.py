"""Which NIC is the primary one, as sysfs shows machines of many shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest
from kit import Guest

from azurelite.system.network.interfaces import (
    dotted,
    driver,
    has_carrier,
    interfaces,
    macs,
    primary_interface,
    unicast,
)
from azurelite.system.root import Root

MAC, OTHER = "00:0d:3a:11:22:33", "00:0d:3a:44:55:66"


def nic(
    guest: Guest, name: str, of: Optional[str] = "hv_netvsc", *, mac: str = MAC, up: bool = True, kind: str = "1"
) -> None:
    """Add an interface; without a driver it is a virtual one. One that is down has no `carrier` that can be read."""
    folder = f"sys/class/net/{name}"
    index = len(list(guest.path("sys/class/net").iterdir())) + 1 if guest.path("sys/class/net").exists() else 1
    guest.put({f"{folder}/ifindex": f"{index}\n", f"{folder}/address": f"{mac}\n", f"{folder}/type": f"{kind}\n"})
    guest.put({f"{folder}/operstate": "up\n" if up else "down\n"})
    if up:
        guest.put({f"{folder}/carrier": "1\n"})
    if of is not None:
        guest.put({f"sys/bus/vmbus/drivers/{of}/uevent": "", f"{folder}/device/.keep": ""})
        guest.path(f"{folder}/device/driver").symlink_to(f"/sys/bus/vmbus/drivers/{of}")


SHAPES: dict[str, tuple[list[tuple[str, Optional[str], dict[str, Any]]], Optional[str]]] = {
    "one": ([("lo", None, {"mac": "00:00:00:00:00:00", "kind": "772"}), ("eth0", "hv_netvsc", {})], "eth0"),
    "accelerated": ([("enP1s1", "mlx5_core", {}), ("eth0", "hv_netvsc", {})], "eth0"),
    "accelerated, whatever the driver": ([("mce0", "mana", {}), ("hn0", "hv_netvsc", {})], "hn0"),
    "accelerated, and the synthetic one down": ([("a0", "mlx4_en", {}), ("eth0", "hv_netvsc", {"up": False})], "eth0"),
    "MAC in capitals": ([("a0", "mana", {"mac": MAC.upper()}), ("b0", "hv_netvsc", {"up": False})], "b0"),
    "two": ([("eth1", "hv_netvsc", {"mac": OTHER}), ("eth0", "hv_netvsc", {})], "eth0"),
    "two, the first without carrier": (
        [("eth0", "hv_netvsc", {"up": False}), ("eth1", "hv_netvsc", {"mac": OTHER})],
        "eth1",
    ),
    "natural order": ([("eth10", "hv_netvsc", {"mac": OTHER}), ("eth9", "hv_netvsc", {})], "eth9"),
    "netvsc ahead of carrier": ([("ens1", "virtio_net", {"mac": OTHER}), ("eth1", "hv_netvsc", {"up": False})], "eth1"),
    "no Hyper-V": ([("ens1", "virtio_net", {})], "ens1"),
    "mana alone": ([("eth0", "mana", {})], "eth0"),
    "virtual ones beside": (
        [
            ("docker0", None, {"mac": OTHER}),
            ("bond0", None, {}),
            ("veth12", None, {"mac": OTHER}),
            ("eth0", "hv_netvsc", {}),
        ],
        "eth0",
    ),
    "InfiniBand beside": (
        [("ib0", "mlx5_core", {"mac": OTHER, "kind": "32"}), ("eth0", "hv_netvsc", {"up": False})],
        "eth0",
    ),
    "without an address": ([("eth0", "hv_netvsc", {"mac": "00:00:00:00:00:00"})], None),
    "virtual ones only": ([("eth0", None, {})], None),
    "none": ([], None),
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_primary_interface(guest: Guest, shape: str) -> None:
    nics, expected = SHAPES[shape]
    for name, of, more in nics:
        nic(guest, name, of, **more)
    assert primary_interface(Root(guest.root)) == expected


class TestLooking:
    def test_names_come_in_natural_order_and_files_are_none(self, guest: Guest) -> None:
        for name in ("eth10", "eth2", "lo", "eth0.5"):
            nic(guest, name)
        guest.put({"sys/class/net/bonding_masters": "bond0\n"})
        assert interfaces(Root(guest.root)) == ["eth0.5", "eth2", "eth10", "lo"]

    def test_a_name_may_hold_any_digit(self, guest: Guest) -> None:
        for name in ("eth²", "९", "-"):
            nic(guest, name)
        assert len(interfaces(Root(guest.root))) == 3
        assert primary_interface(Root(guest.root)) is not None

    def test_macs_and_drivers(self, guest: Guest) -> None:
        nic(guest, "eth0")
        nic(guest, "lo", None, mac="00:00:00:00:00:00")
        root = Root(guest.root)
        assert macs(root) == {"eth0": MAC}
        assert (driver(root, "eth0"), driver(root, "lo"), driver(root, "eth7")) == ("hv_netvsc", None, None)

    @pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "a/b", "a" * 16, "a\0"])
    def test_a_name_never_leads_out_of_the_folder(self, guest: Guest, name: str) -> None:
        guest.put({"sys/class/device/driver/x": "", "device/driver/x": ""})
        assert driver(Root(guest.root), name) is None
        assert not has_carrier(Root(guest.root), name)

    def test_a_driver_link_in_circles_is_no_driver(self, guest: Guest) -> None:
        nic(guest, "eth0", None)
        guest.put({"sys/class/net/eth0/device/.keep": ""})
        guest.path("sys/class/net/eth0/device/driver").symlink_to("driver")
        assert driver(Root(guest.root), "eth0") is None
        assert primary_interface(Root(guest.root)) is None

    def test_without_sysfs_there_is_nothing(self, tmp_path: Path) -> None:
        root = Root(str(tmp_path))
        assert (interfaces(root), macs(root), primary_interface(root)) == ([], {}, None)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("168.63.129.16", b"\xa8\x3f\x81\x10"),
        ("0.0.0.0", b"\0\0\0\0"),
        ("256.0.0.1", None),
        ("1.2.3", None),
        ("1.2.3.4.5", None),
        ("01.2.3.4", None),
        (" 1.2.3.4", None),
        ("1.2.3.4\n", None),
        ("1.2.3.٤", None),
        ("", None),
    ],
)
def test_a_dotted_address(text: str, octets: Optional[bytes]) -> None:
    assert dotted(text) == octets


@pytest.mark.parametrize(
    "octets", [b"", b"\1\2\3", b"\1\2\3\4\5", b"\0\1\1\1", b"\x7f\0\0\1", b"\xe0\0\0\1", b"\xff" * 4]
)
def test_what_no_host_can_have(octets: bytes) -> None:
    assert unicast(octets) is None
