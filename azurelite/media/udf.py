"""UDF (1.02 to 2.60): from the anchor through the volume's descriptors to a file of the root folder.

ECMA-167 part 3 (volume structure) and part 4 (file structure) as profiled by UDF. Sectors have 512, 1024, 2048 or 4096
bytes. A device does not say which size its image was made for, so the position of the anchor decides. Every chain is
limited by a count, every length by a number of bytes.
"""

from __future__ import annotations

import struct
from typing import Iterator, Optional

from azurelite.errors import MediaError
from azurelite.media.image import FOLDER_CAP, Disc, pick
from azurelite.media.udf_space import (
    ALLOCATION_EXTENT,
    ANCHOR,
    EXTENDED_FILE_ENTRY,
    FILE_ENTRY,
    FILE_IDENTIFIER,
    FILE_SET,
    INDIRECT_ENTRY,
    LOGICAL_VOLUME,
    MOST_MAPS,
    PARTITION,
    PRIMARY_VOLUME,
    TERMINATOR,
    VOLUME_POINTER,
    Address,
    Metadata,
    Partition,
    Plain,
    Space,
    check_tag,
    damaged,
    decode_name,
    long_address,
    short_address,
    sparable,
)
from azurelite.record import Record

_SECTOR_SIZES = (2048, 512, 4096, 1024)  # Azure's first
_MOST_DESCRIPTORS = 64  # in one sequence; usually 16 are reserved
_MOST_SEQUENCES = 4  # each pointing to the next
_OTHER_KINDS = (PRIMARY_VOLUME, 4, 7, 9)  # implementation use, unallocated space, integrity: not used here


class _Sequence:
    """The prevailing (latest) descriptors of a volume descriptor sequence."""

    def __init__(self) -> None:
        self.volume: Optional[bytes] = None
        self.volume_age = -1
        self.partitions: dict[int, tuple[int, Plain]] = {}


def read_file(disc: Disc, name: str, *, limit: int) -> Optional[bytes]:
    """The content of a file in the root folder, or None where there is none; see `disc.read_from_disc`.

    Raises:
        MediaError: damaged, an unsupported kind of partition, or the file is longer than `limit`.
    """
    trouble: Optional[MediaError] = None
    for sector_size, start, length in _sequences(disc):
        try:
            space, file_set = _volume(disc, sector_size, start, length)
        except MediaError as error:
            trouble = trouble or error
            continue
        return _from_root(space, file_set, name, limit)
    raise trouble or MediaError("damaged UDF: no anchor at block 256, at 512, at the last one or 256 before it")


def _sequences(disc: Disc) -> Iterator[tuple[int, int, int]]:
    """Sector size, first sector and bytes of each volume descriptor sequence that an anchor names (3/10.2)."""
    seen = set()
    for size in _SECTOR_SIZES:
        last = disc.size // size - 1
        for sector in dict.fromkeys((256, last, last - 256, 512)):
            if not 0 < sector <= last:
                continue
            try:
                data = disc.read(sector * size, size, "UDF anchor")
                check_tag(data, (ANCHOR,), location=sector, what="anchor")
            except MediaError:
                continue  # no anchor is required at any one of these places
            main_length, main, reserve_length, reserve = struct.unpack_from("<IIII", data, 16)
            for sequence in ((size, main, main_length), (size, reserve, reserve_length)):
                if sequence not in seen:
                    seen.add(sequence)
                    yield sequence


def _volume(disc: Disc, sector_size: int, start: int, length: int) -> tuple[Space, Address]:
    """The partitions of the logical volume and the address of its file set."""
    sequence = _read_sequence(disc, sector_size, start, length)
    if sequence.volume is None or not sequence.partitions:
        missing = "logical volume" if sequence.volume is None else "partition"
        raise damaged("descriptor sequence", f"block {start}", f"no intact {missing} descriptor")
    block_size, map_length, map_count = struct.unpack_from("<I48xII", sequence.volume, 212)
    if block_size != sector_size:
        raise damaged("logical volume descriptor", f"block {start}", f"wrong block size of {block_size} bytes")
    maps = sequence.volume[440 : 440 + map_length]
    if map_count > MOST_MAPS or len(maps) != map_length:
        raise damaged("logical volume descriptor", f"block {start}", "the partition maps do not fit")
    space = Space(disc, sector_size)
    _add_partitions(space, maps, map_count, {number: plain for number, (_, plain) in sequence.partitions.items()})
    return space, long_address(sequence.volume, 248)


