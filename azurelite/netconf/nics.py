"""IMDS's `network` object -> NICs as typed values, of valid MACs and addresses only; and what all renderers share.

The document is not trusted, because a MAC becomes part of file names and addresses become lines of configuration. An
invalid entry is named and skipped. The caller knows what IMDS's order means and which interfaces the machine has.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Iterable, Mapping, Optional, Union

from azurelite.record import Record, replace

_MAC = r"[0-9a-f]{12}"
_FAMILIES: tuple[tuple[str, Any], ...] = (("ipv4", ipaddress.IPv4Address), ("ipv6", ipaddress.IPv6Address))
METRIC_STEP = 100  # the first NIC has 100, the second 200, …: the lowest metric wins

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Nic(Record):
    """One NIC of the VM.

    Attributes:
        mac: its hardware address, as "00:0d:3a:5e:7b:21".
        ipv6: use DHCP for IPv6, too.
        addresses: the secondary addresses, which DHCP does not give, as "10.0.0.5/32". With the prefix of its subnet,
            such an address would be set before DHCP's and become the source address for that subnet. On a secondary
            NIC it would also route the whole subnet to that NIC, and Azure drops packets whose source address belongs
            to another NIC.
        rank: 0 for the primary NIC, 1 for the next one, …
        metric: the metric of its routes; None leaves it to the renderer.
        driver: the kernel driver that must match, too; None where it does not matter. With accelerated
            networking a second device has the same MAC, and must never be configured.
        name: its interface in this guest; None where it is not known.
        renamed: the interface must still be renamed to `name`.
    """

    mac: str
    ipv6: bool
    addresses: tuple[str, ...] = ()
    rank: int = 0
    metric: Optional[int] = None
    driver: Optional[str] = None
    name: Optional[str] = None
    renamed: bool = False

    @property
    def id(self) -> str:
        """The MAC as twelve hexadecimal digits, for file names."""
        return self.mac.replace(":", "")


class Listing(Record):
    """The NICs that IMDS lists.

    Attributes:
        nics: the valid ones, in IMDS's order.
        problems: what was skipped and why, one line each.
        complete: every entry was valid, so a NIC that is not listed does not exist any more.
    """

    nics: tuple[Nic, ...]
    problems: tuple[str, ...]
    complete: bool


def read_nics(network: Mapping[str, Any], *, secondary_addresses: bool = True) -> Listing:
    """The NICs in IMDS's `network` object. Never raises, whatever the object contains.

    Args:
        network: the object, not validated.
        secondary_addresses: keep the addresses after the first one; the first is DHCP's.
    """
    entries = network.get("interface")
    if not isinstance(entries, list):
        return Listing((), ("IMDS: no NICs, because network.interface is not a list",), False)
    nics: dict[str, Nic] = {}
    problems: list[str] = []
    skipped = 0
    for number, entry in enumerate(entries):
        where = f"network.interface[{number}]"
        try:
            nic = _nic(entry, problems, where)
            if nic.mac in nics:
                raise ValueError(f"an earlier entry has the same MAC {nic.mac}")
        except ValueError as error:
            problems.append(f"IMDS: {where} skipped: {error}")
            skipped += 1
        else:
            nics[nic.mac] = nic if secondary_addresses else replace(nic, addresses=())
    if not entries:
        problems.append("IMDS: no NICs, because network.interface is empty")
    return Listing(tuple(nics.values()), tuple(problems), bool(entries) and not skipped)


def normal_mac(text: object) -> Optional[str]:
    """A MAC as Linux writes it, or None. IMDS writes `000D3A5E7B21`; colons and hyphens are accepted, too."""
    bare = re.sub(r"[:-]", "", text).lower() if isinstance(text, str) and len(text) < 20 else ""
    if not re.fullmatch(_MAC, bare) or not bare.strip("0") or int(bare[:2], 16) & 1:  # no NIC has a multicast address
        return None
    return ":".join(bare[at : at + 2] for at in range(0, 12, 2))


def _nic(entry: object, problems: list[str], where: str) -> Nic:
    if not isinstance(entry, dict):
        raise ValueError("it is not an object")
    mac = normal_mac(entry.get("macAddress"))
    if mac is None:
        raise ValueError("`macAddress` is missing or not a valid MAC")
    found = {}
    further: list[str] = []
    for family, kind in _FAMILIES:
        addresses = _addresses(entry.get(family), kind, problems, f"{where}.{family}")
        found[family] = any(addresses)
        own = dict.fromkeys(address for address in addresses[1:] if address is not None and address != addresses[0])
        further += [f"{address}/{address.max_prefixlen}" for address in own]
    if not any(found.values()):
        raise ValueError("it has no valid IP address")
    return Nic(mac, ipv6=found["ipv6"], addresses=tuple(further))


def _addresses(part: object, kind: Any, problems: list[str], where: str) -> list[Optional[Address]]:
    """The addresses in order, None for an invalid one: the first place is DHCP's, valid or not."""
    entries = part.get("ipAddress") if isinstance(part, dict) else None
    found: list[Optional[Address]] = []
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        address = _address(entry, kind)
        if address is None:
            problems.append(f"IMDS: {where}.ipAddress[{number}] skipped: a NIC cannot have this address")
        found.append(address)
    return found


def _address(entry: object, kind: Any) -> Optional[Address]:
    text = entry.get("privateIpAddress") if isinstance(entry, dict) else None
    try:
        address: Address = kind(text if isinstance(text, str) and "%" not in text else "")
    except ValueError:
        return None
    never = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return None if never else address


MARK = "# written by azurelite"
HEADER = f"{MARK} from Azure's metadata about the NICs; azurelite rewrites it when they change\n"

# Folder and name prefix of the files that the renderers write.
PLACES = (
    ("/etc/systemd/network", "05-azurelite-"),
    ("/etc/netplan", "50-azurelite-"),
    ("/etc/NetworkManager/system-connections", "azurelite-"),
    ("/etc/NetworkManager/conf.d", "50-azurelite-"),
    ("/etc/network/interfaces.d", "azurelite"),
    ("/etc/udev/rules.d", "70-azurelite-"),
)


class File(Record):
    """A rendered file, not written yet.

    Attributes:
        path: guest path, in one of PLACES.
        text: its content; the first line is HEADER.
        mode: permission bits.
        mac: the MAC of its NIC; None for a file about several NICs.
    """

    path: str
    text: str
    mode: int = 0o644
    mac: Optional[str] = None


def with_sections(sections: Iterable[tuple[str, list[str]]]) -> str:
    """The text of a file with sections, as [Match], and lines `KEY=value` in each; an empty section is left out."""
    return HEADER + "\n".join(f"[{name}]\n" + "".join(f"{key}\n" for key in keys) for name, keys in sections if keys)


def udev_rules(nics: Iterable[Nic]) -> tuple[File, ...]:
    """One file of udev rules, or none where no NIC is renamed."""
    rules = ""
    for nic in nics:
        if nic.renamed:
            driver = f'DRIVERS=="{nic.driver}", ' if nic.driver else ""
            rules += f'SUBSYSTEM=="net", ACTION=="add", {driver}ATTR{{address}}=="{nic.mac}", NAME="{nic.name}"\n'
    return (File("/etc/udev/rules.d/70-azurelite-net.rules", HEADER + rules),) if rules else ()
