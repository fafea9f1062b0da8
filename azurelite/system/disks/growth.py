"""Growing a partition into the free space after it, with growpart or sfdisk.

The file system on the partition is not handled here.
"""

from __future__ import annotations

from functools import partial
from typing import Optional, Sequence

from azurelite.errors import CommandError
from azurelite.record import Record
from azurelite.system.changes import Change
from azurelite.system.disks.blockdevices import BlockDevices, Device
from azurelite.system.disks.filesystems import opened
from azurelite.system.machine import System
from azurelite.system.process import first_that_runs

WORTHWHILE = 16 * 1024 * 1024  # bytes; less is lost to alignment, a GPT's second copy, or the last group of an ext4
_MBR_REACH = 2**32 * 512  # bytes; an MBR has 32 bits for a sector number
_SECONDS = 60.0


class Room(Record):
    """The space after a partition.

    Attributes:
        size: bytes that the partition could have.
        free: unused bytes at the end of the disk.
        behind: the partition between it and the free bytes, or None.
    """

    size: int
    free: int
    behind: Optional[Device]


def room_of(partition: Device, disk: Device, others: Sequence[Device], *, mbr: bool = False) -> Room:
    """How large a partition could be.

    Args:
        partition: the one to grow.
        disk: its disk.
        others: the partitions of the disk, in any order; the one to grow may be among them.
        mbr: the disk has an MBR, whose limit is 2 TiB.
    """
    later = [other for other in others if other.start > partition.start and other.end > partition.end]
    end = min(disk.size, _MBR_REACH) if mbr else disk.size
    following = min(later, key=lambda other: other.start, default=None)
    last = max([partition.end, *(other.end for other in others)])
    reach = following.start if following is not None else end
    return Room(max(partition.size, reach - partition.start), max(0, end - last), following)


def has_mbr(devices: BlockDevices, disk: Device) -> bool:
    """Whether the disk's partition table is an MBR, not a GPT. Raises FileError."""
    with opened(devices.node(disk), disk) as read:
        sector = read(0, 512)
    return sector[510:512] == b"\x55\xaa" and 0xEE not in sector[450:512:16]


def grow_partition(system: System, devices: BlockDevices, partition: Device, disk: Device, *, size: int) -> Device:
    """Grow a partition into the space after it, while it is in use.

    Args:
        system: the running system.
        devices: its block devices.
        partition: the partition.
        disk: its disk.
        size: its new size in bytes, for the record.

    Returns:
        The partition as the kernel sees it afterwards; in a dry run, as it would be.

    Raises:
        CommandError: neither program is installed, or it failed.
    """
    number = str(partition.partition)
    change = Change("disk", partition.path, f"grow to {size // 1024 // 1024} MiB")
    # sfdisk moves a GPT's second copy to the disk's new end. `,+`: same start, all the space.
    inputs = {"growpart": None, "sfdisk": b",+\n"}
    argvs = [
        ["growpart", disk.path, number],
        ["sfdisk", "--quiet", "--no-reread", "--force", "-N", number, disk.path],
    ]
    installed = [argv for argv in argvs if system.commands.find(argv[0]) is not None]
    if not installed:
        raise CommandError("neither growpart nor sfdisk is installed: install cloud-guest-utils, or fdisk")
    system.journal.record(change)
    if system.dry_run:
        return Device(partition.name, partition.number, partition.folder, size, partition.start, partition.partition)
    # growpart works in a folder of its own, and /tmp may be read-only with the root.
    run = partial(system.commands.run, timeout=_SECONDS, env={"TMPDIR": "/run"})
    first_that_runs([partial(run, argv, plain_input=inputs[argv[0]]) for argv in installed])
    grown = devices.by_number(partition.number) or partition
    if grown.size == partition.size and system.commands.find("partx") is not None:
        try:  # the kernel does not reread the table of a disk in use; partx updates one partition
            system.commands.run(["partx", "--update", "--nr", number, disk.path], timeout=_SECONDS)
        except CommandError:
            return grown
        grown = devices.by_number(partition.number) or grown
    return grown
