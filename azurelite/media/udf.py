"""UDF (1.02 to 2.60): from the anchor through the volume's descriptors to a file of the root folder.

ECMA-167 part 3 (volume structure) and part 4 (file structure) as profiled by UDF. Sectors have 512, 1024, 2048 or 4096
bytes. A device does not say which size its image was made for, so the position of the anchor decides.
"""

from __future__ import annotations

import struct
from typing import Iterator, Optional

from azurelite.errors import MediaError
from azurelite.media.image import Disc, pick
from azurelite.media.udf_files import METADATA_MAIN, METADATA_MIRROR, REGULAR, content, files_in, load_entry
from azurelite.media.udf_space import MOST_MAPS, Metadata, Partition, Plain, Space, sparable
from azurelite.media.udf_tags import (
    ANCHOR,
    FILE_SET,
    LOGICAL_VOLUME,
    PARTITION,
    PRIMARY_VOLUME,
    TERMINATOR,
    VOLUME_POINTER,
    Address,
    check_tag,
    damaged,
    long_address,
)

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
    """Create the partitions in the order of their maps; metadata partitions last, because they lie in others."""
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
