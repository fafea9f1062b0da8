"""The VM's identity from its firmware, without a request.

Every boot reads it, also one where nothing is left to do, so this module imports nothing expensive.
"""

from __future__ import annotations

from azurelite import layout
from azurelite.layout import is_uuid
from azurelite.system.root import Root

# Azure sets this chassis tag on every VM. Vendor strings do not prove Azure: every Hyper-V host has them.
AZURE_CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"


class Identity:
    """The identity from the firmware.

    Attributes:
        on_azure: the chassis tag is Azure's.
        system_uuid: the SMBIOS UUID as read, lower case; None where it cannot be read.
        vm_id: Azure's id of this VM; None where there is no usable UUID.
        random_seed: the host's bytes for the random pool (ACPI table OEM0); empty without one.
    """

    __slots__ = ("on_azure", "random_seed", "system_uuid", "vm_id")

    def __init__(self, *, on_azure: bool, system_uuid: str | None, vm_id: str | None, random_seed: bytes = b"") -> None:
        self.on_azure = on_azure
        self.system_uuid = system_uuid
        self.vm_id = vm_id
        self.random_seed = random_seed


def read_identity(root: Root) -> Identity:
    """Read chassis tag and UUID from the guest's sysfs; what cannot be read counts as absent."""
    # product_uuid is readable by root only; a container may hide the whole folder.
    uuid = root.text(f"{layout.DMI_DIR}/product_uuid").strip().lower()
    valid = is_uuid(uuid)
    return Identity(
        on_azure=root.text(f"{layout.DMI_DIR}/chassis_asset_tag").strip() == AZURE_CHASSIS_TAG,
        system_uuid=uuid if valid else None,
        vm_id=vm_id_of(root, uuid) if valid else None,
    )


def vm_id_of(root: Root, system_uuid: str) -> str:
    """Azure's VM id for a firmware UUID: equal on generation 2 (with EFI), with swapped bytes on generation 1."""
    try:
        generation2 = any(root.stat(path) is not None for path in (layout.EFI_DIR, layout.EFI_DEVICE))
    except OSError:
        generation2 = False
    return system_uuid if generation2 else swap_bytes(system_uuid)


def swap_bytes(uuid: str) -> str:
    """The UUID with the bytes of its first three groups reversed.

    Azure stores those groups little-endian. Linux shows them in that order on a generation 1 VM (SMBIOS 2.3), but not
    on a generation 2 VM (SMBIOS 3.1).
    """
    groups = uuid.lower().split("-")
    for i in range(3):
        pairs = [groups[i][j : j + 2] for j in range(0, len(groups[i]), 2)]
        groups[i] = "".join(reversed(pairs))
    return "-".join(groups)
