"""UDF's tags, addresses and names, and the positions of blocks in plain, sparable and metadata (UDF 2.50) partitions.

ECMA-167 3/7.2 (tags), 4/7.1 and 4/14.14 (addresses), 3/10.7 (partition maps); UDF 1.02 2.1.1 (names); UDF 1.50 2.2.9
and 2.2.11; UDF 2.50 2.2.10. A virtual partition (a recordable disc written in several sessions) is not supported: no
provisioning disc has one.
"""

from __future__ import annotations

import binascii
import struct
from bisect import bisect_right
from itertools import accumulate
from typing import Mapping, NamedTuple, Optional, Protocol

from azurelite.errors import MediaError
from azurelite.media.image import Disc

TAG_LENGTH = 16

PRIMARY_VOLUME, ANCHOR, VOLUME_POINTER, PARTITION, LOGICAL_VOLUME, TERMINATOR = 1, 2, 3, 5, 6, 8
SPARING_TABLE = 0  # a sparing table has tag number 0 and is known by its identifier
FILE_SET, FILE_IDENTIFIER, ALLOCATION_EXTENT, INDIRECT_ENTRY, FILE_ENTRY, EXTENDED_FILE_ENTRY = (
    256,
    257,
    258,
    259,
    261,
    266,
)


class Address(NamedTuple):
    """A place on the volume: bytes, first logical block, number of the partition map."""

    length: int
    block: int
    partition: int


def damaged(what: str, place: str, why: str) -> MediaError:
    """The error for a structure that violates the standard."""
    return MediaError(f"damaged UDF: {what} at {place}: {why}")


def check_tag(data: bytes, kinds: tuple[int, ...], *, location: int, what: str) -> int:
    """Verify a descriptor's tag: checksum, CRC, own address and kind, as Linux does.

    Args:
        data: the whole block, or the whole name in a folder.
        kinds: the allowed kinds.
        location: the block's number.
        what: the name of the descriptor for errors.

    Returns:
        The descriptor's kind.

    Raises:
        MediaError: any of them is wrong.
    """
    place = f"block {location}"
    if len(data) < TAG_LENGTH:
        raise damaged(what, place, "cut off")
    kind, checksum, crc, crc_length, own = struct.unpack_from("<H2xB3xHHI", data)
    if (sum(data[:TAG_LENGTH]) - checksum) & 0xFF != checksum:
        raise damaged(what, place, "wrong tag checksum")
    if kind not in kinds:
        raise damaged(what, place, f"unexpected descriptor of kind {kind}")
    if own != location:
        raise damaged(what, place, f"its tag was written for block {own}")
    body = data[TAG_LENGTH : TAG_LENGTH + crc_length]
    if len(body) != crc_length or binascii.crc_hqx(body, 0) != crc:
        raise damaged(what, place, "wrong CRC")
    return int(kind)


def long_address(data: bytes, at: int) -> Address:
    """The long allocation descriptor at `at`; the top two bits of its length are the type of the extent."""
    return Address(*struct.unpack_from("<IIH", data, at))


def short_address(data: bytes, at: int, partition: int) -> Address:
    """The short allocation descriptor at `at`, which refers to its own partition."""
    length, block = struct.unpack_from("<II", data, at)
    return Address(length, block, partition)


def decode_name(raw: bytes) -> str:
    """A file name in OSTA compressed Unicode: 8 or 16 bits a character; "" for any other form."""
    if raw[:1] == b"\x08":
        return raw[1:].decode("latin-1")
    if raw[:1] == b"\x10":
        return raw[1:].decode("utf-16-be", "replace")
    return ""


MOST_MAPS = 16
_SPARING_TABLE_CAP = 64 * 1024
_UNUSED_SPARE = 0xFFFFFFF0


class Partition(Protocol):
    """Turns blocks of a partition into sectors of the disc."""

    number: int

    def run(self, block: int) -> tuple[int, int]:
        """The sector of a block, and the number of contiguous blocks from it on. Raises MediaError."""


