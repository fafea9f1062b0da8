"""A disc as bytes: each read is checked against the end of the disc, and their sum is limited. Also: matching of names.

This module detects file systems (ECMA-119 6.7.1, ECMA-167 part 2); it does not know their structures.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Optional, Sequence

from azurelite.errors import MediaError

READ_BUDGET = 64 * 1024 * 1024  # bytes read of one disc, whatever its size
FOLDER_CAP = 1024 * 1024  # bytes of the root folder: some 20 000 names; Azure's disc has one
_UNIT = 2048  # raw disc devices are read in whole sectors
_MARKS_AT = 32768  # both standards leave the first 32 KiB unused
_MARKS_LENGTH = 32 * 1024
_KNOWN_MARKS = {b"CD001", b"BEA01", b"TEA01", b"NSR02", b"NSR03", b"BOOT2", b"CDW02"}


class Disc:
    """A disc or its image.

    Args:
        source: opened for reading bytes; it must be able to seek.

    Raises:
        MediaError: its size cannot be determined.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._budget = READ_BUDGET
        try:
            self.size = source.seek(0, os.SEEK_END)
        except OSError as error:
            raise MediaError(f"cannot read the disc: {error.strerror or error}") from error

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Exactly `length` bytes.

        Args:
            offset: the first byte.
            length: how many.
            what: the name of the bytes for errors.

        Raises:
            MediaError: beyond the end, over READ_BUDGET, or the system's error.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise MediaError(f"damaged disc: {what} at byte {offset} is beyond the end")
        start = offset // _UNIT * _UNIT
        end = min(-(-(offset + length) // _UNIT) * _UNIT, self.size)
        self._budget -= end - start
        if self._budget < 0:
            raise MediaError(f"damaged disc: {what} not found within the first {READ_BUDGET >> 20} MiB read")
        try:
            data = self._read_all(start, end - start)
        except OSError as error:
            raise MediaError(f"cannot read {what} at byte {offset}: {error.strerror or error}") from error
        if len(data) != end - start:
            raise MediaError(f"cannot read {what} at byte {offset}: the disc ends early")
        return data[offset - start : offset - start + length]

    def _read_all(self, start: int, length: int) -> bytes:
        self._source.seek(start)
        data = self._source.read(length)
        while data and len(data) < length:
            more = self._source.read(length - len(data))
            if not more:
                break
            data += more
        return data or b""


def file_systems(disc: Disc) -> set[str]:
    """Which of "udf" and "iso9660" the disc has, by the marks at byte 32768; reads at most 32 KiB.

    Raises:
        MediaError: the disc cannot be read there.
    """
    length = min(_MARKS_LENGTH, disc.size - _MARKS_AT)
    if length < _UNIT:
        return set()
    area = disc.read(_MARKS_AT, length, "volume recognition area")
    found: set[str] = set()
    for at in range(0, length - _UNIT + 1, _UNIT):
        mark = area[at + 1 : at + 6]
        if mark not in _KNOWN_MARKS:
            if any(area[at : at + _UNIT]):
                break
            continue  # sectors larger than 2048 bytes leave a gap behind each structure
        if mark == b"CD001":
            found.add("iso9660")
        elif mark in (b"NSR02", b"NSR03"):
            found.add("udf")
    return found


def pick(names: Sequence[str], wanted: str) -> Optional[int]:
    """The index of the name that matches `wanted`: equal, else equal but for case, else equal in ISO 9660's letters.

    Plain ISO 9660 allows only capitals, digits and underscores, and appends a version (ECMA-119 7.4, 7.5):
    `ovf-env.xml` becomes `OVF_ENV.XML;1`, which a kernel shows as `ovf_env.xml`.
    """
    lowered = [name.casefold() for name in names]
    plain = "".join(sign if sign.isalnum() or sign == "." else "_" for sign in wanted.casefold())
    for shown, target in (
        (names, wanted),
        (lowered, wanted.casefold()),
        ([name.partition(";")[0].rstrip(".") for name in lowered], plain),
    ):
        if target in shown:
            return shown.index(target)
    return None
