"""The guest's network interfaces in sysfs, and which of them is the primary one.

It only reads /sys/class/net below the root. It knows Hyper-V's driver, and that accelerated networking shows each NIC
twice. It does not know addresses or routes.
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
    """The names of all interfaces, in natural order (eth2 before eth10)."""
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
    """Interface → hardware address in lower case; interfaces without one are omitted."""
    found = {}
    for name in interfaces(root):
        address = (_attribute(root, name, "address") or "").lower()
        if address.replace(":", "").strip("0"):
            found[name] = address
    return found


def built_on(root: Root, name: str) -> list[str]:
    """The virtual interfaces that use this one or stand for it: bridges, bonds, VLANs and the like; sorted.

    That is, those of which it is a port or the lower device, and those that have its MAC. The second device of an
    accelerated NIC is not one of them: it has a driver.
    """
    if not _is_name(name):
        return []
    try:
        entries = root.names(f"{NET}/{name}")
        master = root.link_target(f"{NET}/{name}/master")
    except OSError:
        return []
    above = {entry[len("upper_") :] for entry in entries if entry.startswith("upper_")}
    above |= {os.path.basename(master)} if master else set()
    known = macs(root)
    above |= {other for other, mac in known.items() if other != name and mac == known.get(name)}
    return sorted(other for other in above if driver(root, other) is None)


def has_carrier(root: Root, name: str) -> bool:
    """Whether the interface is up and has a link. (If it is down, the kernel does not report the carrier.)"""
    carrier = _attribute(root, name, "carrier")
    return carrier == "1" or (carrier is None and operstate(root, name) == "up")


def operstate(root: Root, name: str) -> Optional[str]:
    """The state of an interface as the kernel reports it: "up", "down", "lowerlayerdown", …; None if unknown."""
    return _attribute(root, name, "operstate")


def primary_interface(root: Root) -> Optional[str]:
    """The interface for link-local traffic to Azure, or None if there is no physical one.

    With accelerated networking a second NIC (mlx4, mlx5, mana) has the MAC of the synthetic one and is its slave. It
    must not be configured or used for connections, so of two NICs with one MAC the one that is not hv_netvsc is
    ignored, whatever its driver. Interfaces without a device (lo, veth, bridge, bond, VLAN) or without Ethernet are
    ignored too.
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
    """Four bytes as a dotted address, or None if a host on a network cannot have that address."""
    if len(octets) != 4 or not 0 < octets[0] < 224 or octets[0] == 127:
        return None
    return ".".join(map(str, octets))


def dotted(text: str) -> Optional[bytes]:
    """A dotted address (four plain decimal numbers) as four bytes, or None."""
    if not re.fullmatch(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}", text, re.ASCII):
        return None
    numbers = [int(part) for part in text.split(".")]
    return bytes(numbers) if max(numbers) < 256 else None


def _attribute(root: Root, name: str, attribute: str) -> Optional[str]:
    # Reading `carrier` of an interface that is down is EINVAL.
    return root.text(f"{NET}/{name}/{attribute}").strip() or None if _is_name(name) else None


def _is_name(name: str) -> bool:
    return 0 < len(name) < 16 and "/" not in name and name not in (".", "..") and "\0" not in name
