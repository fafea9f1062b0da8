"""Common to all renderers: a rendered file, the line that marks it as azurelite's, and the folders of such files."""

from __future__ import annotations

from typing import Iterable, Optional

from azurelite.netconf.nics import Nic
from azurelite.record import Record

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


def udev_rules(nics: Iterable[Nic]) -> tuple[File, ...]:
    """One file of udev rules, or none where no NIC is renamed."""
    rules = ""
    for nic in nics:
        if nic.renamed:
            driver = f'DRIVERS=="{nic.driver}", ' if nic.driver else ""
            rules += f'SUBSYSTEM=="net", ACTION=="add", {driver}ATTR{{address}}=="{nic.mac}", NAME="{nic.name}"\n'
    return (File("/etc/udev/rules.d/70-azurelite-net.rules", HEADER + rules),) if rules else ()
