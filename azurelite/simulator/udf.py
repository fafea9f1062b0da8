"""UDF 1.02: a whole read-only volume with files in its root directory, as the provisioning media of Azure is.

The functions make one descriptor each, as in ECMA-167 (second edition) and OSTA's UDF 1.02: numbers in, bytes out. The
class places them and the content of the partition. ISO 9660 may share the sectors of the files.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping

SECTOR = 2048
ENTRY_ROOM = SECTOR - 176  # bytes of a file that fit into its file entry
RECOGNITION_SEQUENCE = tuple(struct.pack("<B5sB", 0, mark, 1) for mark in (b"BEA01", b"NSR02", b"TEA01"))

_REVISION = 0x0102
_CHARSET = struct.pack("<B63s", 0, b"OSTA Compressed Unicode")
_LABEL = "PROVISIONING"
_MADE = struct.pack("<HhBBBBBBBB", 0x1000, 2024, 1, 1, 0, 0, 0, 0, 0, 0)  # UTC
_EMBEDDED, _SHORT = 3, 0  # kinds of allocation descriptors
_READABLE = 0x1084  # owner, group and others can read
_SEARCHABLE = 0x0421  # and, for a directory, search

Extent = tuple[int, int]
"""First sector or block, and length."""


def _regid(identifier: bytes, suffix: bytes = b"") -> bytes:
    return struct.pack("<B23s8s", 0, identifier, suffix)


_DOMAIN = _regid(b"*OSTA UDF Compliant", struct.pack("<HB", _REVISION, 0))
_MAKER = _regid(b"*azurelite", b"\4\5")  # made on UNIX, Linux
_VOLUME_INFO = _regid(b"*UDF LV Info", struct.pack("<HBB", _REVISION, 4, 5))


def anchor(place: int, *, main: Extent, reserve: Extent) -> bytes:
    """The anchor volume descriptor pointer; extents in sectors and bytes."""
    return _tagged(2, place, _extent(main) + _extent(reserve) + bytes(480))


def volume_sequence(place: int, *, partition: Extent, integrity: Extent) -> list[bytes]:
    """A volume descriptor sequence from sector `place` on, a sector each; `partition` in sectors."""
    makers = (
        (1, _primary),
        (4, _implementation_use),
        (5, lambda number: _partition(number, partition)),
        (6, lambda number: _logical_volume(number, integrity)),
        (7, lambda number: struct.pack("<II", number, 0)),  # no unallocated space
    )
    sequence = [_tagged(tag, place + number, make(number)) for number, (tag, make) in enumerate(makers)]
    return [*sequence, terminator(place + len(sequence))]


def terminator(place: int) -> bytes:
    """The end of a sequence."""
    return _tagged(8, place, bytes(496))


def integrity(place: int, *, blocks: int, files: int) -> bytes:
    """The logical volume integrity descriptor of a volume properly closed."""
    counted = _MAKER + struct.pack("<IIHHH", files, 1, _REVISION, _REVISION, _REVISION)
    body = _MADE + struct.pack("<I", 1) + _extent((0, 0))
    body += struct.pack("<Q24x", 16 + files)  # the next unique number
    body += struct.pack("<IIII", 1, len(counted), 0, blocks) + counted
    return _tagged(9, place, body)


def file_set(place: int, *, root: int) -> bytes:
    """The file set descriptor; `root`: the block of the root directory's file entry."""
    body = _MADE + struct.pack("<HHIIII", 3, 3, 1, 1, 0, 0)
    body += _CHARSET + _dstring(_LABEL, 128) + _CHARSET + _dstring(_LABEL, 32)
    body += _dstring("", 32) + _dstring("", 32)
    body += _long_extent(root) + _DOMAIN + bytes(16 + 48)
    return _tagged(256, place, body)


