"""Answers the two questions that can end a run at its start: is azurelite disabled, and is this VM done?

Most later boots of a VM run only this code, so it imports only what finds a file.
"""

from __future__ import annotations

import os

from azurelite import layout
from azurelite.hypervisor.identity import swap_bytes
from azurelite.system.root import Root

_EVERY_BOOT = "every-boot"
_UNREPORTED = "unreported"


def switched_off(root: Root) -> str | None:
    """What disables azurelite on this guest, as text; None if nothing does."""
    if exists(root, layout.DISABLED_SWITCH, unsure=True):
        return f"{layout.DISABLED_SWITCH} exists"
    if layout.KERNEL_OFF_WORD in root.text(layout.KERNEL_COMMAND_LINE).split():
        return f"the kernel command line has {layout.KERNEL_OFF_WORD}"
    return None


def marker_path(vm_id: str) -> str:
    """The guest path of the marker: a file that exists once this VM is provisioned."""
    return f"{layout.vm_folder(vm_id)}/provisioned"


def provisioned_as(root: Root, vm_id: str) -> str | None:
    """The id under which this VM was provisioned; None if it was not.

    Kernels read the firmware's UUID in different byte orders, so the id with swapped bytes is the same VM.
    """
    for candidate in (vm_id, swap_bytes(vm_id)):
        if exists(root, marker_path(candidate), unsure=False):
            return candidate
    return None


def provisioned_by_other(root: Root, vm_id: str) -> str | None:
    """The other agent that provisioned this VM; None if there is none."""
    same = (vm_id, swap_bytes(vm_id))
    for agent, path in layout.OTHER_AGENTS:
        if root.text(path).strip().lower() in same:
            return agent
    return None


def other_agent(root: Root, vm_id: str) -> str | None:
    """The other agent that provisioned this VM; None if azurelite has a record of the VM itself."""
    if exists(root, layout.vm_folder(vm_id), unsure=True):
        return None
    return provisioned_by_other(root, vm_id)


def done_before(root: Root, vm_id: str | None) -> str | None:
    """Why this is not the first boot of this VM, as text; None if it is.

    Args:
        root: the guest.
        vm_id: the id from the firmware. None: any VM with a record on this disk may be this one.
    """
    if vm_id is None:
        return (
            "this disk has the record of a VM, and the firmware has no VM id to compare"
            if knows_some_vm(root)
            else None
        )
    if provisioned_as(root, vm_id) is not None:
        return f"VM {vm_id} was provisioned earlier"
    agent = other_agent(root, vm_id)
    return f"VM {vm_id} was provisioned by {agent}" if agent is not None else None


def reported(root: Root, vm_id: str) -> bool:
    """Whether Azure has accepted Ready for this VM: the marker exists and does not say "unreported"."""
    known = provisioned_as(root, vm_id)
    return known is not None and _UNREPORTED not in root.text(marker_path(known)).splitlines()


def nothing_to_do(root: Root, vm_id: str, *, config_file: str | None) -> bool:
    """Whether this VM is provisioned, no handler runs at every boot, and the configuration is unchanged."""
    known = provisioned_as(root, vm_id)
    if known is None or (config_file is not None and not os.path.isfile(config_file)):
        return False
    text = root.text(marker_path(known)).removeprefix(f"{_UNREPORTED}\n")
    return text == marker_text(root, config_file=config_file)


def marker_text(root: Root, *, config_file: str | None, every_boot: bool = False, unreported: bool = False) -> str:
    """The content of the marker: two flags for the next boot, and a fingerprint of the configuration.

    Args:
        root: the guest.
        config_file: host path given by --config, or None.
        every_boot: some handler runs at every boot, so the marker alone must not end a run.
        unreported: `report_ready` is not configured, so Azure was not told; a later configuration may have it.
    """
    try:
        stamps = [_stamp(path, root.stat(path)) for path in layout.config_files(root.names)]
    except OSError:  # loading the configuration reports the error
        stamps = ["unreadable"]
    if config_file is not None:
        path = os.path.abspath(config_file)
        stamps.append(_stamp(path, os.stat(path) if os.path.exists(path) else None))
    return (
        "\n".join([_UNREPORTED] * unreported + [_EVERY_BOOT] * every_boot + [stamp for stamp in stamps if stamp]) + "\n"
    )


def knows_some_vm(root: Root) -> bool:
    """Whether the disk has the record of a VM that is done.

    An older release kept the records of a VM without a known id under zeros; they are of no VM.
    """
    try:
        names = [name for name in root.names(layout.VMS_DIR) if name != layout.NO_VM_ID]
    except OSError:
        return False
    return any(exists(root, marker_path(name), unsure=True) for name in names)


def exists(root: Root, path: str, *, unsure: bool) -> bool:
    """Whether `path` exists; `unsure` if that cannot be found out."""
    try:
        return root.stat(path) is not None
    except OSError:
        return unsure


def _stamp(path: str, found: os.stat_result | None) -> str:
    return f"{path} {found.st_mtime_ns} {found.st_size}" if found is not None else ""
