"""`resource_disk`: the VM's temporary disk gets a file system and a mount point, on every boot on which it is empty.

Azure puts a new temporary disk under a VM whenever that comes to another host; what was on the old one is gone. So
nothing about it is entered in /etc/fstab. A disk is taken for the temporary one by where the hypervisor attached it or
by its model, never by a name such as sdb, and is written to only while it is as Azure delivers it: zeros, or an NTFS
with nothing but Azure's own files in it.
"""

from __future__ import annotations

import logging
import re
from typing import Literal, Optional, Union

from azurelite.config.load import Frequency
from azurelite.config.sizes import MIB, check_size
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.changes import Change
from azurelite.system.disks.blockdevices import BlockDevices, Device
from azurelite.system.disks.filesystems import LINUX_KINDS, Content, content_of, make, ntfs_names, opened
from azurelite.system.disks.mounts import mounted_on
from azurelite.system.disks.swapfile import SwapFile

SUMMARY = "format and mount the temporary disk"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "boot"
REQUIRED = False

LOG = logging.getLogger(__name__)

LABEL = "azurelite"  # by it a later boot knows that the disk is ours
_GEN1 = "{00000000-0001-"  # the second IDE channel of a generation 1 VM; {00000000-0000- is the OS disk
_GEN2 = "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}"  # the controller with the OS disk (LUN 0) and the temporary one (1)
_LINKS = ("/dev/disk/azure/resource", "/dev/disk/cloud/azure_resource")  # of udev rules, where they are installed
_LOCAL_NVME = r"Microsoft NVMe Direct Disk( v[0-9]+)?"  # remote disks are "MSFT NVMe Accelerator v1.0"
_AZURES_OWN = {"dataloss_warning_readme.txt", "system volume information", "$recycle.bin"}
_NTFS_OWN = {
    *(".", "$attrdef", "$badclus", "$bitmap", "$boot", "$extend", "$logfile"),
    *("$mft", "$mftmirr", "$secure", "$upcase", "$volume"),
}
_WARNING_NAME = "DATALOSS_WARNING_README.txt"
_WARNING = """\
WARNING: THIS IS A TEMPORARY DISK.

Everything on it is LOST when this virtual machine is stopped (deallocated), resized or moved to another host.
Keep nothing here that cannot be made again. What must stay belongs on the OS disk or on a data disk.
"""


class Options(Record):
    """Options of `resource_disk`.

    Attributes:
        mount: where it is mounted.
        filesystem: what is made on it: "ext4", "xfs" or "btrfs".
        format: "fresh": only while it holds nothing but zeros, or an NTFS with nothing but Azure's own files;
            "always": whatever it holds, unless azurelite made it (never while somebody uses it); "never": what
            file system it has is mounted.
        disks: "first": the SCSI one, or where there is none the first NVMe; "all": every one, the second at the
            mount point's name with 2 behind it, and so on.
        options: mount options.
        mode: permissions of the mount point in octal, as "1777"; set when the file system is made.
        warning: put a DATALOSS_WARNING_README.txt on it.
        swap: size of a swap file on the first disk, as "4G" or in bytes; 0: none.
    """

    mount: str = "/mnt/resource"
    filesystem: Literal["ext4", "xfs", "btrfs"] = "ext4"
    format: Literal["fresh", "always", "never"] = "fresh"
    disks: Literal["first", "all"] = "first"
    options: str = "defaults"
    mode: Optional[str] = None
    warning: bool = True
    swap: Union[int, str] = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(/[^/\x00-\x20\x7f]+)+", self.mount) or {".", ".."} & set(self.mount.split("/")):
            raise ValueError("mount must be the absolute path of a folder, as /mnt/resource")
        if not re.fullmatch(r"[A-Za-z0-9_.,=:/+-]+", self.options):
            raise ValueError("options must be mount options with commas between them and no spaces")
        if self.mode is not None and not re.fullmatch(r"[0-7]{3,4}", self.mode):
            raise ValueError('mode must be three or four octal digits in quotes, as "1777"')
        if check_size("swap", self.swap) and self.mode is not None and int(self.mode, 8) & 0o1022 in (0o2, 0o20, 0o22):
            raise ValueError("mode lets others put files in the place of the swap file: add the sticky bit, as 1777")


def apply(ctx: Context, options: Options) -> None:
    """Format where that is allowed, mount, and swap. A VM without a temporary disk is as it should be.

    Raises:
        FileError: the disk cannot be read or written.
        CommandError: a tool is missing, or failed.
    """
    if not ctx.system.root.is_host:
        LOG.info("resource_disk: only a running system has disks")
        return
    devices = BlockDevices(ctx.system.root)
    disks = temporary_disks(devices)
    if not disks:
        LOG.info("resource_disk: this VM has no temporary disk")
    for i, disk in enumerate(disks if options.disks == "all" else disks[:1]):
        where = f"{options.mount}{i + 1}" if i else options.mount
        if _use(ctx, options, devices, disk, where) and not i:
            _swap(ctx, options, disk, where)


