"""File systems on block devices: what is on a disk, how large a mounted one is, growing one, making one.

What is on a disk is read from the disk itself, a few megabytes of it. What is not known is "other" and never taken
for an empty disk.
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
_HEAD, _TAIL = 4 * _MIB, _MIB  # bytes at a disk's ends that are zero throughout when nothing was ever written to it
_WIPED = _MIB
_UNFINISHED = b"azurelite: a file system is being made here\n"  # seen again only where that was cut off
_SECONDS = 300.0  # for programs that work on a whole disk

_XFS_GEOMETRY = 0x80705864  # XFS_IOC_FSGEOMETRY_V1, linux/xfs_fs.h
_BTRFS_FS_INFO = 0x8400941F  # linux/btrfs.h
_BTRFS_DEV_INFO = 0xD000941E
_REREAD_PARTITIONS = 0x125F  # BLKRRPART, linux/fs.h

LINUX_KINDS = ("ext4", "xfs", "btrfs")
_MAKERS = {
    # Without discarding what is there: on a disk of some terabytes that alone may take minutes.
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
            "partitions" (a table of them), "unfinished" (making a file system was cut off), "other" (nobody knows).
        label: of an ext4, xfs or btrfs; "" where it has none.
    """

    kind: str
    label: str = ""


@contextlib.contextmanager
def opened(path: str, device: Device) -> Iterator[Reader]:
    """A reader of a device for the length of a `with` block. Raises FileError.

    Args:
        path: host path of the node.
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
    """The names in the root folder of the NTFS on a device; None where they cannot be known."""
    try:
        return root_names(read)
    except ValueError:
        return None


def size_of(kind: str, *, folder: str, node: str) -> int:
    """How many bytes of its device a mounted file system uses.

    Args:
        kind: "ext2", "ext3", "ext4", "xfs" or "btrfs".
        folder: host path where it is mounted.
        node: host path of its device.

    Raises:
        FileError: in the system's words.
    """
    with explained("measure the file system of", folder):
        if kind.startswith("ext"):
            return _ext_size(node)
        if kind == "xfs":
            answer = _ask(folder, _XFS_GEOMETRY, bytearray(112))
            block, blocks = struct.unpack_from("<I28xQ", answer)
            return int(block * blocks)
        return _btrfs_device(folder)[1]


def btrfs_node(folder: str) -> Optional[str]:
    """The node that a mounted btrfs lies on, as the kernel names it; None where it lies on several. Raises FileError.

    A btrfs has a made-up device number, so neither `stat` nor the table of mounts leads to its device.
    """
    with explained("measure the file system of", folder):
        return _btrfs_device(folder)[0] or None


def grow(system: System, kind: str, *, folder: str, device: Device) -> None:
    """Let a mounted file system use all of its device.

    Args:
        system: the running system.
        kind: "ext2", "ext3", "ext4", "xfs" or "btrfs".
        folder: where it is mounted.
        device: what it lies on.

    Raises:
        CommandError: its program is not installed, or failed.
    """
    if kind.startswith("ext"):
        argv = ["resize2fs", device.path]
    elif kind == "xfs":
        argv = ["xfs_growfs", "-d", folder]
    else:
        argv = ["btrfs", "filesystem", "resize", "max", folder]
    package = _PACKAGES["ext4" if kind.startswith("ext") else kind]
    system.commands.need(argv[0], remedy=f"install {package}")
    system.perform(Change("disk", folder, f"let its {kind} use all of {device.path}"), argv, timeout=_SECONDS)


def make(system: System, device: Device, node: str, *, kind: str, label: str) -> None:
    """Make a file system over a whole device; whatever was on it is gone.

    Args:
        system: the running system.
        device: the device.
        node: its host path, as `BlockDevices.node` checked it.
        kind: "ext4", "xfs" or "btrfs".
        label: at most 12 letters.

    Raises:
        CommandError: its program is not installed, or failed.
        FileError: the device cannot be written to.
    """
    program, *options = _MAKERS[kind]
    system.commands.need(program, remedy=f"install {_PACKAGES[kind]}")
    system.journal.record(Change("disk", device.path, f"a new file system: {kind}, {device.size // _MIB} MiB"))
    if system.dry_run:
        return
    _wipe(node, device)
    system.commands.run([program, *options, label, node], timeout=_SECONDS)


def _wipe(node: str, device: Device) -> None:
    """Zeros over both ends, where tables of partitions lie: the makers of file systems leave some of them.

    The beginning says that the work is not done yet. The file system covers that, or (ext4) comes to lie behind it and
    is found first.
    """
    with explained("write", device.path):
        descriptor = os.open(node, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC)
        try:
            for offset, start in ((max(0, device.size - _WIPED), b""), (0, _UNFINISHED)):
                os.lseek(descriptor, offset, os.SEEK_SET)
                write_all(descriptor, start.ljust(min(_WIPED, device.size - offset), b"\0"))
            os.fsync(descriptor)
            with contextlib.suppress(OSError):  # a kernel that keeps the old partitions in mind forgets them at boot
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
        raise OSError(errno.EINVAL, "it holds no ext4")
    blocks, scale, incompatible = (struct.unpack_from("<I", block, at)[0] for at in (0x4, 0x18, 0x60))
    if incompatible & 0x80:  # 64bit
        blocks += struct.unpack_from("<I", block, 0x150)[0] << 32
    return int(blocks << (10 + scale))


def _btrfs_device(folder: str) -> tuple[str, int]:
    """Node and bytes of the only device of a btrfs; ("", 0) where it has several."""
    last, count = struct.unpack_from("<QQ", _ask(folder, _BTRFS_FS_INFO, bytearray(1024)))
    if count != 1:
        return "", 0
    for number in range(1, min(last, 4096) + 1):
        buffer = bytearray(4096)
        struct.pack_into("<Q", buffer, 0, number)
        try:
            answer = _ask(folder, _BTRFS_DEV_INFO, buffer)
        except OSError as error:
            if error.errno == errno.ENODEV:  # devices that were taken out leave gaps
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
