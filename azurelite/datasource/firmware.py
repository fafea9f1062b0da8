"""What the firmware knows -> Metadata."""

from __future__ import annotations

from azurelite.fabric.identity import Identity
from azurelite.metadata import Metadata, Secret


def from_identity(identity: Identity) -> Metadata:
    """The two ids, the firmware's own as other agents use it and Azure's, and a random seed."""
    seed = identity.random_seed
    return Metadata(instance_id=identity.system_uuid, vm_id=identity.vm_id, random_seed=Secret(seed) if seed else None)
