"""File systems on block devices: recognising the content of a disk, measuring, growing and creating a file system.

The content is recognised by reading a few megabytes of the disk. Unknown content is "other", never an empty disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import Iterator, Optional

from azurelite.record import Record
from azurelite.system.changes import Change
from azurelite.system.disks.blockdevices import Device
from azurelite.system.disks.ntfs import Reader, root_names
from azurelite.system.explain import explained, write_all
from azurelite.system.machine import System

_MIB = 1024 * 1024
_HEAD, _TAIL = 4 * _MIB, _MIB  # bytes at both ends of a disk; all zero on one that was never written
_WIPED = _MIB
_UNFINISHED = b"azurelite: a file system is being made here\n"  # still there only if formatting was interrupted
_SECONDS = 300.0  # for programs that work on a whole disk

_XFS_GEOMETRY = 0x80705864  # XFS_IOC_FSGEOMETRY_V1, linux/xfs_fs.h
_BTRFS_FS_INFO = 0x8400941F  # linux/btrfs.h
_BTRFS_DEV_INFO = 0xD000941E
_REREAD_PARTITIONS = 0x125F  # BLKRRPART, linux/fs.h

LINUX_KINDS = ("ext4", "xfs", "btrfs")
_MAKERS = {
    # Without discard, which may take minutes on a disk of several terabytes.
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-L"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K", "-L"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-K", "-L"),
}
_PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
_SIGNATURES = (  # (offset, bytes, what it is)
    (3, b"NTFS    ", "ntfs"),
    (0, b"LUKS\xba\xbe", "luks"),
    (512, b"LABELONE", "lvm"),
    (512, b"EFI PART", "partitions"),
    (4096, b"EFI PART", "partitions"),
    (4086, b"SWAPSPACE2", "swap"),
    (16374, b"SWAPSPACE2", "swap"),
    (65526, b"SWAPSPACE2", "swap"),
    (0, _UNFINISHED, "unfinished"),
    (510, b"\x55\xaa", "partitions"),
)


class Content(Record):
    """What is on a disk or partition.

    Attributes:
        kind: "blank" (zeros at both ends), "ext4" (or 2, 3), "xfs", "btrfs", "ntfs", "luks", "lvm", "swap",
            "partitions" (a partition table), "unfinished" (formatting was interrupted), "other" (unknown).
        label: of an ext4, xfs or btrfs; "" if it has none.
    """

    kind: str
    label: str = ""


@contextlib.contextmanager
def opened(path: str, device: Device) -> Iterator[Reader]:
    """A reader of a device for the duration of a `with` block. Raises FileError.

    Args:
        path: host path of the device node.
        device: for messages.
    """
    with explained("read", device.path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield lambda offset, length: _pread(descriptor, offset, length)
        finally:
            os.close(descriptor)


def content_of(read: Reader, size: int) -> Content:
    """What is on a device of `size` bytes."""
    head = read(0, _HEAD)
    known = _known(head)
    if known is not None:
        return known
    tail = read(max(0, size - _TAIL), _TAIL)
    return Content("other" if any(head) or any(tail) or not head else "blank")


def _known(head: bytes) -> Optional[Content]:
    if head[0x438:0x43A] == b"\x53\xef":
        return Content("ext4", _text(head[0x478:0x488]))
    if head[:4] == b"XFSB":
        return Content("unfinished" if head[126] else "xfs", _text(head[108:120]))  # xfs_sb.sb_inprogress
    if head[0x10040:0x10048] == b"_BHRfS_M":
        return Content("btrfs", _text(head[0x1012B:0x1022B]))
    for offset, magic, kind in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return Content(kind)
    return None


def ntfs_names(read: Reader) -> Optional[set[str]]:
    """The names in the root folder of the NTFS on a device; None if they cannot be read."""
    try:
        return root_names(read)
    except ValueError:
        return None


def size_of(kind: str, *, folder: str, node: str) -> int:
    """The size of a mounted file system in bytes.

    Args:
        kind: "ext2", "ext3", "ext4", "xfs" or "btrfs".
        folder: host path where it is mounted.
        node: host path of its device.

    Raises:
        FileError: the size cannot be read.
    """
    with explained("read the size of the file system at", folder):
        if kind.startswith("ext"):
            return _ext_size(node)
        if kind == "xfs":
            answer = _ask(folder, _XFS_GEOMETRY, bytearray(112))
            block, blocks = struct.unpack_from("<I28xQ", answer)
            return int(block * blocks)
        return _btrfs_device(folder)[1]


def btrfs_node(folder: str) -> Optional[str]:
    """The device node of a mounted btrfs as the kernel names it; None if it has several devices. Raises FileError.

    A btrfs has an artificial device number, so neither `stat` nor the mount table leads to its device.
    """
    with explained("read the size of the file system at", folder):
        return _btrfs_device(folder)[0] or None


def grow(system: System, kind: str, *, folder: str, device: Device) -> None:
    """Grow a mounted file system to the size of its device.

    Args:
        system: the running system.
        kind: "ext2", "ext3", "ext4", "xfs" or "btrfs".
        folder: where it is mounted.
        device: its device.

    Raises:
        CommandError: its tool is not installed, or failed.
    """
    if kind.startswith("ext"):
        argv = ["resize2fs", device.path]
    elif kind == "xfs":
        argv = ["xfs_growfs", "-d", folder]
    else:
        argv = ["btrfs", "filesystem", "resize", "max", folder]
    package = _PACKAGES["ext4" if kind.startswith("ext") else kind]
    system.commands.need(argv[0], remedy=f"install {package}")
    system.perform(Change("disk", folder, f"grow, {kind}, to the size of {device.path}"), argv, timeout=_SECONDS)


def make(system: System, device: Device, node: str, *, kind: str, label: str) -> None:
    """Format a whole device; its content is lost.

    Args:
        system: the running system.
        device: the device.
        node: its host path, checked by `BlockDevices.node`.
        kind: "ext4", "xfs" or "btrfs".
        label: at most 12 letters.

    Raises:
        CommandError: its program is not installed, or failed.
        FileError: the device cannot be written to.
    """
    program, *options = _MAKERS[kind]
    system.commands.need(program, remedy=f"install {_PACKAGES[kind]}")
    system.journal.record(Change("disk", device.path, f"format, {kind}, {device.size // _MIB} MiB"))
    if system.dry_run:
        return
    _wipe(node, device)
    system.commands.run([program, *options, label, node], timeout=_SECONDS)


def _wipe(node: str, device: Device) -> None:
    """Overwrite both ends with zeros: mkfs leaves some partition tables there.

    A marker at the beginning says that formatting is not finished. The new file system overwrites it, or (ext4) starts
    after it and is recognised first.
    """
    with explained("write", device.path):
        descriptor = os.open(node, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC)
        try:
            for offset, start in ((max(0, device.size - _WIPED), b""), (0, _UNFINISHED)):
                os.lseek(descriptor, offset, os.SEEK_SET)
                write_all(descriptor, start.ljust(min(_WIPED, device.size - offset), b"\0"))
            os.fsync(descriptor)
            with contextlib.suppress(OSError):  # if it fails, the kernel keeps the old partitions until the next boot
                fcntl.ioctl(descriptor, _REREAD_PARTITIONS)
        finally:
            os.close(descriptor)


def _ext_size(node: str) -> int:
    descriptor = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
    try:
        block = _pread(descriptor, 1024, 1024)
    finally:
        os.close(descriptor)
    if len(block) < 1024 or block[0x38:0x3A] != b"\x53\xef":
        raise OSError(errno.EINVAL, "it is not an ext4")
    blocks, scale, incompatible = (struct.unpack_from("<I", block, at)[0] for at in (0x4, 0x18, 0x60))
    if incompatible & 0x80:  # 64bit
        blocks += struct.unpack_from("<I", block, 0x150)[0] << 32
    return int(blocks << (10 + scale))


def _btrfs_device(folder: str) -> tuple[str, int]:
    """Node and size in bytes of the only device of a btrfs; ("", 0) if it has several."""
    last, count = struct.unpack_from("<QQ", _ask(folder, _BTRFS_FS_INFO, bytearray(1024)))
    if count != 1:
        return "", 0
    for number in range(1, min(last, 4096) + 1):
        buffer = bytearray(4096)
        struct.pack_into("<Q", buffer, 0, number)
        try:
            answer = _ask(folder, _BTRFS_DEV_INFO, buffer)
        except OSError as error:
            if error.errno == errno.ENODEV:  # removed devices leave gaps in the numbers
                continue
            raise
        return os.fsdecode(bytes(answer[3072:]).split(b"\0")[0]), int(struct.unpack_from("<Q", answer, 32)[0])
    return "", 0


def _ask(folder: str, question: int, buffer: bytearray) -> bytearray:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, question, buffer)
    finally:
        os.close(descriptor)
    return buffer


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    chunks = []
    while length > 0:
        chunk = os.pread(descriptor, min(length, _MIB), offset)
        if not chunk:
            break
        chunks.append(chunk)
        offset += len(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace")
