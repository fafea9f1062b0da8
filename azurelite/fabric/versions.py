"""WireServer's versions document: which protocol versions this host speaks."""

from __future__ import annotations

from typing import Optional

from azurelite.errors import FabricError
from azurelite.fabric.goalstate import parse_xml

# What azurelite can speak, best first. Every agent in use speaks the first; the second has been seen to work, too.
SPOKEN = ("2012-11-30", "2015-04-05")


def choose_version(document: bytes, *, refused: str) -> str:
    """The version to speak on this host.

    Args:
        document: the answer to `/?comp=versions`. A version counts whether it stands as preferred or as supported:
            hosts list the one that every agent speaks in either place.
        refused: the version that the host has just turned down.

    Returns:
        A version of SPOKEN that the host offers.

    Raises:
        FabricError: it offers none, or the document cannot be read.
    """
    root = parse_xml(document, source="WireServer's versions")
    offered = [(element.text or "").strip() for element in root.iter("Version")]
    chosen: Optional[str] = next((v for v in SPOKEN if v in offered and v != refused), None)
    if chosen is None:
        said = ", ".join(offered[:12]) or "none"
        raise FabricError(f"WireServer refused version {refused} and offers no other that azurelite speaks: {said}")
    return chosen
