"""The partition table of an image, GPT or MBR, read without the kernel; the image is untrusted."""

from __future__ import annotations

import struct
import uuid
from typing import Callable, Optional

from azurelite.record import Record

Reader = Callable[[int, int], bytes]

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
_SECTOR = 512
_MOST = 128  # partitions
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_MBR_ESP = 0xEF


class Partition(Record):
    """A part of a disk.

    Attributes:
        number: from 1 on; 0: the whole disk, without a table.
        start, size: bytes.
        kind: the type: a GUID of a GPT, or "0x83" of an MBR.
    """

    number: int
    start: int
    size: int
    kind: str

    @property
    def is_esp(self) -> bool:
        """Whether it is an EFI system partition."""
        return self.kind in (ESP, hex(_MBR_ESP))


class Table(Record):
    """A partition table.

    Attributes:
        kind: "GPT", "MBR" or "none".
        partitions: those that lie on the disk.
        boot_code: the first sector has a program, which the BIOS of generation 1 starts.
    """

    kind: str
    partitions: tuple[Partition, ...]
    boot_code: bool

    @property
    def bios(self) -> bool:
        """Whether a BIOS may boot it: it has a program to start."""
        return self.boot_code

    @property
    def esp(self) -> Optional[Partition]:
        """The EFI system partition, or None."""
        return next((one for one in self.partitions if one.is_esp), None)


def read_table(read: Reader, size: int) -> Table:
    """Read the table of a disk of `size` bytes. A damaged one has the partitions that can be read."""
    first = read(0, _SECTOR)
    code = first[510:512] == b"\x55\xaa" and any(first[:440])
    if read(_SECTOR, 8) == b"EFI PART":
        return Table("GPT", _fitting(_gpt(read), size), code)
    whole = Partition(0, 0, size, "whole disk")
    if first[510:512] != b"\x55\xaa" or not any(first[446:510]):
        return Table("none", (whole,), False)
    return Table("MBR", _fitting(_mbr(read, first), size), code)


def _gpt(read: Reader) -> list[Partition]:
    header = read(_SECTOR, 92)
    if len(header) < 92:
        return []
    at, count, length = struct.unpack_from("<QII", header, 72)
    if not 128 <= length <= 4096 or at > 1 << 40:
        return []
    found = []
    for number in range(min(count, _MOST)):
        entry = read(at * _SECTOR + number * length, 48)
        if len(entry) == 48 and any(entry[:16]):
            first, last = struct.unpack_from("<QQ", entry, 32)
            kind = str(uuid.UUID(bytes_le=entry[:16]))
            found.append(Partition(number + 1, first * _SECTOR, (last - first + 1) * _SECTOR, kind))
    return found


def _mbr(read: Reader, sector: bytes) -> list[Partition]:
    found, chain = [], None
    for number, (kind, first, count) in enumerate(_rows(sector), 1):
        if kind in _EXTENDED:
            chain = first
        elif kind not in (0, _PROTECTIVE):
            found.append(Partition(number, first * _SECTOR, count * _SECTOR, hex(kind)))
    base, at = chain, chain
    for number in range(5, 5 + 64):  # a chain that leads back to itself ends here
        rows = _rows(read(at * _SECTOR, _SECTOR)) if at is not None else []
        if at is None or base is None or not rows:
            break
        kind, first, count = rows[0]
        if kind:
            found.append(Partition(number, (at + first) * _SECTOR, count * _SECTOR, hex(kind)))
        at = base + rows[1][1] if rows[1][0] in _EXTENDED else None
    return found


def _rows(sector: bytes) -> list[tuple[int, int, int]]:
    if len(sector) < _SECTOR or sector[510:512] != b"\x55\xaa":
        return []
    rows = (sector[446 + 16 * i : 462 + 16 * i] for i in range(4))
    return [(row[4], *struct.unpack_from("<II", row, 8)) for row in rows]


def _fitting(found: list[Partition], size: int) -> tuple[Partition, ...]:
    return tuple(one for one in found if one.size > 0 and one.start > 0 and one.start + one.size <= size)
