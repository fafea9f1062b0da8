"""What goes wrong ahead of a run: Azure is told of that as well, where this is one of its running VMs."""

from __future__ import annotations

import logging

from azurelite import quick
from azurelite.clock import Clock
from azurelite.errors import AzureliteError, ConfigError, FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.identity import read_identity
from azurelite.reporter import Reporter
from azurelite.system.machine import System
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)

_SECONDS = 60.0


def tell_early_error(error: AzureliteError, *, root: str, clock: Clock) -> None:
    """A VM whose YAML is broken would be silent until Azure gives it up; so the running VM says why, once.

    Args:
        error: what went wrong.
        root: host path of the guest's `/`; nothing is told of a foreign root.
        clock: time.
    """
    guest = Root(root)
    identity = read_identity(guest)
    if not guest.is_host or not identity.on_azure:
        return
    if quick.done_before(guest, identity.vm_id) is not None:
        return  # it has been Ready once, whoever saw to that; Azure asks no more
    reason = "invalid azurelite configuration" if isinstance(error, ConfigError) else error.reason
    system = System(root, clock=clock)
    with Fabric(_SECONDS, clock=clock) as fabric:
        try:
            Reporter(fabric, system.files, identity.vm_id).not_ready(
                AzureliteError(error.message, reason=reason), fabric.deadline
            )
        except FabricError as unheard:
            LOG.error("Azure could not be told of the failure: %s", unheard)
