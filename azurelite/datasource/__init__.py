"""From raw documents to one `Metadata`: a parser for each source, and the one table of which source wins.

Only `crawl.py` does I/O: it reads the sources one after the other.
"""

from __future__ import annotations

from typing import Any, Mapping

from azurelite.errors import FabricError
from azurelite.metadata import Metadata
from azurelite.record import replace

# Field -> sources, strongest first. The first source with a usable value wins. An empty value counts as absent,
# so the next source is used.
PRECEDENCE: Mapping[str, tuple[str, ...]] = {
    "cloud_name": (),
    "platform": (),
    "instance_id": ("firmware", "imds"),
    "vm_id": ("firmware", "imds"),
    "local_hostname": ("imds", "media", "resource"),  # resource: the VM's name in Azure, see `imds.resource_part`
    "region": ("imds",),
    "availability_zone": ("imds",),
    "fault_domain": ("imds",),
    "vm_size": ("imds",),
    "username": ("imds", "media"),
    "password": ("media",),
    "disable_password_authentication": ("imds", "media"),
    "public_ssh_keys": ("imds", "media", "certificates"),
    "custom_data": ("media",),
    "user_data": ("imds",),
    "tags": ("imds",),
    "network": ("imds",),
    "pps_type": ("media", "imds"),
    "provision_guest_proxy_agent": ("media",),
    "random_seed": ("firmware",),
}


def sources_of(name: str) -> tuple[str, ...]:
    """The sources that can have a field, strongest first."""
    return PRECEDENCE[name]


def missing_by(metadata: Metadata, failures: Mapping[str, FabricError]) -> dict[str, FabricError]:
    """The fields without a value that a failed source may have -> the failure of the strongest such source."""
    found = {}
    for name in PRECEDENCE:
        failed = [failures[source] for source in sources_of(name) if source in failures]
        if failed and getattr(metadata, name) is None:
            found[name] = failed[0]
    return found


def merge(parts: Mapping[str, Metadata]) -> Metadata:
    """Merge the metadata of all sources into one.

    Args:
        parts: source name -> the metadata of that source.

    Returns:
        The merged fields, with `provenance` and `raw` filled.
    """
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for name in PRECEDENCE:
        for source in sources_of(name):
            value = getattr(parts.get(source), name, None)
            if value is not None and value != ():
                values[name] = value
                provenance[name] = source
                break
    raw = {key: document for part in parts.values() for key, document in part.raw.items()}
    return replace(Metadata(cloud_name="azure", platform="azure"), **values, provenance=provenance, raw=raw)
