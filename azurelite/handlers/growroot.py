"""`growroot`: grow the partition and the file system of `/` into the free space after the partition.

An Azure disk may be larger than the image on it and can be enlarged later, so this handler checks at every boot. It
starts no program and changes nothing if less than 16 MiB can be gained. A read-only root grows through another mount
of its file system that is writable. A root on LVM, dm-crypt or RAID is not grown: a note names the free space.
"""

from __future__ import annotations

import logging
import stat
from typing import Optional

from azurelite.config.load import Frequency
from azurelite.errors import SkippedError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.disks.blockdevices import BlockDevices, Device
from azurelite.system.disks.filesystems import btrfs_node, grow, size_of
from azurelite.system.disks.growth import WORTHWHILE, grow_partition, has_mbr, room_of
from azurelite.system.disks.mounts import Mounted, mount_table, mounted_on
from azurelite.system.root import Root

SUMMARY = "grow the root partition and its file system to the size of the disk"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "boot"
REQUIRED = False

LOG = logging.getLogger(__name__)

_KINDS = ("ext2", "ext3", "ext4", "xfs", "btrfs")


class Options(Record):
    """Options of `growroot`: none."""


def apply(ctx: Context, options: Options) -> None:
    """Grow the partition and the file system. Where there is free space that cannot be used, a note says why.

    Raises:
        SkippedError: the root is not the running system.
        FileError: a device cannot be read.
        CommandError: a tool is missing, or failed.
    """
    del options
    root = ctx.system.root
    if not root.is_host:
        raise SkippedError("only the root file system of a running system is grown")
    mounted = mounted_on(root, "/")
    if mounted is None or mounted.kind not in _KINDS:
        LOG.info("growroot: skipped: the root file system is neither ext2, ext3, ext4, xfs nor btrfs")
        return
    devices = BlockDevices(root)
    device = _device_of(devices, mounted)
    if device is None:
        ctx.note("the device of the root file system was not found: grow it by hand if the disk is larger")
        return
    if devices.is_stacked(device):
        note_free_space(ctx, devices, device)
        return
    place = _writable(root, mounted)
    if place is None:
        _note_read_only(ctx, devices, device, mounted)
        return
    grown = _grow_partition(ctx, devices, device)
    if grown.size - size_of(mounted.kind, folder="/", node=devices.node(device)) >= WORTHWHILE:
        grow(ctx.system, mounted.kind, folder=place.folder, device=device)


def _writable(root: Root, mounted: Mounted) -> Optional[Mounted]:
    """The root's mount, or another mount of the same file system, that is not read-only: tools work through that one.

    A root that is a read-only subvolume of a btrfs often has `/var` or `/home` on the same file system.
    """
    rows = [mounted, *(row for row in mount_table(root) if row.number == mounted.number and row.kind == mounted.kind)]
    return next((row for row in rows if "ro" not in row.options and _is_folder(root, row.folder)), None)


def _is_folder(root: Root, path: str) -> bool:
    """Whether it is a folder; a file of the root may be mounted on another file."""
    found = root.stat(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _note_read_only(ctx: Context, devices: BlockDevices, device: Device, mounted: Mounted) -> None:
    """Note what a root could gain that can only be grown while it is writable."""
    size = device.size
    if device.partition:
        disk = devices.disk_of(device)
        size = room_of(device, disk, devices.partitions(disk)).size
    gain = size - size_of(mounted.kind, folder="/", node=devices.node(device))
    if gain >= WORTHWHILE:
        ctx.note(
            f"the root file system is mounted read-only, so {_text(gain)} of its disk stay unused: grow it while it is "
            "writable, or in the image"
        )


def _device_of(devices: BlockDevices, mounted: Mounted) -> Optional[Device]:
    """The device of `/`, found by its number: the mount table may name /dev/root, which does not exist."""
    if mounted.kind != "btrfs":
        return devices.by_number(mounted.number)
    node = btrfs_node("/")
    if node is None:
        return None
    return devices.by_node(node) or devices.by_node(mounted.source)


def _grow_partition(ctx: Context, devices: BlockDevices, device: Device) -> Device:
    """Grow the partition if there is free space after it, and return it. A disk without partitions cannot grow."""
    if not device.partition:
        return device
    disk = devices.disk_of(device)
    others = devices.partitions(disk)
    room = room_of(device, disk, others)
    if room.size - device.size >= WORTHWHILE or room.free >= WORTHWHILE:
        mbr = has_mbr(devices, disk)  # called only here, because it reads the disk
        room = room_of(device, disk, others, mbr=mbr)
        if mbr and device.partition > 4:
            ctx.note(f"{device.path} has free space after it but is a logical partition: grow it by hand")
            return device
    if room.size - device.size >= WORTHWHILE:
        grown = grow_partition(ctx.system, devices, device, disk, size=room.size)
        if grown.size == device.size:
            ctx.note(f"the kernel sees the new size of {device.path} only after a reboot: the file system grows then")
        return grown
    if room.behind is not None and room.free >= WORTHWHILE:
        ctx.note(
            f"cannot grow the root partition: {room.behind.path} is between it and {_text(room.free)} of free space on "
            f"{disk.path}: move or remove {room.behind.path}"
        )
    return device


def note_free_space(ctx: Context, devices: BlockDevices, device: Device) -> None:
    """Note free space on the disks of an LVM, dm-crypt or RAID device, which is not grown."""
    for lower in devices.beneath(device):
        disk = devices.disk_of(lower)
        room = room_of(lower, disk, devices.partitions(disk))
        if lower.partition and room.free >= WORTHWHILE:
            ctx.note(
                f"{disk.path} has {_text(room.free)} of free space, but the root file system is on {device.path} (LVM, "
                f"dm-crypt or RAID): grow {lower.path} and {device.path} by hand"
            )


def _text(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size // 2**20} MiB"