class Plain:
    """A partition in one piece."""

    def __init__(self, number: int, start: int, length: int) -> None:
        self.number = number
        self._start = start
        self._length = length

    def run(self, block: int) -> tuple[int, int]:
        """See `Partition`."""
        if not 0 <= block < self._length:
            raise MediaError(f"damaged UDF: block {block} is outside of partition {self.number}")
        return self._start + block, self._length - block


class Sparable:
    """A partition whose bad packets were moved elsewhere."""

    def __init__(self, below: Plain, packet: int, moved: Mapping[int, int]) -> None:
        self.number = below.number
        self._below = below
        self._packet = packet
        self._moved = moved

    def run(self, block: int) -> tuple[int, int]:
        """See `Partition`."""
        sector, left = self._below.run(block)
        inside = block % self._packet
        left = min(left, self._packet - inside)
        elsewhere = self._moved.get(block - inside)
        return (sector if elsewhere is None else elsewhere + inside), left


class Metadata:
    """A partition stored in a file in another partition.

    Args:
        below: the partition that holds the file.
        pieces: the file's extents as (first block below, blocks), in order; None for a block in a hole.
    """

    def __init__(self, below: Partition, pieces: list[tuple[Optional[int], int]]) -> None:
        self.number = below.number
        self._below = below
        self._pieces = [piece for piece in pieces if piece[1] > 0]
        self._ends = list(accumulate(count for _, count in self._pieces))

    def run(self, block: int) -> tuple[int, int]:
        """See `Partition`."""
        index = bisect_right(self._ends, block)
        start = self._pieces[index][0] if index < len(self._pieces) else None
        if start is None:
            raise MediaError(f"damaged UDF: block {block} is outside of the metadata partition")
        left = self._ends[index] - block
        sector, left_below = self._below.run(start + self._pieces[index][1] - left)
        return sector, min(left, left_below)


class Space:
    """All partitions of a logical volume, in the order of its partition maps."""

    def __init__(self, disc: Disc, block_size: int) -> None:
        self.disc = disc
        self.block_size = block_size
        self.partitions: list[Partition] = []

    def read(self, partition: int, block: int, length: int, what: str) -> bytes:
        """Read from the start of a block. The caller limits `length`. Raises MediaError."""
        if partition >= len(self.partitions):
            raise damaged(what, f"block {block}", f"partition {partition} does not exist")
        pieces = []
        while length > 0:
            sector, blocks = self.partitions[partition].run(block)
            size = min(length, blocks * self.block_size)
            pieces.append(self.disc.read(sector * self.block_size, size, what))
            length -= size
            block += blocks
        return b"".join(pieces)


def sparable(space: Space, below: Plain, map_data: bytes) -> Sparable:
    """The sparable partition of a partition map of 64 bytes; with its first intact sparing table.

    Raises:
        MediaError: no sparing table is intact.
    """
    packet, tables, size = struct.unpack_from("<HBxI", map_data, 40)
    if not packet or not 1 <= tables <= 4 or size > _SPARING_TABLE_CAP:
        raise damaged("map of the sparable partition", "the logical volume", f"{tables} tables of {size} bytes")
    trouble: Optional[MediaError] = None
    for sector in struct.unpack_from(f"<{tables}I", map_data, 48):
        try:
            return Sparable(below, packet, _sparing_table(space, sector, size))
        except MediaError as error:
            trouble = trouble or error
    raise trouble or MediaError("damaged UDF: the sparable partition has no intact sparing table")


def _sparing_table(space: Space, sector: int, size: int) -> dict[int, int]:
    data = space.disc.read(sector * space.block_size, size, "UDF sparing table")
    check_tag(data, (SPARING_TABLE,), location=sector, what="sparing table")
    if len(data) < 56 or data[17:36] != b"*UDF Sparing Table\0":
        raise damaged("sparing table", f"block {sector}", "the identifier is missing")
    (count,) = struct.unpack_from("<H", data, 48)
    if 56 + 8 * count > len(data):
        raise damaged("sparing table", f"block {sector}", f"{count} entries do not fit")
    pairs = struct.iter_unpack("<II", data[56 : 56 + 8 * count])
    return {original: mapped for original, mapped in pairs if original < _UNUSED_SPARE}
