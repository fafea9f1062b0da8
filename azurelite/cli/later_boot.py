"""The check that ends most boots: this VM is done. It imports as little as it can."""

from __future__ import annotations

from azurelite.hypervisor.identity import read_identity
from azurelite.state import marker
from azurelite.system.root import Root


def nothing_to_do(verb: str, root: str, *, config: str | None = None) -> str | None:
    """Why a boot has nothing to do, as at every usual later one, or None.

    Args:
        verb: "provision", "apply" (at the first boot only), or "report", which is always done.
        root: host path of the guest's `/`.
        config: of `provision --config`.
    """
    if verb == "report":
        return None
    guest = Root(root)
    if verb == "apply":
        return marker.done_before(guest, read_identity(guest).vm_id)
    off = marker.switched_off(guest)
    if off is not None:
        return f"azurelite is switched off: {off}"
    vm_id = read_identity(guest).vm_id
    if vm_id is not None and marker.nothing_to_do(guest, vm_id, config_file=config):
        return f"this VM ({vm_id}) is provisioned already"
    return None