def _read_sequence(disc: Disc, sector_size: int, start: int, length: int) -> _Sequence:
    found = _Sequence()
    for _ in range(_MOST_SEQUENCES):
        following: Optional[tuple[int, int]] = None
        for sector in range(start, start + min(length // sector_size, _MOST_DESCRIPTORS)):
            data = disc.read(sector * sector_size, sector_size, "UDF volume descriptor")
            if not any(data[:16]):
                break
            try:
                kinds = (*_OTHER_KINDS, VOLUME_POINTER, PARTITION, LOGICAL_VOLUME, TERMINATOR)
                kind = check_tag(data, kinds, location=sector, what="volume descriptor")
            except MediaError:
                continue  # the reserve sequence has another copy
            if kind == TERMINATOR:
                break
            if kind == VOLUME_POINTER:
                length, start = struct.unpack_from("<II", data, 20)
                following = (start, length)
                break
            _remember(found, kind, data)
        if following is None:
            return found
        start, length = following
    raise damaged("descriptor sequence", f"block {start}", "no end found")


def _remember(found: _Sequence, kind: int, data: bytes) -> None:
    (age,) = struct.unpack_from("<I", data, 16)
    if kind == LOGICAL_VOLUME and age >= found.volume_age:
        found.volume, found.volume_age = data, age
    elif kind == PARTITION:
        number, start, length = struct.unpack_from("<H164xII", data, 22)
        if age >= found.partitions.get(number, (-1, None))[0]:
            found.partitions[number] = (age, Plain(number, start, length))


def _add_partitions(space: Space, maps: bytes, count: int, plain: dict[int, Plain]) -> None:
    """Create the partitions in the order of their maps; metadata partitions last, because others contain them."""
    later: list[tuple[int, bytes, int]] = []
    at = 0
    for index in range(count):
        kind, length = (maps[at], maps[at + 1]) if at + 2 <= len(maps) else (0, 0)
        entry = maps[at : at + length]
        if (kind, length) not in ((1, 6), (2, 64)) or len(entry) != length:
            raise MediaError(f"damaged UDF: partition map {index} has kind {kind} and {length} bytes")
        number = struct.unpack_from("<H", entry, 4 if kind == 1 else 38)[0]
        below = plain.get(number)
        if below is None:
            raise MediaError(f"damaged UDF: partition map {index} refers to partition {number}, which does not exist")
        identifier = entry[5:28].rstrip(b"\0") if kind == 2 else b""
        if identifier == b"*UDF Sparable Partition":
            space.partitions.append(sparable(space, below, entry))
        elif identifier == b"*UDF Metadata Partition":
            later.append((index, entry, number))
            space.partitions.append(below)  # a placeholder
        elif kind == 1:
            space.partitions.append(below)
        else:
            named = identifier.decode("ascii", "replace").lstrip("*") or "one without a name"
            raise MediaError(f"UDF: unsupported kind of partition: {named}")
        at += length
    taken = {index for index, _, _ in later}
    for index, entry, number in later:
        under = [i for i, part in enumerate(space.partitions) if part.number == number and i not in taken]
        if not under:
            raise MediaError(f"damaged UDF: no partition holds metadata partition {index}")
        space.partitions[index] = _metadata(space, under[0], entry)


def _metadata(space: Space, below: int, entry: bytes) -> Partition:
    """The partition inside the metadata file or its mirror (UDF 2.50 2.2.13)."""
    main, mirror = struct.unpack_from("<II", entry, 40)
    trouble: Optional[MediaError] = None
    for block, file_type in ((main, METADATA_MAIN), (mirror, METADATA_MIRROR)):
        try:
            file = load_entry(space, Address(space.block_size, block, below), "metadata file")
            if file.file_type != file_type or file.inline is not None:
                raise damaged("metadata file", file.place, f"its entry is of type {file.file_type}")
            size = space.block_size
            pieces = [(at.block if recorded else None, at.length // size) for recorded, at in file.extents]
            return Metadata(space.partitions[below], pieces)
        except MediaError as error:
            trouble = trouble or error
    raise trouble or MediaError("damaged UDF: no metadata file")


def _from_root(space: Space, file_set: Address, name: str, limit: int) -> Optional[bytes]:
    data = space.read(file_set.partition, file_set.block, space.block_size, "file set descriptor")
    check_tag(data, (FILE_SET,), location=file_set.block, what="file set descriptor")
    folder = load_entry(space, long_address(data, 400), "root folder")
    names = files_in(space, folder)
    index = pick([known for known, _ in names], name)
    if index is None:
        return None
    file = load_entry(space, names[index][1], name)
    if file.file_type not in REGULAR:
        return None
    return content(space, file, limit=limit, what=name)


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
