"""ISO 9660 (ECMA-119) with its long names: Joliet, and Rock Ridge on top of the System Use Sharing Protocol.

Only the root folder is read. Rock Ridge names can continue in continuation areas (SUSP 5.1). Joliet names are UCS-2, in
a separate volume descriptor with an escape sequence of its own.
"""

from __future__ import annotations

import struct
from typing import Optional

from azurelite.errors import MediaError
from azurelite.media.image import FOLDER_CAP, Disc, pick
from azurelite.record import Record

_SECTOR = 2048
_FIRST_DESCRIPTOR = 16 * _SECTOR
_MOST_DESCRIPTORS = 32
_JOLIET_ESCAPES = (b"%/@", b"%/C", b"%/E")
_MOST_CONTINUATIONS = 16
_CONTINUATION_CAP = 4 * _SECTOR
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_DIRECTORY, _ASSOCIATED, _GOES_ON = 0x02, 0x04, 0x80  # file flags, ECMA-119 9.1.6


class _Volume(Record):
    """One tree of names, with the position of its root folder."""

    joliet: bool
    block_size: int
    offset: int
    length: int


class _File(Record):
    """A file of the root folder, and its pieces as byte offset and length."""

    name: str
    identifier: str
    pieces: list[tuple[int, int]]


def read_file(disc: Disc, name: str, *, limit: int) -> Optional[bytes]:
    """The content of a file in the root folder, or None where there is none; see `disc.read_from_disc`.

    Raises:
        MediaError: damaged, or the file is longer than `limit`.
    """
    names: list[str] = []
    mangled: list[str] = []
    files: list[_File] = []
    trouble: Optional[MediaError] = None
    for volume in _volumes(disc):
        try:
            found = _root_folder(disc, volume)
        except MediaError as error:
            trouble = trouble or error
            continue
        files += found
        names += [file.name for file in found]
        mangled += [file.identifier for file in found]
    index = pick(names + mangled, name)
    if index is None:
        if trouble is not None:
            raise trouble
        return None
    return _content(disc, files[index % len(files)], limit)


def _volumes(disc: Disc) -> list[_Volume]:
    volumes = []
    for number in range(_MOST_DESCRIPTORS):
        at = _FIRST_DESCRIPTOR + number * _SECTOR
        if at + _SECTOR > disc.size:
            break
        data = disc.read(at, _SECTOR, "ISO 9660 volume descriptor")
        if data[1:6] != b"CD001" or data[0] == _TERMINATOR:
            break
        joliet = data[0] == _SUPPLEMENTARY and data[88:91] in _JOLIET_ESCAPES
        if data[0] == _PRIMARY or joliet:
            volumes.append(_volume(data, joliet, at))
    if not volumes:
        raise MediaError("damaged ISO 9660: no primary volume descriptor")
    return volumes


def _volume(data: bytes, joliet: bool, at: int) -> _Volume:
    (block_size,) = struct.unpack_from("<H", data, 128)
    if block_size not in (512, 1024, 2048):
        raise MediaError(f"damaged ISO 9660: volume descriptor at byte {at} has a block size of {block_size} bytes")
    root = data[156:190]
    start, length = struct.unpack_from("<I4xI", root, 2)
    return _Volume(joliet, block_size, (start + root[1]) * block_size, length)


def _root_folder(disc: Disc, volume: _Volume) -> list[_File]:
    """The files of the root folder; folders and associated files are skipped."""
    if volume.length > FOLDER_CAP:
        raise MediaError(f"damaged ISO 9660: root folder of {volume.length} bytes, over the limit of {FOLDER_CAP}")
    body = disc.read(volume.offset, volume.length, "ISO 9660 root folder")
    files: list[_File] = []
    skip: Optional[int] = None  # bytes to skip in each system use field; None without SUSP
    open_file: Optional[_File] = None
    at = 0
    while at < len(body):
        size = body[at]
        if size == 0:  # records do not cross sectors; the rest of this one is empty
            at = (at // _SECTOR + 1) * _SECTOR
            continue
        record = body[at : at + size]
        if len(record) < 34 or len(record) != size or record[32] + 33 > size:
            raise MediaError(f"damaged ISO 9660: folder record at byte {volume.offset + at}")
        if at == 0 and not volume.joliet:
            skip = _susp_skip(_system_use(record))
        at += size
        flags = record[25]
        if flags & (_DIRECTORY | _ASSOCIATED):
            continue
        if open_file is None:
            open_file = _named(disc, volume, record, skip)
        open_file.pieces.append(_piece(record, volume))
        if not flags & _GOES_ON:
            files.append(open_file)
            open_file = None
    return files


def _named(disc: Disc, volume: _Volume, record: bytes, skip: Optional[int]) -> _File:
    raw = record[33 : 33 + record[32]]
    identifier = raw.decode("utf-16-be" if volume.joliet else "latin-1", "replace")
    longer = None
    if skip is not None:
        longer = _rock_ridge_name(disc, volume.block_size, _system_use(record)[skip:])
    return _File(longer or identifier.partition(";")[0].rstrip("."), identifier, [])


def _piece(record: bytes, volume: _Volume) -> tuple[int, int]:
    start, length = struct.unpack_from("<I4xI", record, 2)
    if record[26] or record[27]:
        length = -1  # interleaved; an error if this file is read
    return (start + record[1]) * volume.block_size, length


def _content(disc: Disc, file: _File, limit: int) -> bytes:
    if any(length < 0 for _, length in file.pieces):
        raise MediaError(f"{file.name} is interleaved with other files, which is not supported")
    if sum(length for _, length in file.pieces) > limit:
        raise MediaError(f"{file.name} is longer than {limit} bytes")
    return b"".join(disc.read(offset, length, file.name) for offset, length in file.pieces)


def _system_use(record: bytes) -> bytes:
    return record[33 + record[32] + (record[32] + 1) % 2 :]


def _susp_skip(area: bytes) -> Optional[int]:
    """The skip length of the SP entry (SUSP 5.3), None where the disc does not use SUSP."""
    if len(area) >= 7 and area[:2] == b"SP" and area[4:6] == b"\xbe\xef":
        return area[6]
    return None


def _rock_ridge_name(disc: Disc, block_size: int, area: bytes) -> Optional[str]:
    """The alternate name (RRIP 4.1.4) of a record, with its continuation areas; None without one."""
    parts: list[bytes] = []
    for _ in range(_MOST_CONTINUATIONS):
        follow: Optional[tuple[int, int, int]] = None
        at = 0
        while at + 4 <= len(area):
            size = area[at + 2]
            entry = area[at : at + size]
            if size < 4 or len(entry) != size or entry[:2] == b"ST":
                break
            if entry[:2] == b"NM" and size > 5 and not entry[4] & 0x06:
                parts.append(entry[5:])
            elif entry[:2] == b"CE" and size >= 28:
                follow = struct.unpack_from("<I4xI4xI", entry, 4)
            at += size
        if follow is None:
            return b"".join(parts).decode("utf-8", "replace") or None
        block, inside, length = follow
        if length > _CONTINUATION_CAP:
            raise MediaError(f"damaged ISO 9660: continuation area of {length} bytes at block {block}")
        area = disc.read(block * block_size + inside, length, "Rock Ridge continuation area")
    raise MediaError("damaged ISO 9660: a name has too many continuation areas")
