"""The guest's network interfaces as its sysfs shows them: which of them is the primary one.

It reads /sys/class/net below the root and nothing else. It knows Hyper-V's driver, and that accelerated networking
shows each NIC twice; it does not know addresses, routes or Azure.
"""

from __future__ import annotations

import os
import re
from typing import Optional

from azurelite.system.globs import natural
from azurelite.system.root import Root

NET = "/sys/class/net"
NETVSC = "hv_netvsc"  # the driver of Hyper-V's synthetic NIC: on Azure every NIC has one
_ETHERNET = "1"  # ARPHRD_ETHER; the InfiniBand NIC of an HPC size is 32


def interfaces(root: Root) -> list[str]:
    """The names of all interfaces, in natural order (eth2 ahead of eth10)."""
    try:
        found = root.names(NET)
    except OSError:
        return []
    return sorted((name for name in found if _attribute(root, name, "ifindex") is not None), key=natural)


def driver(root: Root, name: str) -> Optional[str]:
    """The kernel driver of an interface, as "hv_netvsc"; None for a virtual one (veth, bridge, bond, VLAN, lo)."""
    if not _is_name(name):
        return None
    link = f"{NET}/{name}/device/driver"
    try:
        if root.stat(link) is None:
            return None
        return os.path.basename(root.host_path(link))
    except OSError:
        return None


def macs(root: Root) -> dict[str, str]:
    """Interface → hardware address, lower case; those that have none are left out."""
    found = {}
    for name in interfaces(root):
        address = (_attribute(root, name, "address") or "").lower()
        if address.replace(":", "").strip("0"):
            found[name] = address
    return found


def has_carrier(root: Root, name: str) -> bool:
    """The interface is up and its link is there. (The kernel refuses to say so of one that is down.)"""
    carrier = _attribute(root, name, "carrier")
    return carrier == "1" or (carrier is None and operstate(root, name) == "up")


def operstate(root: Root, name: str) -> Optional[str]:
    """The kernel's word for the state of an interface: "up", "down", "lowerlayerdown", …; None where it says none."""
    return _attribute(root, name, "operstate")


def primary_interface(root: Root) -> Optional[str]:
    """The interface that link-local traffic to Azure should leave by, or None where there is no real one.

    With accelerated networking a second NIC (mlx4, mlx5, mana) has the MAC of the synthetic one and is its slave:
    it must never be configured or dialled from. Whatever its driver is called, the twin that is not hv_netvsc is
    left out. Left out, too, is what has no device below it (lo, veth, bridge, bond, VLAN) and what is no Ethernet.
    """
    addresses = macs(root)
    drivers = {name: driver(root, name) for name in addresses}
    synthetic = {addresses[name] for name in addresses if drivers[name] == NETVSC}
    real = [
        name
        for name, mac in addresses.items()
        if drivers[name] is not None
        and (_attribute(root, name, "type") or _ETHERNET) == _ETHERNET
        and (drivers[name] == NETVSC or mac not in synthetic)
    ]
    return min(
        real,
        key=lambda name: (drivers[name] != NETVSC, not has_carrier(root, name), name != "eth0", natural(name)),
        default=None,
    )


def unicast(octets: bytes) -> Optional[str]:
    """Four bytes as a dotted address, or None unless that is an address which one host can have on a network."""
    if len(octets) != 4 or not 0 < octets[0] < 224 or octets[0] == 127:
        return None
    return ".".join(map(str, octets))


def dotted(text: str) -> Optional[bytes]:
    """A dotted address as four bytes, or None. Nothing but four plain decimal numbers is one."""
    if not re.fullmatch(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}", text, re.ASCII):
        return None
    numbers = [int(part) for part in text.split(".")]
    return bytes(numbers) if max(numbers) < 256 else None


def _attribute(root: Root, name: str, attribute: str) -> Optional[str]:
    # Reading `carrier` of an interface that is down is EINVAL.
    return root.text(f"{NET}/{name}/{attribute}").strip() or None if _is_name(name) else None


def _is_name(name: str) -> bool:
    return 0 < len(name) < 16 and "/" not in name and name not in (".", "..") and "\0" not in name
