"""IMDS's `network` object -> NICs as typed values. Whatever is not a MAC or an address ends here.

The document is not believed: a MAC becomes part of file names, addresses become lines of configuration. One bad entry
is named and left out, the others stand. What IMDS's order means, and what the machine has, is for the caller to say.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Mapping, Optional, Union

from azurelite.record import Record, replace

_MAC = r"[0-9a-f]{12}"
_FAMILIES: tuple[tuple[str, Any], ...] = (("ipv4", ipaddress.IPv4Address), ("ipv6", ipaddress.IPv6Address))
METRIC_STEP = 100  # the first NIC has it, the second has it twice, …: the least metric wins

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Nic(Record):
    """One NIC of the VM.

    Attributes:
        mac: its hardware address, as "00:0d:3a:5e:7b:21".
        ipv6: DHCP is to be asked for IPv6, too.
        addresses: those that DHCP does not hand out, each alone, as "10.0.0.5/32". With its subnet it would be set
            ahead of DHCP's address and take its place as the source of what is sent there; on a secondary NIC it would
            draw the whole subnet to that NIC, and Azure drops what leaves by a NIC that does not own its source.
        rank: 0 for the primary NIC, 1 for the next one, …
        metric: the metric of its routes; None leaves it to the renderer.
        driver: the kernel driver that it must have besides its MAC; None where that does not matter. With accelerated
            networking a second device has the same MAC, and must never be configured.
        name: the interface that it is in this guest; None where that is not known.
        renamed: `name` is a wish that somebody has to carry out.
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
        """The MAC as twelve letters, for file names."""
        return self.mac.replace(":", "")


class Listing(Record):
    """What IMDS lists.

    Attributes:
        nics: those that can be used, in IMDS's order.
        problems: what was left out and why, in words for a person.
        complete: every entry was understood, so that a NIC which is not listed is gone.
    """

    nics: tuple[Nic, ...]
    problems: tuple[str, ...]
    complete: bool


def read_nics(network: Mapping[str, Any], *, secondary_addresses: bool = True) -> Listing:
    """The NICs in IMDS's `network` object; nothing in it makes this raise.

    Args:
        network: the object, of whatever shape.
        secondary_addresses: keep the addresses behind the first one, which is DHCP's.
    """
    entries = network.get("interface")
    if not isinstance(entries, list):
        return Listing((), ("IMDS lists no NICs: `network.interface` is not a list",), False)
    nics: dict[str, Nic] = {}
    problems: list[str] = []
    skipped = 0
    for number, entry in enumerate(entries):
        where = f"network.interface[{number}]"
        try:
            nic = _nic(entry, problems, where)
            if nic.mac in nics:
                raise ValueError(f"its MAC {nic.mac} is another entry's, too")
        except ValueError as error:
            problems.append(f"{where} is left out: {error}")
            skipped += 1
        else:
            nics[nic.mac] = nic if secondary_addresses else replace(nic, addresses=())
    if not entries:
        problems.append("IMDS lists no NICs: `network.interface` is empty")
    return Listing(tuple(nics.values()), tuple(problems), bool(entries) and not skipped)


def normal_mac(text: object) -> Optional[str]:
    """A MAC as Linux writes it, or None. IMDS says `000D3A5E7B21`; colons and hyphens are taken as well."""
    bare = re.sub(r"[:-]", "", text).lower() if isinstance(text, str) and len(text) < 20 else ""
    if not re.fullmatch(_MAC, bare) or not bare.strip("0") or int(bare[:2], 16) & 1:  # a group's address is no NIC's
        return None
    return ":".join(bare[at : at + 2] for at in range(0, 12, 2))


def _nic(entry: object, problems: list[str], where: str) -> Nic:
    if not isinstance(entry, dict):
        raise ValueError("it is not an object")
    mac = normal_mac(entry.get("macAddress"))
    if mac is None:
        raise ValueError("its `macAddress` is not the MAC of a NIC")
    found = {}
    further: list[str] = []
    for family, kind in _FAMILIES:
        addresses = _addresses(entry.get(family), kind, problems, f"{where}.{family}")
        found[family] = any(addresses)
        own = dict.fromkeys(address for address in addresses[1:] if address is not None and address != addresses[0])
        further += [f"{address}/{address.max_prefixlen}" for address in own]
    if not any(found.values()):
        raise ValueError("it has no address")
    return Nic(mac, ipv6=found["ipv6"], addresses=tuple(further))


def _addresses(part: object, kind: Any, problems: list[str], where: str) -> list[Optional[Address]]:
    """The addresses in their order, None in the place of a bad one: the first place is DHCP's, whatever it holds."""
    entries = part.get("ipAddress") if isinstance(part, dict) else None
    found: list[Optional[Address]] = []
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        address = _address(entry, kind)
        if address is None:
            problems.append(f"{where}.ipAddress[{number}] is left out: it is not an address that a NIC can have")
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
