"""`growroot`: the partition and the file system of `/` grow into the room behind them.

Azure gives a VM a disk that may be larger than the image that was put on it, and lets people enlarge it later; so it
is looked at on every boot. Nothing is done, and no program started, where less than 16 MiB are to be had.
"""

from __future__ import annotations

import logging
from typing import Optional

from azurelite.config.load import Frequency
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.disks.blockdevices import BlockDevices, Device
from azurelite.system.disks.filesystems import btrfs_node, grow, size_of
from azurelite.system.disks.growth import WORTHWHILE, grow_partition, has_mbr, room_of
from azurelite.system.disks.mounts import Mounted, mounted_on

SUMMARY = "let the root's partition and file system use the whole disk"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "boot"
REQUIRED = False

LOG = logging.getLogger(__name__)

_KINDS = ("ext2", "ext3", "ext4", "xfs", "btrfs")


class Options(Record):
    """There is nothing to choose."""


def apply(ctx: Context, options: Options) -> None:
    """Grow what can be grown; what cannot is noted where there would have been something to gain.

    Raises:
        FileError: a device cannot be read.
        CommandError: a tool is missing, or failed.
    """
    del options
    root = ctx.system.root
    if not root.is_host:
        LOG.info("growroot: only the root of a running system is grown")
        return
    mounted = mounted_on(root, "/")
    if mounted is None or mounted.kind not in _KINDS:
        LOG.info("growroot: the root is no ext4, xfs or btrfs: nothing to grow")
        return
    devices = BlockDevices(root)
    device = _device_of(devices, mounted)
    if device is None:
        ctx.note("the root's device cannot be made out: grow it by hand if the disk is larger")
    elif devices.is_stacked(device):
        tell_of_room(ctx, devices, device)
    elif "ro" in mounted.options:
        LOG.info("growroot: the root is read-only and stays as it is")
    else:
        grown = _grow_partition(ctx, devices, device)
        node = devices.node(device)
        if grown.size - size_of(mounted.kind, folder="/", node=node) >= WORTHWHILE:
            grow(ctx.system, mounted.kind, folder="/", device=device)


def _device_of(devices: BlockDevices, mounted: Mounted) -> Optional[Device]:
    """The device below `/`, by its number: the table may call it /dev/root, which is no node."""
    if mounted.kind != "btrfs":
        return devices.by_number(mounted.number)
    node = btrfs_node("/")
    if node is None:
        return None
    return devices.by_node(node) or devices.by_node(mounted.source)


def _grow_partition(ctx: Context, devices: BlockDevices, device: Device) -> Device:
    """The partition, grown if there was room; a disk without partitions is as large as it is."""
    if not device.partition:
        return device
    disk = devices.disk_of(device)
    others = devices.partitions(disk)
    room = room_of(device, disk, others)
    if room.size - device.size >= WORTHWHILE or room.free >= WORTHWHILE:
        mbr = has_mbr(devices, disk)  # asked for only here: it reads the disk
        room = room_of(device, disk, others, mbr=mbr)
        if mbr and device.partition > 4:
            ctx.note(f"{device.path} is a logical partition, which is not grown: there is room behind it")
            return device
    if room.size - device.size >= WORTHWHILE:
        grown = grow_partition(ctx.system, devices, device, disk, size=room.size)
        if grown.size == device.size:
            ctx.note(f"the kernel will see the new size of {device.path} at the next boot, and the root grows then")
        return grown
    if room.behind is not None and room.free >= WORTHWHILE:
        ctx.note(
            f"{_text(room.free)} of {disk.path} are free, but {room.behind.path} lies between them and the root: "
            "move or remove it by hand"
        )
    return device


def tell_of_room(ctx: Context, devices: BlockDevices, device: Device) -> None:
    """LVM, dm-crypt and RAID are left alone, with a word where their disk has room."""
    for lower in devices.beneath(device):
        disk = devices.disk_of(lower)
        room = room_of(lower, disk, devices.partitions(disk))
        if lower.partition and room.free >= WORTHWHILE:
            ctx.note(
                f"{_text(room.free)} of {disk.path} are free, but the root lies on {device.path} (LVM, dm-crypt or "
                f"RAID), which is not grown: grow {lower.path} and what stands on it by hand"
            )


def _text(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size // 2**20} MiB"
