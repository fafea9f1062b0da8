"""What all renderers share: a file to be, the line that marks it as azurelite's own, and where such files lie."""

from __future__ import annotations

from typing import Iterable, Optional

from azurelite.netconf.nics import Nic
from azurelite.record import Record

MARK = "# written by azurelite"
HEADER = f"{MARK} from Azure's metadata about the NICs; it is written anew when that changes\n"

# Folder and first letters of the names of every file that any renderer here writes.
PLACES = (
    ("/etc/systemd/network", "05-azurelite-"),
    ("/etc/netplan", "50-azurelite-"),
    ("/etc/NetworkManager/system-connections", "azurelite-"),
    ("/etc/NetworkManager/conf.d", "50-azurelite-"),
    ("/etc/network/interfaces.d", "azurelite"),
    ("/etc/udev/rules.d", "70-azurelite-"),
)


class File(Record):
    """A file to be.

    Attributes:
        path: guest path, in one of PLACES.
        text: its content; the first line is HEADER.
        mode: permission bits.
        mac: the NIC that it is about; None when it is about several.
    """

    path: str
    text: str
    mode: int = 0o644
    mac: Optional[str] = None


def udev_rules(nics: Iterable[Nic]) -> tuple[File, ...]:
    """One file of rules, or none where no NIC is to be renamed."""
    rules = ""
    for nic in nics:
        if nic.renamed:
            driver = f'DRIVERS=="{nic.driver}", ' if nic.driver else ""
            rules += f'SUBSYSTEM=="net", ACTION=="add", {driver}ATTR{{address}}=="{nic.mac}", NAME="{nic.name}"\n'
    return (File("/etc/udev/rules.d/70-azurelite-net.rules", HEADER + rules),) if rules else ()
