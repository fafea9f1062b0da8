"""Disks and partitions in sysfs: their sizes, positions and layers, and what uses them.

This module only reads. The handlers know the purpose of each disk. Names such as `sdb` have no meaning here: Linux
assigns them in the order in which it finds the disks.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Iterator, Optional

from azurelite.errors import FileError
from azurelite.record import Record
from azurelite.system.disks.mounts import Mounted, mount_table
from azurelite.system.explain import explained
from azurelite.system.globs import natural
from azurelite.system.root import Root

_SECTOR = 512  # bytes: the unit of sysfs, whatever the disk's sector size is


class Device(Record):
    """A disk or a partition.

    Attributes:
        name: its name below /dev.
        number: "major:minor".
        folder: guest path of its folder in sysfs.
        size: bytes.
        start: bytes from the beginning of its disk; 0 for a disk.
        partition: its number; 0 for a disk.
    """

    name: str
    number: str
    folder: str
    size: int
    start: int = 0
    partition: int = 0

    @property
    def path(self) -> str:
        """Guest path of its device node."""
        return f"/dev/{self.name}"

    @property
    def end(self) -> int:
        """Offset in bytes of the first byte after it, from the beginning of the disk."""
        return self.start + self.size


class BlockDevices:
    """The block devices of a guest.

    Args:
        root: the guest; its /sys and /proc are read.
    """

    def __init__(self, root: Root) -> None:
        self.root = root

    def disks(self) -> list[Device]:
        """Whole disks in natural order of their names (nvme2n1 before nvme10n1)."""
        found = [self._device(self._guest(f"/sys/block/{name}")) for name in self._names("/sys/block")]
        return sorted((disk for disk in found if disk is not None and disk.size), key=lambda disk: natural(disk.name))

    def by_number(self, number: str) -> Optional[Device]:
        """The device "major:minor", or None."""
        return self._device(self._guest(f"/sys/dev/block/{number}"))

    def by_node(self, path: str) -> Optional[Device]:
        """The device of a device node or of a link to one; None if it is not a block device."""
        try:
            found = self.root.stat(path)
        except OSError:
            return None
        if found is None or not stat.S_ISBLK(found.st_mode):
            return None
        return self.by_number(f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}")

    def disk_of(self, device: Device) -> Device:
        """The disk of a partition; for a disk the disk itself."""
        if not device.partition:
            return device
        return self._device(os.path.dirname(device.folder)) or device

    def partitions(self, disk: Device) -> list[Device]:
        """The partitions that the kernel knows, in the order of their start."""
        found = [
            self._device(f"{disk.folder}/{name}")
            for name in self._names(disk.folder)
            if self.root.text(f"{disk.folder}/{name}/partition").strip()
        ]
        return sorted((part for part in found if part is not None), key=lambda part: part.start)

    def beneath(self, device: Device) -> list[Device]:
        """The disks and partitions below a device-mapper or md device; [] for any other device."""
        found: list[Device] = []
        pending = [(device.folder, 0)]
        while pending:
            folder, depth = pending.pop()
            for name in self._names(f"{folder}/slaves"):
                lower = self._guest(f"{folder}/slaves/{name}")
                if self._names(f"{lower}/slaves") and depth < 8:
                    pending.append((lower, depth + 1))
                    continue
                known = self._device(lower)
                if known is not None:
                    found.append(known)
        return found

    def is_stacked(self, device: Device) -> bool:
        """Whether it is made of other devices: LVM, dm-crypt, multipath, RAID."""
        return bool(self._names(f"{device.folder}/slaves")) or any(
            self._names(f"{device.folder}/{kind}") for kind in ("dm", "md")
        )

    def attribute(self, device: Device, name: str) -> str:
        """An attribute in the device's sysfs folder, as "device/model"; "" if there is none."""
        return self.root.text(f"{device.folder}/{name}").strip()

    def inherited(self, disk: Device, name: str) -> Iterator[str]:
        """The values of an attribute in all parent folders, nearest first: of its controller, of its bus."""
        folder = os.path.dirname(disk.folder)
        while folder.startswith("/sys/devices/"):
            value = self.root.text(f"{folder}/{name}").strip()
            if value:
                yield value
            folder = os.path.dirname(folder)

    def lun(self, disk: Device) -> Optional[int]:
        """The LUN of a SCSI disk, or None if it is not a SCSI disk."""
        address = os.path.basename(self._guest(f"{disk.folder}/device")).split(":")
        return int(address[3]) if len(address) == 4 and address[3].isdigit() else None

    def mounts_of(self, disk: Device) -> list[Mounted]:
        """The mounts of the disk and of its partitions."""
        devices = [disk, *self.partitions(disk)]
        numbers = {device.number for device in devices}
        return [
            row
            for row in mount_table(self.root)
            if row.number in numbers or self._is_one_of(row.source, numbers, {device.path for device in devices})
        ]

    def in_use(self, disk: Device) -> Optional[str]:
        """What uses the disk or one of its partitions, as text for a message; None if it is unused."""
        for row in self.mounts_of(disk):
            return f"it is mounted at {row.folder}"
        devices = [disk, *self.partitions(disk)]
        for device in devices:
            for holder in self._names(f"{device.folder}/holders"):
                return f"{holder} uses it"
        swaps = {line.split(" ")[0].split("\t")[0] for line in self.root.text("/proc/swaps").strip().splitlines()[1:]}
        if any(self._is_one_of(swap, {d.number for d in devices}, {d.path for d in devices}) for swap in swaps):
            return "it is used as swap"
        if self.attribute(disk, "ro") == "1":
            return "it is read-only"
        return None

    def node(self, device: Device, *, claim: bool = False) -> str:
        """Host path of a device node, after a check that it is the block device that sysfs shows.

        Args:
            device: a disk or a partition.
            claim: also check (O_EXCL) that nothing uses it or a part of it.

        Raises:
            FileError: no such node, another device, or it is in use.
        """
        with explained("open", device.path):
            path = self.root.host_path(device.path)
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_EXCL if claim else 0)
            try:
                descriptor = os.open(path, flags)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise FileError(
                        f"{device.path} skipped: the kernel is using it (mounted, swap, LVM or RAID)"
                    ) from error
                raise
            try:
                found = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        if not stat.S_ISBLK(found.st_mode) or number != device.number:
            raise FileError(
                f"{device.path} has another device number than in /sys ({device.number}): start udev or mdev, or "
                "create it with mknod"
            )
        return path

    def _is_one_of(self, source: str, numbers: set[str], paths: set[str]) -> bool:
        if source in paths:
            return True
        if not source.startswith("/"):
            return False
        found = self.by_node(source)
        return found is not None and found.number in numbers

    def _device(self, folder: str) -> Optional[Device]:
        number = self.root.text(f"{folder}/dev").strip()
        size = self._number(f"{folder}/size")
        if not number or size is None:
            return None
        return Device(
            os.path.basename(folder).replace("!", "/"),  # sysfs writes cciss/c0d0 as cciss!c0d0
            number,
            folder,
            size=size * _SECTOR,
            start=(self._number(f"{folder}/start") or 0) * _SECTOR,
            partition=self._number(f"{folder}/partition") or 0,
        )

    def _number(self, path: str) -> Optional[int]:
        text = self.root.text(path).strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    def _guest(self, path: str) -> str:
        """The guest path that a link in sysfs leads to."""
        try:
            return self.root.host_path(path)[len(self.root.path.rstrip("/")) :]
        except OSError:
            return path

    def _names(self, folder: str) -> list[str]:
        try:
            return self.root.names(folder)
        except OSError:
            return []
