"""The questions that end a run before it begins: is azurelite switched off, and is the work already done?

Every later boot of a VM walks this path and no further, so it imports nothing but what finds a file.
"""

from __future__ import annotations

import os

from azurelite import layout
from azurelite.hypervisor.identity import swap_bytes
from azurelite.system.root import Root

_EVERY_BOOT = "every-boot"
_UNREPORTED = "unreported"


def switched_off(root: Root) -> str | None:
    """What switches azurelite off on this guest, in a reader's words, or None."""
    if exists(root, layout.DISABLED_SWITCH, unsure=True):
        return f"{layout.DISABLED_SWITCH} exists"
    if layout.KERNEL_OFF_WORD in root.text(layout.KERNEL_COMMAND_LINE).split():
        return f"the kernel command line says {layout.KERNEL_OFF_WORD}"
    return None


def marker_path(vm_id: str) -> str:
    """The guest path of the file whose existence says that this VM is provisioned."""
    return f"{layout.vm_folder(vm_id)}/provisioned"


def provisioned_as(root: Root, vm_id: str) -> str | None:
    """The id under which this VM was provisioned, or None.

    A kernel that begins to read the firmware's UUID the other way round must not make a VM new, so the id with
    swapped bytes is the same VM.
    """
    for candidate in (vm_id, swap_bytes(vm_id)):
        if exists(root, marker_path(candidate), unsure=False):
            return candidate
    return None


def provisioned_by_other(root: Root, vm_id: str) -> str | None:
    """The agent that provisioned this very VM before azurelite came onto it, or None."""
    same = (vm_id, swap_bytes(vm_id))
    for agent, path in layout.OTHER_AGENTS:
        if root.text(path).strip().lower() in same:
            return agent
    return None


def other_agent(root: Root, vm_id: str) -> str | None:
    """Who else has provisioned this very VM, unless azurelite has been at it itself."""
    if exists(root, layout.vm_folder(vm_id), unsure=True):
        return None
    return provisioned_by_other(root, vm_id)


def done_before(root: Root, vm_id: str | None) -> str | None:
    """Why this is not this VM's first boot, in a reader's words, or None.

    Args:
        root: the guest.
        vm_id: the VM, where the firmware names it; otherwise any VM that was begun on this disk may be this one.
    """
    if vm_id is None:
        return "some VM was provisioned on this disk, and the firmware names none" if knows_some_vm(root) else None
    if provisioned_as(root, vm_id) is not None:
        return f"this VM ({vm_id}) is provisioned already"
    agent = other_agent(root, vm_id)
    return f"{agent} has provisioned this VM" if agent is not None else None


def reported(root: Root, vm_id: str) -> bool:
    """Azure has accepted Ready for this VM: its marker does not say that nobody told Azure."""
    known = provisioned_as(root, vm_id)
    return known is not None and _UNREPORTED not in root.text(marker_path(known)).splitlines()


def nothing_to_do(root: Root, vm_id: str, *, config_file: str | None) -> bool:
    """This VM is provisioned, no handler wants to run at every boot, and the configuration has not changed since."""
    known = provisioned_as(root, vm_id)
    if known is None or (config_file is not None and not os.path.isfile(config_file)):
        return False
    text = root.text(marker_path(known)).removeprefix(f"{_UNREPORTED}\n")
    return text == marker_text(root, config_file=config_file)


def marker_text(root: Root, *, config_file: str | None, every_boot: bool = False, unreported: bool = False) -> str:
    """What the marker holds: two notes for the next boot, and the configuration's fingerprint.

    Args:
        root: the guest.
        config_file: host path given by --config, or None.
        every_boot: some handler runs at every boot, so that the marker alone never ends a run.
        unreported: the configuration left telling Azure to others; with another one it may still have to be done.
    """
    try:
        stamps = [_stamp(path, root.stat(path)) for path in layout.config_files(root.names)]
    except OSError:  # whoever reads the configuration itself will say what is wrong with it
        stamps = ["unreadable"]
    if config_file is not None:
        path = os.path.abspath(config_file)
        stamps.append(_stamp(path, os.stat(path) if os.path.exists(path) else None))
    return (
        "\n".join([_UNREPORTED] * unreported + [_EVERY_BOOT] * every_boot + [stamp for stamp in stamps if stamp]) + "\n"
    )


def knows_some_vm(root: Root) -> bool:
    """Some VM was begun on this disk, whichever it was."""
    try:
        return bool(root.names(layout.VMS_DIR))
    except OSError:
        return False


def exists(root: Root, path: str, *, unsure: bool) -> bool:
    """There is something at `path`; `unsure` where it cannot be looked at."""
    try:
        return root.stat(path) is not None
    except OSError:
        return unsure


def _stamp(path: str, found: os.stat_result | None) -> str:
    return f"{path} {found.st_mtime_ns} {found.st_size}" if found is not None else ""
