"""Who this VM is, by its firmware: no request is needed to know it.

It is read on the shortest path of all ("already done"), so it imports nothing heavy.
"""

from __future__ import annotations

from azurelite import layout
from azurelite.system.root import Root

# The one value by which Azure marks its machines; vendor strings also fit any Hyper-V host.
AZURE_CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"
_GROUPS = (8, 4, 4, 4, 12)


class Identity:
    """What the firmware says.

    Attributes:
        on_azure: the chassis tag is Azure's.
        system_uuid: the SMBIOS UUID as read, lower case; None where it cannot be read.
        vm_id: Azure's id of this VM; None where there is no usable UUID.
        random_seed: what the host offers for the random pool (the ACPI table OEM0); empty where it offers none.
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
    """Azure's id for a firmware UUID: the same on generation 2 (which has EFI), with swapped bytes on generation 1."""
    try:
        generation2 = any(root.stat(path) is not None for path in (layout.EFI_DIR, layout.EFI_DEVICE))
    except OSError:
        generation2 = False
    return system_uuid if generation2 else swap_bytes(system_uuid)


def swap_bytes(uuid: str) -> str:
    """The UUID with the bytes of its first three groups reversed.

    Azure keeps those groups little-endian. A generation 1 VM's firmware (SMBIOS 2.3) hands them to Linux in
    that order, a generation 2 VM's (SMBIOS 3.1) does not.
    """
    groups = uuid.lower().split("-")
    for i in range(3):
        pairs = [groups[i][j : j + 2] for j in range(0, len(groups[i]), 2)]
        groups[i] = "".join(reversed(pairs))
    return "-".join(groups)


def is_uuid(text: str) -> bool:
    """The text is a lower-case UUID that names something: not all zeros, not all ones."""
    groups = text.split("-")
    if tuple(len(group) for group in groups) != _GROUPS:
        return False
    digits = "".join(groups)
    return all(digit in "0123456789abcdef" for digit in digits) and digits.strip("0") != "" and digits.strip("f") != ""
