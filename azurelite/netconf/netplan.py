"""NICs as files of netplan, one per NIC. netplan's own settings decide whether networkd or NetworkManager applies them.

netplan names networkd's files after the id of a NIC, and networkd uses the first file that matches. Debian's cloud
images have ids like `all-eth`, so azurelite's begin with 0 to come first.
"""

from __future__ import annotations

import re
from typing import Iterable

from azurelite.netconf.nics import HEADER, File, Nic

FOLDER = "/etc/netplan"
FOLDERS = ("/usr/lib/netplan", FOLDER, "/run/netplan")
_TO_NETWORKMANAGER = r"^[^#\n]*\brenderer[\"']?\s*:\s*[\"']?NetworkManager\b"


def render(nics: Iterable[Nic]) -> tuple[File, ...]:
    """The files, as /etc/netplan/50-azurelite-000d3a5e7b21.yaml; mode 0600, as netplan demands."""
    return tuple(File(f"{FOLDER}/50-azurelite-{nic.id}.yaml", _document(nic), 0o600, nic.mac) for nic in nics)


def hands_on(texts: Iterable[str]) -> bool:
    """Whether netplan's files choose NetworkManager, for which netplan refuses to match by driver."""
    return any(re.search(_TO_NETWORKMANAGER, text, re.MULTILINE) for text in texts)


def _document(nic: Nic) -> str:
    """The file. YAML without a library: every value is a number, or was checked to be safe in quotes."""
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
        body.append("optional: true")  # boot does not wait for it
    if nic.addresses:
        body += ["addresses:", *(f'  - "{address}"' for address in nic.addresses)]
    return HEADER + "".join(f"{line}\n" for line in [*lines, *(f"      {line}" for line in body)])
