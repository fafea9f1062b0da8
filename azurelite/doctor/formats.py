"""Image files: what a file is by its first and last bytes, and what Azure asks of a VHD. Nothing is run or mounted."""

from __future__ import annotations

import os
import stat
import struct
from typing import Iterator, Optional

from azurelite.doctor.finding import ERROR, NOTE, Finding
from azurelite.errors import ConfigError
from azurelite.record import Record

MIB = 1024 * 1024
SECTOR = 512
LARGEST = 4095 * 1024 * MIB  # Azure's limit for an OS disk
_EPOCH_COOKIE = b"conectix"
_QCOW2_HEADER = 104  # bytes in version 3; a file of version 2 is longer, too: its tables begin at the next cluster
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_CONVERT = "qemu-img convert -O vpc -o subformat=fixed,force_size IMAGE disk.vhd"
_FOREIGN = (  # what people give by mistake
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"vhdxfile", "a VHDX, which Azure does not take: convert it by `qemu-img convert`"),
    (b"KDMV", "a VMDK, which Azure does not take: convert it by `qemu-img convert`"),
    (b"\x7fELF", "a program"),
    (b"#!", "a script"),
)


class Image(Record):
    """An image file.

    Attributes:
        path: host path.
        kind: "raw", "fixed VHD", "dynamic VHD" or "qcow2".
        size: bytes of the disk in it.
        trouble: why it must not be opened, or None.
        findings: what Azure would not accept of the file.
    """

    path: str
    kind: str
    size: int
    trouble: Optional[str] = None
    findings: tuple[Finding, ...] = ()


def identify(path: str) -> Image:
    """Tell what a file is. Raises ConfigError: it is no image; the message says what it is."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISBLK(kind):  # opening a fifo would wait for ever
            raise ConfigError(f"{path} is neither a file nor a disk: give an image file")
        with open(path, "rb") as file:
            head = file.read(128 * 1024)
            length = file.seek(0, 2)
            file.seek(max(0, length - SECTOR))
            tail = file.read(SECTOR)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}: give an image file") from error
    if head.startswith(b"QFI\xfb"):
        if len(head) < _QCOW2_HEADER:
            raise ConfigError(f"{path} is no image of a disk: it is the start of a qcow2: give the whole file")
        return _qcow2(path, head)
    if tail[:8] == _EPOCH_COOKIE and len(tail) == SECTOR:
        return _vhd(path, tail, length)
    if _is_disk(head):
        return _raw(path, length)
    raise ConfigError(f"{path} is no image of a disk: it is {_seen(head)}: give a raw, qcow2 or VHD file")


def _is_disk(head: bytes) -> bool:
    """Whether it starts with a partition table or a file system."""
    from azurelite.system.disks.filesystems import content_of

    return content_of(lambda at, length: head[at : at + length], len(head)).kind not in ("blank", "other")


def _seen(head: bytes) -> str:
    if not head:
        return "empty"
    if not any(head):
        return "zeros"
    known = next((text for magic, text in _FOREIGN if head.startswith(magic)), None)
    text = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head[:512])
    return known or ("a text" if text else f"something that starts with {head[:8].hex()}")


def _raw(path: str, length: int) -> Image:
    found = [_finding(NOTE, "the image is raw; Azure takes a fixed VHD", path, f"Convert it: `{_CONVERT}`.")]
    return Image(path, "raw", length, _too_large(length), (*found, *_whole(path, length)))


def _qcow2(path: str, head: bytes) -> Image:
    """A qcow2 that names another file is not opened: whoever made the image chose that name."""
    version, backing = struct.unpack_from(">IQ", head, 4)
    size = struct.unpack_from(">Q", head, 24)[0]
    features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    trouble = _too_large(size)
    if backing or features & 4:
        trouble = "it needs another file (a backing file or an external data file), which is not opened"
    found = [_finding(ERROR, "the image is a qcow2; Azure takes a fixed VHD", path, f"Convert it: `{_CONVERT}`.")]
    return Image(path, "qcow2", size, trouble, (*found, *_whole(path, size)))


def _vhd(path: str, footer: bytes, length: int) -> Image:
    size, kind, checksum = struct.unpack_from(">Q", footer, 48)[0], *struct.unpack_from(">II", footer, 60)
    found: list[Finding] = []
    if checksum != vhd_checksum(footer):
        text = "the checksum of the VHD's footer is wrong"
        found.append(_finding(ERROR, text, path, f"Make the file anew: `{_CONVERT}`."))
    trouble = _too_large(size)
    if kind == _DIFFERENCING:
        trouble = "it needs another file (a differencing VHD), which is not opened"
    if kind != _FIXED:
        text = (
            f"the VHD is {'dynamic' if kind == _DYNAMIC else 'of an unknown or differencing type'}, Azure takes fixed"
        )
        found.append(_finding(ERROR, text, path, f"Convert it: `{_CONVERT}`."))
        if kind != _DYNAMIC and trouble is None:
            trouble = "its type is not known"
        return Image(path, "dynamic VHD", size, trouble, (*found, *_whole(path, size)))
    if length != size + SECTOR:
        text = f"the footer says {size} bytes, and {length - SECTOR} are before it"
        found.append(_finding(ERROR, text, path, f"Make the file anew: `{_CONVERT}`."))
        size = min(size, length - SECTOR)
    return Image(path, "fixed VHD", size, trouble, (*found, *_whole(path, size)))


def vhd_checksum(footer: bytes) -> int:
    """The checksum of a VHD's footer: the complement of the sum of its bytes without the field itself."""
    return ~(sum(footer[:64]) + sum(footer[68:SECTOR])) & 0xFFFFFFFF


def _whole(path: str, size: int) -> Iterator[Finding]:
    if size == 0 or size % MIB:
        rounded = -(-size // MIB)
        yield _finding(
            ERROR,
            f"the disk has {size} bytes, which are not whole MiB",
            path,
            f"Grow the raw image: `qemu-img resize -f raw IMAGE {max(1, rounded)}M`, then convert it.",
        )


def _too_large(size: int) -> Optional[str]:
    return (
        f"the disk is larger than {LARGEST // MIB // 1024} GiB, Azure's limit for an OS disk"
        if size > LARGEST
        else None
    )


def _finding(severity: str, text: str, path: str, remedy: str) -> Finding:
    return Finding("image.format", severity, text, path, remedy)
