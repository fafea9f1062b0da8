"""`resource_disk`: format and mount the VM's temporary disk, at every boot at which it is empty.

Azure attaches a new temporary disk when a VM moves to another host; the data on the old one is lost. Therefore
/etc/fstab gets no line for it. The temporary disk is identified by where the hypervisor attached it or by its model,
never by a name such as sdb. It is formatted only in the state in which Azure delivers it: all zeros, or an NTFS with
nothing but Azure's own files.
"""

from __future__ import annotations

import logging
import re
from typing import Literal, Optional, Union

from azurelite.config.load import Frequency
from azurelite.config.sizes import MIB, check_size
from azurelite.errors import SkippedError
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

LABEL = "azurelite"  # of the file system; a later boot recognizes azurelite's disk by it
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
Do not store data here that you cannot recreate. Use the OS disk or a data disk for it.
"""


class Options(Record):
    """Options of `resource_disk`.

    Attributes:
        mount: the mount point.
        filesystem: the file system to create: "ext4", "xfs" or "btrfs".
        format: when to format: "fresh": only a disk that holds nothing but zeros, or an NTFS with nothing but
            Azure's own files; "always": whatever it holds, unless azurelite formatted it (never while it is in
            use); "never": mount the file system that it has.
        disks: "first": only the SCSI disk, or without one the first NVMe disk; "all": every temporary disk. The
            second is mounted at the mount point's name followed by 2, and so on.
        options: mount options.
        mode: permissions of the mount point in octal, for example "1777"; set when the file system is created.
        warning: write a DATALOSS_WARNING_README.txt to it.
        swap: size of a swap file on the first disk, for example "4G" or in bytes; 0: none.
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
            raise ValueError("mount must be the absolute path of a folder, such as /mnt/resource")
        if not re.fullmatch(r"[A-Za-z0-9_.,=:/+-]+", self.options):
            raise ValueError("options must be mount options separated by commas, without spaces")
        if self.mode is not None and not re.fullmatch(r"[0-7]{3,4}", self.mode):
            raise ValueError('mode must be three or four octal digits in quotes, such as "1777"')
        if check_size("swap", self.swap) and self.mode is not None and int(self.mode, 8) & 0o1022 in (0o2, 0o20, 0o22):
            raise ValueError("mode lets other users replace the swap file: add the sticky bit, such as 1777")


def apply(ctx: Context, options: Options) -> None:
    """Format the disk if `format` allows it, mount it, and enable the swap file. Many VM sizes have no such disk.

    Raises:
        SkippedError: the root is not the running system.
        FileError: the disk cannot be read or written.
        CommandError: a tool is missing, or failed.
    """
    if not ctx.system.root.is_host:
        raise SkippedError("only a running system has disks")
    devices = BlockDevices(ctx.system.root)
    disks = temporary_disks(devices)
    if not disks:
        LOG.info("resource_disk: skipped: this VM has no temporary disk")
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
    """Mount one disk, formatted if necessary. Returns whether it is mounted at `where`."""
    rows = devices.mounts_of(disk)
    if rows:
        LOG.info("resource_disk: %s is already mounted at %s", disk.path, rows[0].folder)
        return mounted_on(ctx.system.root, where) in rows
    user = devices.in_use(disk)
    if user is not None:
        ctx.note(f"the temporary disk {disk.path} is not used: {user}")
        return False
    if mounted_on(ctx.system.root, where) is not None:
        ctx.note(f"the temporary disk {disk.path} is not used: something else is mounted at {where}")
        return False
    node = devices.node(disk, claim=True)
    with opened(node, disk) as read:
        content = content_of(read, disk.size)
    is_ours = content.kind in LINUX_KINDS and content.label == LABEL
    source, kind = disk, content.kind
    if options.format == "never":
        found = _mountable(devices, disk, content)
        if found is None:
            ctx.note(f"the temporary disk {disk.path} is not used: it has no file system, and `format` is never")
            return False
        source, kind = found
    elif not is_ours:
        obstacle = _obstacle(devices, disk, content) if options.format == "fresh" else None
        if obstacle is not None:
            ctx.note(f"the temporary disk {disk.path} is not used: {obstacle} (`format: always` overwrites it)")
            return False
        kind = options.filesystem
        make(ctx.system, disk, node, kind=kind, label=LABEL)
    ctx.system.files.mkdirs(where)
    argv = ["mount", "-t", kind, "-o", options.options, source.path, where]
    ctx.system.perform(Change("mount", where, f"{source.path}, {kind}"), argv)
    if options.format != "never" and not is_ours:
        _set_up(ctx, options, where)
    return True


def _obstacle(devices: BlockDevices, disk: Device, content: Content) -> Optional[str]:
    """Why a disk is not in the state in which Azure delivers it; None if it is."""
    if content.kind == "blank" or (content.kind == "unfinished" and content.label in ("", LABEL)):
        return None
    parts = devices.partitions(disk) if content.kind == "partitions" else [disk]
    if not 1 <= len(parts) <= 2:
        return f"it has {len(parts)} partitions instead of one or two"
    # Windows may create a small empty partition before the other one.
    if len(parts) == 2 and _content(devices, parts[0])[0].kind != "blank":
        return f"{parts[0].path} is not empty"
    last, names = _content(devices, parts[-1])
    if last.kind != "ntfs":
        return f"{parts[-1].path} is not the NTFS that Azure creates ({last.kind})"
    if names is None:
        return f"the NTFS on {parts[-1].path} cannot be read"
    strangers = {name.lower() for name in names} - _NTFS_OWN - _AZURES_OWN
    return f"{parts[-1].path} has files that are not Azure's" if strangers else None


def _content(devices: BlockDevices, device: Device) -> tuple[Content, Optional[set[str]]]:
    with opened(devices.node(device), device) as read:
        content = content_of(read, device.size)
        return content, ntfs_names(read) if content.kind == "ntfs" else None


def _mountable(devices: BlockDevices, disk: Device, content: Content) -> Optional[tuple[Device, str]]:
    """The device with a Linux file system, and the kind of that: the disk, or the only partition that has one."""
    if content.kind in LINUX_KINDS:
        return disk, content.kind
    kinds = [(part, _content(devices, part)[0].kind) for part in devices.partitions(disk)]
    found = [(part, kind) for part, kind in kinds if kind in LINUX_KINDS]
    return found[0] if len(found) == 1 else None


def _set_up(ctx: Context, options: Options, where: str) -> None:
    """Set the permissions of a new file system and write the warning file."""
    if options.mode is not None:
        ctx.system.files.mkdir(where, mode=int(options.mode, 8))
    if options.warning:
        ctx.system.files.write(f"{where}/{_WARNING_NAME}", _WARNING.encode(), mode=0o644)


def _swap(ctx: Context, options: Options, disk: Device, where: str) -> None:
    """Create the swap file on the disk and enable it; an existing swap file keeps its size."""
    size = check_size("swap", options.swap)
    if not size:
        return
    if size > disk.size // 10 * 9:
        ctx.note(
            f"swap skipped: {size // MIB} MiB is more than 90 % of {disk.path}, which has {disk.size // MIB} MiB: "
            f"set `swap` to at most {disk.size // 10 * 9 // MIB}M"
        )
        return
    file = SwapFile(ctx.system, f"{where}/swapfile")
    state = file.state()
    if state == "other":
        ctx.note(f"swap skipped: {file.path} exists, but it is not a swap file of root: remove it")
        return
    if state == "absent":
        file.make(size)
    file.switch_on()