def temporary_disks(devices: BlockDevices) -> list[Device]:
    """The VM's temporary disks: the SCSI one first, then those on NVMe."""
    disks = devices.disks()
    linked = {found.number for found in map(devices.by_node, _LINKS) if found is not None}
    scsi = [disk for disk in disks if _is_scsi_resource(devices, disk)]
    nvme = [disk for disk in disks if re.fullmatch(_LOCAL_NVME, devices.attribute(disk, "device/model"))]
    return scsi + nvme or [disk for disk in disks if disk.number in linked]


def _is_scsi_resource(devices: BlockDevices, disk: Device) -> bool:
    lun = devices.lun(disk)
    if lun is None or devices.attribute(disk, "device/model") != "Virtual Disk":
        return False
    ids = [value.lower() for value in devices.inherited(disk, "device_id")]
    return any(name.startswith(_GEN1) or (name == _GEN2 and lun == 1) for name in ids)


def _use(ctx: Context, options: Options, devices: BlockDevices, disk: Device, where: str) -> bool:
    """Bring one disk to its mount point; False where it is left alone."""
    rows = devices.mounts_of(disk)
    if rows:
        LOG.info("resource_disk: %s is mounted at %s already", disk.path, rows[0].folder)
        return mounted_on(ctx.system.root, where) in rows
    user = devices.in_use(disk)
    if user is not None:
        ctx.note(f"the temporary disk {disk.path} is left alone: {user}")
        return False
    if mounted_on(ctx.system.root, where) is not None:
        ctx.note(f"something else is mounted at {where}: the temporary disk {disk.path} is left alone")
        return False
    node = devices.node(disk, claim=True)
    with opened(node, disk) as read:
        content = content_of(read, disk.size)
    is_ours = content.kind in LINUX_KINDS and content.label == LABEL
    source, kind = disk, content.kind
    if options.format == "never":
        found = _mountable(devices, disk, content)
        if found is None:
            ctx.note(f"the temporary disk {disk.path} has no file system that could be mounted, and `format` is never")
            return False
        source, kind = found
    elif not is_ours:
        obstacle = _obstacle(devices, disk, content) if options.format == "fresh" else None
        if obstacle is not None:
            ctx.note(f"the temporary disk {disk.path} is left alone: {obstacle} (`format: always` overwrites it)")
            return False
        kind = options.filesystem
        make(ctx.system, disk, node, kind=kind, label=LABEL)
    ctx.system.files.mkdirs(where)
    argv = ["mount", "-t", kind, "-o", options.options, source.path, where]
    ctx.system.perform(Change("mount", where, f"{source.path}, {kind}"), argv)
    if options.format != "never" and not is_ours:
        _furnish(ctx, options, where)
    return True


def _obstacle(devices: BlockDevices, disk: Device, content: Content) -> Optional[str]:
    """Why a disk is not as Azure delivers it; None where it is."""
    if content.kind == "blank" or (content.kind == "unfinished" and content.label in ("", LABEL)):
        return None
    parts = devices.partitions(disk) if content.kind == "partitions" else [disk]
    if not 1 <= len(parts) <= 2:
        return f"it has {len(parts)} partitions, and not one or two as Azure's"
    # Windows may put a small partition ahead, with nothing in it.
    if len(parts) == 2 and _content(devices, parts[0])[0].kind != "blank":
        return f"{parts[0].path} holds something"
    last, names = _content(devices, parts[-1])
    if last.kind != "ntfs":
        return f"{parts[-1].path} holds something that is not Azure's ({last.kind})"
    if names is None:
        return f"the NTFS on {parts[-1].path} cannot be read"
    strangers = {name.lower() for name in names} - _NTFS_OWN - _AZURES_OWN
    return f"somebody has put files on {parts[-1].path}" if strangers else None


def _content(devices: BlockDevices, device: Device) -> tuple[Content, Optional[set[str]]]:
    with opened(devices.node(device), device) as read:
        content = content_of(read, device.size)
        return content, ntfs_names(read) if content.kind == "ntfs" else None


def _mountable(devices: BlockDevices, disk: Device, content: Content) -> Optional[tuple[Device, str]]:
    """What can be mounted as it is, and its kind: the disk, or the only partition with a file system."""
    if content.kind in LINUX_KINDS:
        return disk, content.kind
    kinds = [(part, _content(devices, part)[0].kind) for part in devices.partitions(disk)]
    found = [(part, kind) for part, kind in kinds if kind in LINUX_KINDS]
    return found[0] if len(found) == 1 else None


def _furnish(ctx: Context, options: Options, where: str) -> None:
    """What belongs on a new file system."""
    if options.mode is not None:
        ctx.system.files.mkdir(where, mode=int(options.mode, 8))
    if options.warning:
        ctx.system.files.write(f"{where}/{_WARNING_NAME}", _WARNING.encode(), mode=0o644)


def _swap(ctx: Context, options: Options, disk: Device, where: str) -> None:
    """The swap file on it; one that is there stays as it is."""
    size = check_size("swap", options.swap)
    if not size:
        return
    if size > disk.size // 10 * 9:
        ctx.note(f"{disk.path} has {disk.size // MIB} MiB: there is no room for a swap file of {size // MIB} MiB")
        return
    file = SwapFile(ctx.system, f"{where}/swapfile")
    state = file.state()
    if state == "other":
        ctx.note(f"{file.path} is no swap file, and is left alone")
        return
    if state == "absent":
        file.make(size)
    file.switch_on()