def file_entry(place: int, *, content: bytes | None, extent: Extent, unique: int, directory: bool) -> bytes:
    """The file entry of a file or directory.

    `content`: the bytes to embed; None: they lie in `extent`, a block and a length in bytes.
    """
    where, length = extent
    kind = _SHORT if content is None else _EMBEDDED
    described = content if content is not None else struct.pack("<II", length, where) if length else b""
    permissions = _READABLE | (_SEARCHABLE if directory else 0)
    recorded = 0 if content is not None else -(-length // SECTOR)
    body = struct.pack("<IHHHBBIHH", 0, 4, 0, 1, 0, 4 if directory else 5, 0, 0, kind)
    body += struct.pack("<IIIHBBI", 0, 0, permissions, 1, 0, 0, 0)
    body += struct.pack("<QQ", length, recorded) + _MADE * 3 + struct.pack("<I", 1)
    body += bytes(16) + _MAKER + struct.pack("<QII", unique, 0, len(described)) + described
    return _tagged(261, place, body)


def identifier(place: int, *, entry: int, name: str | None) -> bytes:
    """A directory's record of a file, pointing at the block of its file entry; None: of its own parent directory."""
    spelt = b"" if name is None else _compressed(name)
    body = struct.pack("<HBB", 1, 0x0A if name is None else 0, len(spelt)) + _long_extent(entry)
    body += struct.pack("<H", 0) + spelt
    # Padded before the tag is made, because the checksum covers the padding.
    return _tagged(257, place, body + bytes(-(16 + len(body)) % 4))


def _tagged(tag: int, place: int, body: bytes) -> bytes:
    crc = binascii.crc_hqx(body, 0)
    head = struct.pack("<HHBBHHHI", tag, 2, 0, 0, 0, crc, len(body), place)
    return head[:4] + bytes([sum(head) % 256]) + head[5:] + body


def _primary(number: int) -> bytes:
    body = struct.pack("<II", number, 0) + _dstring(_LABEL, 32) + struct.pack("<HHHHII", 1, 1, 2, 2, 1, 1)
    # The first eight characters of the set's name should be unique; they are constant here, for equal images.
    body += _dstring(f"00000000{_LABEL}", 128) + _CHARSET * 2 + bytes(16)
    body += bytes(32) + _MADE + _MAKER + bytes(64 + 4 + 2 + 22)
    return body


def _implementation_use(number: int) -> bytes:
    body = struct.pack("<I", number) + _VOLUME_INFO + _CHARSET + _dstring(_LABEL, 128)
    return body + _dstring("", 36) * 3 + _MAKER + bytes(128)


def _partition(number: int, partition: Extent) -> bytes:
    first, length = partition
    body = struct.pack("<IHH", number, 1, 0) + _regid(b"+NSR02") + bytes(128)
    return body + struct.pack("<III", 1, first, length) + _MAKER + bytes(128 + 156)


def _logical_volume(number: int, integrity: Extent) -> bytes:
    body = struct.pack("<I", number) + _CHARSET + _dstring(_LABEL, 128) + struct.pack("<I", SECTOR) + _DOMAIN
    body += _long_extent(0) + struct.pack("<II", 6, 1) + _MAKER + bytes(128) + _extent(integrity)
    return body + struct.pack("<BBHH", 1, 6, 1, 0)  # one partition, type 1 map


def _extent(extent: Extent) -> bytes:
    where, length = extent
    return struct.pack("<II", length, where)


def _long_extent(block: int) -> bytes:
    return struct.pack("<IIH6x", SECTOR, block, 0)


def _compressed(name: str) -> bytes:
    try:
        return b"\x08" + name.encode("latin-1")
    except UnicodeEncodeError:
        return b"\x10" + name.encode("utf-16-be")


def _dstring(text: str, length: int) -> bytes:
    spelt = _compressed(text) if text else b""
    return spelt.ljust(length - 1, b"\0") + bytes([len(spelt)])


RECOGNITION = 16  # where readers start to search for the recognition sequence
MAIN_SEQUENCE = 32
RESERVE_SEQUENCE = 48
SEQUENCE_LENGTH = 16  # sectors; the minimum of the standard
INTEGRITY = 64
TABLES_END = 66  # sectors from here to the anchor are free for ISO 9660
ANCHOR = 256
PARTITION = 257

_ROOT = 2  # the block of the root directory's file entry, behind the file set and its terminator


class Volume:
    """The layout of a volume. Blocks are counted within the partition, sectors within the image."""

    def __init__(self, files: Mapping[str, bytes], *, embed: bool) -> None:
        """`embed`: put files that fit, and the directory, inside their own file entries."""
        self._files = files
        self._room = ENTRY_ROOM if embed else -1
        self._directory_size = len(self._directory(dict.fromkeys(files, 0), 0))
        block = _ROOT + 1
        self._directory_at = block
        if self._directory_size > self._room:
            block += -(-self._directory_size // SECTOR)
        self._entries = {name: block + number for number, name in enumerate(files)}
        block += len(files)
        self._data: dict[str, int] = {}
        for name, content in files.items():
            self._data[name] = block
            if len(content) > self._room:
                block += -(-len(content) // SECTOR)
        self._blocks = block

    @property
    def total(self) -> int:
        """Sectors of the whole image: all up to the end of the partition, and one more anchor after it."""
        return PARTITION + self._blocks + 1

    @property
    def extents(self) -> dict[str, tuple[int, int]]:
        """Where each file's content lies: first sector, bytes. Only valid for files that are not embedded."""
        return {name: (PARTITION + block, len(self._files[name])) for name, block in self._data.items()}

    def sectors(self, *, recognised_at: int) -> dict[int, bytes]:
        """All of the volume by sector, the recognition sequence from `recognised_at` on."""
        placed = {recognised_at + number: mark for number, mark in enumerate(RECOGNITION_SEQUENCE)}
        for first in (MAIN_SEQUENCE, RESERVE_SEQUENCE):
            described = volume_sequence(first, partition=(PARTITION, self._blocks), integrity=(INTEGRITY, 2 * SECTOR))
            placed.update({first + number: descriptor for number, descriptor in enumerate(described)})
        placed[INTEGRITY] = integrity(INTEGRITY, blocks=self._blocks, files=len(self._files))
        placed[INTEGRITY + 1] = terminator(INTEGRITY + 1)
        length = SEQUENCE_LENGTH * SECTOR
        for sector in (ANCHOR, self.total - 1):
            placed[sector] = anchor(sector, main=(MAIN_SEQUENCE, length), reserve=(RESERVE_SEQUENCE, length))
        placed.update({PARTITION + block: data for block, data in self._partition().items()})
        return placed

    def _partition(self) -> dict[int, bytes]:
        embedded = self._directory_size <= self._room
        directory = self._directory(self._entries, _ROOT if embedded else self._directory_at)
        placed = {0: file_set(0, root=_ROOT), 1: terminator(1)}
        placed.update(self._node(_ROOT, directory, self._directory_at, unique=0, directory=True))
        for number, (name, content) in enumerate(self._files.items()):
            # Unique ids below 16 are reserved for Macintosh.
            placed.update(self._node(self._entries[name], content, self._data[name], unique=16 + number))
        return placed

    def _node(self, block: int, content: bytes, data: int, *, unique: int, directory: bool = False) -> dict[int, bytes]:
        """A file entry, and the content where it is not embedded."""
        embedded = len(content) <= self._room
        entry = file_entry(
            block,
            content=content if embedded else None,
            extent=(data, len(content)),
            unique=unique,
            directory=directory,
        )
        return {block: entry} if embedded or not content else {block: entry, data: content}

    def _directory(self, entries: Mapping[str, int], first: int) -> bytes:
        """The root directory, its own parent; `first`: the block that its bytes begin in."""
        content = identifier(first, entry=_ROOT, name=None)
        for name, entry in entries.items():
            content += identifier(first + len(content) // SECTOR, entry=entry, name=name)
        return content
