"""The names in the root folder of an NTFS, read directly from the disk: no driver, no mount, no writes.

It parses only the boot sector, the fifth record of the master file table, and the index in it. An unusual layout is an
error, never an incomplete list.
"""

from __future__ import annotations

import struct
from typing import Callable, Iterator

Reader = Callable[[int, int], bytes]  # (offset, length) -> bytes of the volume, as many as there are

_ROOT_RECORD = 5
_ATTRIBUTE_LIST, _INDEX_ROOT, _INDEX_ALLOCATION, _LAST = 0x20, 0x90, 0xA0, 0xFFFFFFFF
_DOS_NAME = 2  # a second, short name for an entry that also has a long one
_STRIDE = 512  # bytes of a block; its last two bytes are stored elsewhere
_MOST = 4 * 1024 * 1024  # bytes of an index; a fresh disk's has 4096


def root_names(read: Reader) -> set[str]:
    """The names in the root folder, including the file system's own files (`$MFT`, …).

    Args:
        read: reads the volume.

    Raises:
        ValueError: it is not an NTFS, or its layout is not supported.
    """
    try:
        return _root_names(read)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("cannot read the NTFS: it is truncated") from error


def _root_names(read: Reader) -> set[str]:
    boot = read(0, 512)
    if boot[3:11] != b"NTFS    ":
        raise ValueError("it is not an NTFS")
    sector, cluster_byte = struct.unpack_from("<HB", boot, 0x0B)
    per_cluster = cluster_byte if cluster_byte <= 0x80 else 1 << min(256 - cluster_byte, 20)
    cluster = sector * per_cluster
    if sector not in (512, 1024, 2048, 4096) or not 0 < cluster <= 2 * 1024 * 1024:
        raise ValueError("the NTFS has invalid sizes")
    table = struct.unpack_from("<Q", boot, 0x30)[0] * cluster
    record_size = _size(struct.unpack_from("<b", boot, 0x40)[0], cluster)
    block_size = _size(struct.unpack_from("<b", boot, 0x44)[0], cluster)
    # The first records are contiguous at the table's beginning: otherwise the disk could not be booted.
    record = _mended(read(table + _ROOT_RECORD * record_size, record_size), b"FILE")
    names: set[str] = set()
    has_root = False
    for kind, attribute in _attributes(record):
        if kind == _ATTRIBUTE_LIST:
            raise ValueError("the NTFS is not supported: its root folder uses more than one record")
        if kind == _INDEX_ROOT:
            length, offset = struct.unpack_from("<IH", attribute, 0x10)
            names |= _entries(attribute[offset : offset + length], 0x10)
            has_root = True
        elif kind == _INDEX_ALLOCATION:
            for block in _blocks(read, attribute, cluster=cluster, block_size=block_size):
                names |= _entries(block, 0x18)
    if not has_root:
        raise ValueError("the NTFS has no root folder")
    return names


def _size(byte: int, cluster: int) -> int:
    """A size given in clusters, or, if negative, as a power of two in bytes."""
    size = byte * cluster if byte > 0 else 1 << min(-byte, 30)
    if not _STRIDE <= size <= 65536 or size % _STRIDE:
        raise ValueError("the NTFS has invalid sizes")
    return size


def _mended(data: bytes, magic: bytes) -> bytes:
    """A record with the original last two bytes of each block restored."""
    if data[:4] != magic:
        raise ValueError("the NTFS is damaged")
    offset, count = struct.unpack_from("<HH", data, 4)
    if (count - 1) * _STRIDE != len(data):
        raise ValueError("the NTFS is damaged")
    whole = bytearray(data)
    number = data[offset : offset + 2]
    for i in range(1, count):
        end = i * _STRIDE
        if whole[end - 2 : end] != number:
            raise ValueError("the NTFS is damaged")
        whole[end - 2 : end] = data[offset + 2 * i : offset + 2 * i + 2]
    return bytes(whole)


def _attributes(record: bytes) -> Iterator[tuple[int, bytes]]:
    at = struct.unpack_from("<H", record, 0x14)[0]
    while True:
        kind = struct.unpack_from("<I", record, at)[0]
        if kind == _LAST:
            return
        length = struct.unpack_from("<I", record, at + 4)[0]
        if length < 24 or at + length > len(record):
            raise ValueError("the NTFS is damaged")
        yield kind, record[at : at + length]
        at += length


def _blocks(read: Reader, attribute: bytes, *, cluster: int, block_size: int) -> Iterator[bytes]:
    """The blocks of an index that is stored outside its record.

    Unused blocks are read too: an extra name can only make a disk look used, never unused.
    """
    if attribute[8] != 1:
        raise ValueError("the NTFS is damaged")
    runs_at = struct.unpack_from("<H", attribute, 0x20)[0]
    size = struct.unpack_from("<Q", attribute, 0x30)[0]
    if size > _MOST:
        raise ValueError("the root folder of the NTFS is too large")
    data = b""
    for start, length in _runs(attribute, runs_at):
        if len(data) < size:
            data += read(start * cluster, min(length * cluster, size - len(data)))
    if len(data) != size or size % block_size:
        raise ValueError("the NTFS is damaged")
    for at in range(0, size, block_size):
        yield _mended(data[at : at + block_size], b"INDX")


def _runs(attribute: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The location of the data: (first cluster, number of clusters)."""
    start = 0
    while attribute[at]:
        of_length, of_offset = attribute[at] & 15, attribute[at] >> 4
        if not of_length or not of_offset or at + 1 + of_length + of_offset > len(attribute):
            raise ValueError("the NTFS is damaged")
        length = int.from_bytes(attribute[at + 1 : at + 1 + of_length], "little")
        at += 1 + of_length
        start += int.from_bytes(attribute[at : at + of_offset], "little", signed=True)
        at += of_offset
        if start < 0:
            raise ValueError("the NTFS is damaged")
        yield start, length


def _entries(data: bytes, header: int) -> set[str]:
    """The names of one index node; `header` is the offset of its header."""
    first, used = struct.unpack_from("<II", data, header)
    at, end = header + first, header + used
    if end > len(data):
        raise ValueError("the NTFS is damaged")
    names: set[str] = set()
    while True:
        length, key, flags = struct.unpack_from("<HHH", data, at + 8)
        if flags & 2:  # the last one has no name
            return names
        if length < 16 or at + length > end or key < 0x44:
            raise ValueError("the NTFS is damaged")
        letters, space = data[at + 0x50], data[at + 0x51]
        name = data[at + 0x52 : at + 0x52 + 2 * letters].decode("utf-16-le")
        if space != _DOS_NAME:
            names.add(name)
        at += length
