"""Writes UDF for the tests: whole discs as no tool at hand makes them, and one file into an empty disc of mkudffs.

Written from ECMA-167 and the UDF revisions, apart from the reader. README.md says how it was itself checked.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass, field

PARTITION = 320  # first sector of the partition of a disc made here
BLOCKS = 160  # of that partition
METADATA_AT, METADATA_BLOCKS = 40, 48
SPARES = PARTITION + BLOCKS
REGULAR, FOLDER = 5, 4
TIME = struct.pack("<HhBBBBBBBB", 0x1000, 2024, 1, 2, 3, 4, 5, 0, 0, 0)
CHARSET = b"\0OSTA Compressed Unicode".ljust(64, b"\0")


def tag(kind: int, location: int, body: bytes, version: int = 2) -> bytes:
    """A descriptor: `body` behind a tag with its CRC and checksum."""
    crc = binascii.crc_hqx(body, 0)
    head = struct.pack("<HHBBHHHI", kind, version, 0, 0, 1, crc, len(body), location)
    return head[:4] + bytes([sum(head) & 0xFF]) + head[5:] + body


def retag(data: bytes) -> bytes:
    """The same descriptor after a change, checksums put right."""
    kind, version, _, _, _, _, length, location = struct.unpack_from("<HHBBHHHI", data)
    return tag(kind, location, data[16 : 16 + length], version) + data[16 + length :]


def regid(name: bytes, suffix: bytes = b"") -> bytes:
    """An entity identifier."""
    return b"\0" + name.ljust(23, b"\0") + suffix.ljust(8, b"\0")


def long_ad(length: int, block: int, partition: int = 0) -> bytes:
    """A long allocation descriptor."""
    return struct.pack("<IIH6x", length, block, partition)


def cs0(name: str, bits: int) -> bytes:
    """A name in OSTA compressed Unicode."""
    return b"\x08" + name.encode("latin-1") if bits == 8 else b"\x10" + name.encode("utf-16-be")


def dstring(name: str, size: int) -> bytes:
    """A name in a field of fixed length, its length in the last byte."""
    raw = cs0(name, 8)
    return raw.ljust(size - 1, b"\0") + bytes([len(raw)])


def fid(raw_name: bytes, icb: bytes, location: int, flags: int = 0) -> bytes:
    """A file identifier."""
    body = struct.pack("<HBB", 1, flags, len(raw_name)) + icb + struct.pack("<H", 0) + raw_name
    return tag(257, location, body + bytes(-(16 + len(body)) % 4))


def file_entry(
    location: int,
    file_type: int,
    size: int,
    allocations: bytes,
    kind: int,
    *,
    extended: bool = False,
    strategy: int = 4,
) -> bytes:
    """A file entry; `kind` 0: short allocation descriptors, 1: long ones, 3: the content itself."""
    icb = struct.pack("<IHHHBB6xH", 0, strategy, 0, 1, 0, file_type, kind)
    head = icb + struct.pack("<IIIHBBIQ", 0, 0, 0o12245, 1, 0, 0, 0, size)
    if extended:
        head += struct.pack("<QQ", size, 0) + TIME * 4 + struct.pack("<II", 1, 0) + bytes(32)
    else:
        head += struct.pack("<Q", 0) + TIME * 3 + struct.pack("<I", 1) + bytes(16)
    head += regid(b"*azurelite tests") + struct.pack("<QII", 16, 0, len(allocations))
    return tag(266 if extended else 261, location, head + allocations)


@dataclass
class Maker:
    """A whole disc with one folder.

    Attributes:
        block_size: bytes of a sector and of a block.
        layout: "plain", "sparable" (the first packet of the partition moved) or "metadata" (UDF 2.50).
        allocation: "embedded", "short", "long", "chained" (short ones over two continuations) or "sparse".
        bits: of a character of a name.
        extended: extended file entries.
        root_embedded: the root folder lies in its file entry.
    """

    block_size: int = 2048
    layout: str = "plain"
    allocation: str = "short"
    bits: int = 8
    extended: bool = False
    root_embedded: bool = False
    image: bytearray = field(default_factory=bytearray)

    def make(self, files: dict[str, bytes], *, deleted: tuple[str, ...] = (), folders: tuple[str, ...] = ()) -> bytes:
        """The disc; `deleted` are names without files, `folders` are empty folders."""
        size = self.block_size
        self.image = bytearray((SPARES + 64) * size)
        self._next = 3
        self._next_below = METADATA_AT + METADATA_BLOCKS + 1
        self._volume()
        here = 1 if self.layout == "metadata" else 0
        self._put(here, 0, self._file_set(here))
        rows = [fid(b"", long_ad(size, 1, here), 2, 0x0A)]
        rows += [fid(b"\xfe" + name.encode(), long_ad(size, 0, here), 2, 0x04) for name in deleted]
        rows += [fid(cs0(name, self.bits), long_ad(size, 1, here), 2, 0x02) for name in folders]
        for name, data in files.items():
            rows.append(fid(cs0(name, self.bits), long_ad(size, self._file(here, data), here), 2))
        body = b"".join(rows)
        if self.root_embedded:
            root = file_entry(1, FOLDER, len(body), body, 3, extended=self.extended)
        else:
            root = file_entry(1, FOLDER, len(body), struct.pack("<II", len(body), 2), 0, extended=self.extended)
            self._put(here, 2, body)
        self._put(here, 1, root)
        if self.layout == "sparable":
            self._spare()
        return bytes(self.image)

    def _take(self, blocks: int) -> int:
        self._next += blocks
        return self._next - blocks

    def _take_below(self, blocks: int) -> int:
        """Blocks for a file's data, which lie outside of the metadata partition."""
        if self.layout != "metadata":
            return self._take(blocks)
        self._next_below += blocks
        return self._next_below - blocks

    def _file(self, here: int, data: bytes) -> int:
        at = self._take(1)
        blocks = max(-(-len(data) // self.block_size), 1)
        if self.allocation == "embedded":
            kind, allocations = 3, data
        elif self.allocation == "long" or self.layout == "metadata":
            start = self._take_below(blocks)
            self._put(0, start, data)
            kind, allocations = 1, long_ad(len(data), start, 0)
        elif self.allocation == "chained":
            kind, allocations = 0, self._chained(data)
        else:
            start = self._take(blocks)
            self._put(0, start, data)
            hole = 0x40000000 if self.allocation == "sparse" else 0
            kind, allocations = 0, struct.pack("<II", hole | len(data), start)
        self._put(here, at, file_entry(at, REGULAR, len(data), allocations, kind, extended=self.extended))
        return at

    def _chained(self, data: bytes) -> bytes:
        """Each block an extent of its own, backwards on the disc; each extent behind a continuation of its own."""
        size = self.block_size
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        places = [self._take(1) for _ in pieces][::-1]
        for place, piece in zip(places, pieces):
            self._put(0, place, piece)
        rows = [struct.pack("<II", len(piece), place) for place, piece in zip(places, pieces)]
        last = b""
        for row in reversed(rows[1:]):
            at = self._take(1)
            body = row + last
            self._put(0, at, tag(258, at, struct.pack("<II", 0, len(body)) + body))
            last = struct.pack("<II", 0xC0000000 | size, at)
        return rows[0] + last

    def _put(self, partition: int, block: int, data: bytes) -> None:
        start = PARTITION + block + (METADATA_AT if partition == 1 else 0)
        self.image[start * self.block_size : start * self.block_size + len(data)] = data

    def _sector(self, sector: int, data: bytes) -> None:
        self.image[sector * self.block_size : sector * self.block_size + len(data)] = data

    def _volume(self) -> None:
        new = self.layout != "plain" or self.extended
        for number, mark in enumerate((b"BEA01", b"NSR03" if new else b"NSR02", b"TEA01")):
            at = 32768 + max(2048, self.block_size) * number
            self.image[at : at + 7] = b"\0" + mark + b"\1"
        revision = struct.pack("<H", {"metadata": 0x250, "sparable": 0x201}.get(self.layout, 0x102))
        anchor = struct.pack("<IIII", 16 * self.block_size, 260, 16 * self.block_size, 280)
        for sector in (256, len(self.image) // self.block_size - 1):
            self._sector(sector, tag(2, sector, anchor + bytes(480)))
        for start in (260, 280):
            for number, (kind, body) in enumerate(self._descriptors(new, revision)):
                self._sector(start + number, tag(kind, start + number, body))

    def _descriptors(self, new: bool, revision: bytes) -> list[tuple[int, bytes]]:
        primary = struct.pack("<II", 1, 0) + dstring("PROVISION", 32) + struct.pack("<HHHHII", 1, 1, 2, 2, 1, 1)
        primary += dstring("0123456789abcdef", 128) + CHARSET * 2 + bytes(16) + regid(b"") + TIME + regid(b"*tests")
        contents = regid(b"+NSR03" if new else b"+NSR02")
        part = struct.pack("<IHH", 2, 1, 0) + contents + bytes(128) + struct.pack("<III", 1, PARTITION, BLOCKS)
        maps = self._maps(revision)
        here = 1 if self.layout == "metadata" else 0
        volume = struct.pack("<I", 3) + CHARSET + dstring("PROVISION", 128) + struct.pack("<I", self.block_size)
        volume += regid(b"*OSTA UDF Compliant", revision) + long_ad(self.block_size, 0, here)
        volume += struct.pack("<II", sum(map(len, maps)), len(maps)) + regid(b"*tests") + bytes(128)
        volume += struct.pack("<II", 0, 0) + b"".join(maps)
        return [
            (1, primary.ljust(496, b"\0")),
            (5, part + regid(b"*tests").ljust(32 + 128 + 156, b"\0")),
            (6, volume),
            (8, bytes(496)),
        ]

    def _maps(self, revision: bytes) -> list[bytes]:
        plain = struct.pack("<BBHH", 1, 6, 1, 0)
        if self.layout == "plain":
            return [plain]
        name = b"*UDF Sparable Partition" if self.layout == "sparable" else b"*UDF Metadata Partition"
        head = struct.pack("<BBH", 2, 64, 0) + regid(name, revision) + struct.pack("<HH", 1, 0)
        if self.layout == "sparable":
            where = struct.pack("<HBBIII", 32, 2, 0, 512, SPARES - 2 + 40, SPARES - 1 + 40)
            return [(head + where).ljust(64, b"\0")]
        # the metadata file, its mirror, no bitmap
        for block, file_type in ((METADATA_AT - 2, 250), (METADATA_AT - 1, 251)):
            half = METADATA_BLOCKS // 2 * self.block_size
            two = struct.pack("<IIII", half, METADATA_AT, half, METADATA_AT + METADATA_BLOCKS // 2)
            self._put(0, block, file_entry(block, file_type, 2 * half, two, 0, extended=True))
        where = struct.pack("<IIIIHB5x", METADATA_AT - 2, METADATA_AT - 1, 0xFFFFFFFF, 32, 32, 0)
        return [plain, head + where]

    def _spare(self) -> None:
        """Move the partition's first packet (with everything on it) away, and put rubbish in its place."""
        size = self.block_size
        packet = 32 * size
        start = PARTITION * size
        self.image[SPARES * size : SPARES * size + packet] = self.image[start : start + packet]
        self.image[start : start + packet] = b"\xdb" * packet
        for sector in (SPARES - 2 + 40, SPARES - 1 + 40):
            body = regid(b"*UDF Sparing Table") + struct.pack("<HHI", 2, 0, 1)
            body += struct.pack("<IIII", 0, SPARES, 0xFFFFFFFF, SPARES + 32)
            self._sector(sector, tag(0, sector, body))

    def _file_set(self, here: int) -> bytes:
        body = TIME + struct.pack("<HHIIII", 3, 3, 1, 1, 0, 0) + CHARSET + dstring("PROVISION", 128) + CHARSET
        body += dstring("PROVISION", 32) + bytes(64) + long_ad(self.block_size, 1, here)
        body += regid(b"*OSTA UDF Compliant", struct.pack("<H", 0x102)) + bytes(64)
        return tag(256, 0, body.ljust(496, b"\0"))


def add_file(image: bytes, block_size: int, name: str, data: bytes) -> bytes:
    """An empty disc as mkudffs makes it, with one file in its root folder.

    The folder, the file entry and the content go to the middle of the partition. The map of free blocks is not kept:
    nobody writes to such a disc any more.
    """
    disc = bytearray(image)

    def block(sector: int) -> bytes:
        return bytes(disc[sector * block_size : (sector + 1) * block_size])

    _, main = struct.unpack_from("<II", block(256), 16)
    kinds = {struct.unpack_from("<H", block(sector))[0]: block(sector) for sector in range(main, main + 8)}
    start, length = struct.unpack_from("<II", kinds[5], 188)
    (file_set,) = struct.unpack_from("<I", kinds[6], 252)
    (root,) = struct.unpack_from("<I", block(start + file_set), 404)
    free = root + (length - root) // 2 // 32 * 32
    rows = fid(b"", long_ad(block_size, root), free, 0x0A)
    rows += fid(cs0(name, 8), long_ad(block_size, free + 1), free)
    (kind,) = struct.unpack_from("<H", block(start + root))
    pieces = {
        root: file_entry(root, FOLDER, len(rows), struct.pack("<II", len(rows), free), 0, extended=kind == 266),
        free: rows,
        free + 1: file_entry(
            free + 1, REGULAR, len(data), struct.pack("<II", len(data), free + 2), 0, extended=kind == 266
        ),
        free + 2: data,
    }
    for where, content in pieces.items():
        at = (start + where) * block_size
        disc[at : at + len(content)] = content
    return bytes(disc)
