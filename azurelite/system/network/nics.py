"""The guest's NICs with what distinguishes them in configuration: interface, hardware address, driver.

It reads /sys/class/net below the root. A foreign root does not have it; then the list is empty.
"""

from __future__ import annotations

import re
from typing import Iterable, Optional

from azurelite.record import Record
from azurelite.system.network.interfaces import NETVSC, driver, macs
from azurelite.system.root import Root

_PLAIN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"


class LocalNic(Record):
    """One interface.

    Attributes:
        name: as "eth0".
        mac: its hardware address, lower case with colons.
        driver: its kernel driver; None for a virtual one.
    """

    name: str
    mac: str
    driver: Optional[str]


def local_nics(root: Root) -> tuple[LocalNic, ...]:
    """The interfaces with a hardware address, in natural order, without names that need quoting in a file."""
    found = []
    for name, mac in macs(root).items():
        below = driver(root, name)
        if re.fullmatch(_PLAIN, name) and (below is None or re.fullmatch(_PLAIN, below)):
            found.append(LocalNic(name, mac, below))
    return tuple(found)


def nic_of(mac: str, nics: Iterable[LocalNic]) -> Optional[LocalNic]:
    """The interface to configure for a MAC, or None if there is none or it is ambiguous.

    With accelerated networking two interfaces share a MAC, and only Hyper-V's synthetic one may be configured,
    whatever the driver of the other one.
    """
    same = [nic for nic in nics if nic.mac == mac]
    synthetic = [nic for nic in same if nic.driver == NETVSC]
    chosen = synthetic or [nic for nic in same if nic.driver is not None] or same
    return chosen[0] if len(chosen) == 1 else None
