"""UDF's files: (extended) file entries, the extents that hold a file, and the names in a folder.

ECMA-167 4/14.4 to 4/14.14; UDF 1.02 2.3. Every chain is limited by a count, every length by a number of bytes.
"""

from __future__ import annotations

import struct
from typing import Optional

from azurelite.errors import MediaError
from azurelite.media.image import FOLDER_CAP
from azurelite.media.udf_space import Space
from azurelite.media.udf_tags import (
    ALLOCATION_EXTENT,
    EXTENDED_FILE_ENTRY,
    FILE_ENTRY,
    FILE_IDENTIFIER,
    INDIRECT_ENTRY,
    Address,
    check_tag,
    damaged,
    decode_name,
    long_address,
    short_address,
)
from azurelite.record import Record

FOLDER, REGULAR = 4, (0, 5)  # file types, ECMA-167 4/14.6.6; 0 is "not said", which Linux reads as regular
METADATA_MAIN, METADATA_MIRROR = 250, 251  # UDF 2.50 2.2.13
_MOST_CONTINUATIONS = 64
_SHORT, _LONG, _EMBEDDED = 0, 1, 3  # kinds of allocation descriptors, ECMA-167 4/14.6.8
_RECORDED, _CONTINUATION = 0, 3  # kinds of extents, ECMA-167 4/14.14.1.1
_DIRECTORY, _DELETED, _PARENT = 0x02, 0x04, 0x08  # file characteristics, ECMA-167 4/14.4.3


class Entry(Record):
    """A file entry.

    Attributes:
        place: the block of its descriptor, for errors.
        file_type: ECMA-167's number for folder, regular file and others.
        size: bytes.
        inline: the content where the descriptor contains it; else None.
        extents: the places of the content otherwise; one with `recorded` False reads as zeros.
    """

    place: str
    file_type: int
    size: int
    inline: Optional[bytes]
    extents: tuple[tuple[bool, Address], ...]


def load_entry(space: Space, address: Address, what: str) -> Entry:
    """Read a file entry and the addresses of its extents.

    Raises:
        MediaError: damaged, or written with a strategy other than 4 (UDF 1.02 2.3.5.1).
    """
    place = f"block {address.block}"
    data = space.read(address.partition, address.block, space.block_size, what)
    kinds = (FILE_ENTRY, EXTENDED_FILE_ENTRY, INDIRECT_ENTRY)
    kind = check_tag(data, kinds, location=address.block, what=what)
    (strategy,) = struct.unpack_from("<H", data, 20)
    if kind == INDIRECT_ENTRY or strategy != 4:
        raise MediaError(f"UDF: {what} at {place} uses the unsupported strategy {strategy}")
    file_type, flags, size = data[27], struct.unpack_from("<H", data, 34)[0] & 7, struct.unpack_from("<Q", data, 56)[0]
    lengths_at = 168 if kind == FILE_ENTRY else 208
    attributes, allocations = struct.unpack_from("<II", data, lengths_at)
    start = lengths_at + 8 + attributes
    if start + allocations > len(data):
        raise damaged(what, place, "the extents do not fit into the block")
    body = data[start : start + allocations]
    if flags == _EMBEDDED:
        if size > len(body):
            raise damaged(what, place, f"{size} bytes do not fit")
        return Entry(place, file_type, size, body[:size], ())
    if flags not in (_SHORT, _LONG):
        raise MediaError(f"UDF: {what} at {place} has unsupported allocation descriptors of kind {flags}")
    walk = _Extents(space, address.partition, flags == _LONG, size, what)
    return Entry(place, file_type, size, None, tuple(walk.follow(body)))


class _Extents(Record):
    """Reads allocation descriptors and their continuations."""

    space: Space
    partition: int
    long: bool
    size: int
    what: str

    def follow(self, body: bytes) -> list[tuple[bool, Address]]:
        """All extents up to the size of the file. Raises MediaError."""
        found: list[tuple[bool, Address]] = []
        covered = 0
        for _ in range(_MOST_CONTINUATIONS):
            follow: Optional[Address] = None
            for kind, address in self._parse(body):
                if kind == _CONTINUATION:
                    follow = address
                    break
                if address.length == 0 or covered >= self.size:
                    return found
                found.append((kind == _RECORDED, address))
                covered += address.length
            if follow is None or covered >= self.size:
                return found
            body = self._continuation(follow)
        raise MediaError(f"damaged UDF: {self.what} has too many continued extents")

    def _parse(self, body: bytes) -> list[tuple[int, Address]]:
        step = 16 if self.long else 8
        found = []
        for at in range(0, len(body) - step + 1, step):
            raw = long_address(body, at) if self.long else short_address(body, at, self.partition)
            found.append((raw.length >> 30, raw._replace(length=raw.length & 0x3FFFFFFF)))
        return found

    def _continuation(self, address: Address) -> bytes:
        what = f"extents of {self.what}"
        data = self.space.read(address.partition, address.block, self.space.block_size, what)
        check_tag(data, (ALLOCATION_EXTENT,), location=address.block, what=what)
        (length,) = struct.unpack_from("<I", data, 20)
        if 24 + length > len(data):
            raise damaged(what, f"block {address.block}", "the extents do not fit into the block")
        return data[24 : 24 + length]


def content(space: Space, entry: Entry, *, limit: int, what: str) -> bytes:
    """The whole content of a file.

    Raises:
        MediaError: longer than `limit`, or longer than its extents.
    """
    if entry.size > limit:
        raise MediaError(f"{what} is longer than {limit} bytes")
    if entry.inline is not None:
        return entry.inline
    pieces = []
    missing = entry.size
    for recorded, address in entry.extents:
        length = min(address.length, missing)
        missing -= length
        pieces.append(space.read(address.partition, address.block, length, what) if recorded else bytes(length))
    if missing:
        raise damaged(what, entry.place, f"{missing} bytes are in no extent")
    return b"".join(pieces)


def files_in(space: Space, folder: Entry) -> list[tuple[str, Address]]:
    """The names in a folder with the addresses of their file entries; without folders and deleted files.

    Raises:
        MediaError: damaged, or not a folder.
    """
    if folder.file_type != FOLDER:
        raise damaged("root folder", folder.place, f"its entry is of type {folder.file_type}")
    body = content(space, folder, limit=FOLDER_CAP, what="the root folder")
    found = []
    at = 0
    while at + 38 <= len(body):
        where = f"byte {at}"
        characteristics, name_length = body[at + 18], body[at + 19]
        (use_length,) = struct.unpack_from("<H", body, at + 36)
        end = at + 38 + use_length + name_length
        padded = -(-end // 4) * 4
        if end > len(body):
            raise damaged("root folder", where, "name cut off")
        # The tag's address is the block of the folder; writers differ where the folder is embedded, so it is ignored.
        (own,) = struct.unpack_from("<I", body, at + 12)
        check_tag(body[at:padded], (FILE_IDENTIFIER,), location=own, what="name in the root folder")
        if not characteristics & (_DIRECTORY | _DELETED | _PARENT):
            found.append((decode_name(body[end - name_length : end]), long_address(body, at + 20)))
        at = padded
    return found
