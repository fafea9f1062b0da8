"""What the firmware knows -> Metadata."""

from __future__ import annotations

from azurelite.fabric.identity import Identity
from azurelite.metadata import Metadata


def from_identity(identity: Identity) -> Metadata:
    """The two ids: the firmware's own, as other agents use it, and Azure's."""
    return Metadata(instance_id=identity.system_uuid, vm_id=identity.vm_id)
