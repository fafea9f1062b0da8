"""From raw documents to one `Metadata`: parsing per source, and the one table that says which source wins.

Everything here is pure but `crawl.py`, which asks the sources in turn.
"""

from __future__ import annotations

from typing import Any, Mapping

from azurelite.metadata import Metadata
from azurelite.record import replace

# Field -> sources, strongest first. The first source with something usable wins; an empty answer is no answer,
# so the next one is asked.
PRECEDENCE: Mapping[str, tuple[str, ...]] = {
    "cloud_name": (),
    "platform": (),
    "instance_id": ("firmware", "imds"),
    "vm_id": ("firmware", "imds"),
    "local_hostname": ("imds", "media"),
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
    """The sources that may give a field, strongest first."""
    return PRECEDENCE[name]


def merge(parts: Mapping[str, Metadata]) -> Metadata:
    """One Metadata out of what each source said.

    Args:
        parts: source name -> what it said.

    Returns:
        The merged fields, with `provenance` and `raw` filled.
    """
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for name in (field.name for field in Metadata.FIELDS if field.name not in ("provenance", "raw")):
        for source in sources_of(name):
            value = getattr(parts.get(source), name, None)
            if value is not None and value != ():
                values[name] = value
                provenance[name] = source
                break
    raw = {key: document for part in parts.values() for key, document in part.raw.items()}
    return replace(Metadata(cloud_name="azure", platform="azure"), **values, provenance=provenance, raw=raw)
