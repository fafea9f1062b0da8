"""NICs as files of netplan, one per NIC. Which program renders them in turn is netplan's own setting.

netplan names networkd's files after a NIC's id, and networkd takes the first that matches. Debian's images for clouds
come with ids as `all-eth`, so azurelite's begin with a 0.
"""

from __future__ import annotations

import re
from typing import Iterable

from azurelite.netconf.files import HEADER, File
from azurelite.netconf.nics import Nic

FOLDER = "/etc/netplan"
FOLDERS = ("/usr/lib/netplan", FOLDER, "/run/netplan")
_TO_NETWORKMANAGER = r"^[^#\n]*\brenderer[\"']?\s*:\s*[\"']?NetworkManager\b"


def render(nics: Iterable[Nic]) -> tuple[File, ...]:
    """The files, as /etc/netplan/50-azurelite-000d3a5e7b21.yaml; netplan wants them private."""
    return tuple(File(f"{FOLDER}/50-azurelite-{nic.id}.yaml", _document(nic), 0o600, nic.mac) for nic in nics)


def hands_on(texts: Iterable[str]) -> bool:
    """One of netplan's files makes it render for NetworkManager, where it refuses to match by driver."""
    return any(re.search(_TO_NETWORKMANAGER, text, re.MULTILINE) for text in texts)


def _document(nic: Nic) -> str:
    """YAML by hand: every value is a number or was checked to need no more than quotes."""
    lines = ["network:", "  version: 2", "  ethernets:", f"    0-azurelite-{nic.id}:"]
    body = ["match:", f'  macaddress: "{nic.mac}"']
    if nic.driver:
        body.append(f'  driver: "{nic.driver}"')
    if nic.renamed:
        body.append(f'set-name: "{nic.name}"')
    overrides = [f"  route-metric: {nic.metric}"] if nic.metric is not None else []
    overrides += ["  use-dns: false"] if nic.rank else []
    for key, wanted in (("dhcp4", True), ("dhcp6", nic.ipv6)):
        body.append(f"{key}: {'true' if wanted else 'false'}")
        if wanted and overrides:
            body += [f"{key}-overrides:", *overrides]
    if nic.rank:
        body.append("optional: true")  # a boot does not wait for it
    if nic.addresses:
        body += ["addresses:", *(f'  - "{address}"' for address in nic.addresses)]
    return HEADER + "".join(f"{line}\n" for line in [*lines, *(f"      {line}" for line in body)])
