"""The check that ends most boots: this VM is done. It imports as few modules as possible."""

from __future__ import annotations

from azurelite.hypervisor.identity import read_identity
from azurelite.state import marker
from azurelite.system.root import Root


def nothing_to_do(verb: str, root: str, *, config: str | None = None) -> str | None:
    """Why a verb has nothing to do at this boot; None if it has.

    Args:
        verb: "provision", "apply" (with --first-boot), or "report", which always has work.
        root: host path of the guest's `/`.
        config: the file of `provision --config`.
    """
    if verb == "report":
        return None
    guest = Root(root)
    if verb == "apply":
        return marker.done_before(guest, read_identity(guest).vm_id)
    off = marker.switched_off(guest)
    if off is not None:
        return f"azurelite is disabled: {off}"
    vm_id = read_identity(guest).vm_id
    if vm_id is not None and marker.nothing_to_do(guest, vm_id, config_file=config):
        return f"VM {vm_id} was provisioned earlier; nothing to do"
    return None
