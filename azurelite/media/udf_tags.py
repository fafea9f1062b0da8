"""Parts common to all UDF descriptors: the tag with its two checksums, addresses, OSTA's compressed Unicode.

ECMA-167 3/7.2 (tags), 4/7.1 and 4/14.14 (addresses); UDF 1.02 2.1.1 (names).
"""

from __future__ import annotations

import binascii
import struct
from typing import NamedTuple

from azurelite.errors import MediaError

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
