"""From raw documents to one `Metadata`: a parser for each source, and the one table of which source wins.

Only `crawl.py` does I/O: it reads the sources one after the other.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from azurelite.config.load import OWN_SOURCES, SOURCES
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


OTHER = "datasource {}: "  # how messages of any other source begin


def others_in(names: Iterable[str]) -> tuple[str, ...]:
    """The sources that are not azurelite's own, in order."""
    return tuple(name for name in names if name not in OWN_SOURCES)


def sources_of(name: str, others: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The sources that can have a field, strongest first.

    Args:
        name: the field.
        others: sources that are not azurelite's own, which may have any field. They win over Azure's sources, because
            the owner of the image has listed them; the firmware, which says which VM this is, wins over them.
    """
    known = PRECEDENCE[name]
    firm = known[:1] if known[:1] == ("firmware",) else ()
    return (*firm, *others, *known[len(firm) :])


def needs_azure(sources: Iterable[str], *, on_azure: bool, early: bool = False) -> bool:
    """Whether reading these sources needs Azure: this machine must be there, and may ask it.

    False if plug-ins are among them, and neither IMDS nor WireServer. The disc of a VM on Azure may name certificates.

    Args:
        sources: that are read.
        on_azure: whether requests would be allowed.
        early: the network may not be up: the disc alone is enough, and certificates are not asked for.
    """
    asked = set(sources)
    own = asked & set(SOURCES)
    if early:
        return bool(own - {"media"})
    return own == asked or bool(own - {"media"}) or (on_azure and bool(own))


def missing_by(metadata: Metadata, failures: Mapping[str, FabricError]) -> dict[str, FabricError]:
    """The fields without a value that a failed source may have -> the failure of the strongest such source."""
    found = {}
    others = others_in(failures)
    for name in PRECEDENCE:
        failed = [failures[source] for source in sources_of(name, others) if source in failures]
        if failed and getattr(metadata, name) is None:
            found[name] = failed[0]
    return found


def merge(parts: Mapping[str, Metadata]) -> Metadata:
    """Merge the metadata of all sources into one.

    Args:
        parts: source name -> the metadata of that source; of those that are not azurelite's own, the first wins.

    Returns:
        The merged fields, with `provenance` and `raw` filled.
    """
    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    others = others_in(parts)
    for name in PRECEDENCE:
        for source in sources_of(name, others):
            value = getattr(parts.get(source), name, None)
            if value is not None and value != ():
                values[name] = value
                provenance[name] = source
                break
    raw = {key: document for part in parts.values() for key, document in part.raw.items()}
    values = {"cloud_name": "azure", "platform": "azure", **values}
    return replace(Metadata(), **values, provenance=provenance, raw=raw)
