"""The check that ends most boots: this VM is done. It imports as few modules as possible."""

from __future__ import annotations

from azurelite.hypervisor.identity import read_identity, swap_bytes
from azurelite.state import marker
from azurelite.state.quick import note_idle_boot
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
    vm_id = read_identity(guest).vm_id
    others = (swap_bytes(vm_id),) if vm_id is not None else ()
    if off is not None:
        said = f"azurelite is disabled: {off}"
        note_idle_boot(guest, "disabled", said, vm_id=vm_id, others=others)
        return said
    if vm_id is not None and marker.nothing_to_do(guest, vm_id, config_file=config):
        said = f"VM {vm_id} was provisioned earlier; nothing to do"
        note_idle_boot(guest, "done", said, vm_id=vm_id, others=others)
        return said
    return None
