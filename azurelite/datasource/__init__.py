"""From raw documents to one `Metadata`: parsing per source, and the one table that says which source wins.

Everything here is pure but `crawl.py`, which asks the sources in turn.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Mapping

from azurelite.metadata import Metadata

# Field -> sources, strongest first. The first source with something usable wins; an empty answer is no answer,
# so the next one is asked. A field that is not here is known to any source that has it, in the order ANY.
ANY = ("firmware", "imds", "wireserver")
PRECEDENCE: Mapping[str, tuple[str, ...]] = {
    "instance_id": ("firmware", "imds"),
    "vm_id": ("firmware", "imds"),
    "local_hostname": ("imds",),
    "username": ("imds",),
    "disable_password_authentication": ("imds",),
    "public_ssh_keys": ("imds",),
    "user_data": ("imds",),
    "tags": ("imds",),
    "network": ("imds",),
    "pps_type": ("imds",),
}


def sources_of(name: str) -> tuple[str, ...]:
    """The sources that may give a field, strongest first."""
    return PRECEDENCE.get(name, ANY)


def merge(parts: Mapping[str, Metadata]) -> Metadata:
    """One Metadata out of what each source said.

    Args:
        parts: source name -> what it said.

    Returns:
        The merged fields, with `provenance` and `raw` filled.
    """
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for name in (field.name for field in fields(Metadata) if field.name not in ("provenance", "raw")):
        for source in sources_of(name):
            value = getattr(parts.get(source), name, None)
            if value is not None and value != ():
                values[name] = value
                provenance[name] = source
                break
    raw = {key: document for part in parts.values() for key, document in part.raw.items()}
    return replace(Metadata(cloud_name="azure", platform="azure"), **values, provenance=provenance, raw=raw)
