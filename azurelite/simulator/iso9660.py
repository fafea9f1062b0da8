"""ISO 9660 with Joliet: the volume descriptors, path tables and root directories of an image with files only.

This module knows ECMA-119 and the Joliet supplement as far as a disc without folders needs them. The caller places the
content of the files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping

SECTOR = 2048
DESCRIPTORS = 16  # the first sector that belongs to the file system
AFTER_DESCRIPTORS = DESCRIPTORS + 3

_DIRECTORY = 2
_LEVEL_3 = b"%/E"  # the escape sequence for UCS-2, level 3
_MADE = (2024, 1, 1, 0, 0, 0)

Extent = tuple[int, int]
"""First sector and length in bytes."""


def tables_size(names: Iterable[str]) -> int:
    """The number of sectors for the path tables and directories of these files."""
    flat = dict.fromkeys(names, (0, 0))
    return 4 + sum(len(_directory(entries, (0, 0))) // SECTOR for entries in (_short(flat), _joliet(flat)))


def sectors(extents: Mapping[str, Extent], *, tables_at: int, total: int) -> dict[int, bytes]:
    """The file system's own bytes by sector: descriptors from sector 16, tables and directories from `tables_at`.

    `total`: sectors of the whole image.
    """
    placed: dict[int, bytes] = {}
    path_table, directory = tables_at, tables_at + 4
    for number, entries in enumerate((_short(extents), _joliet(extents))):
        root = (directory, len(_directory(entries, (0, 0))))
        placed[directory] = _directory(entries, root)
        placed[path_table] = _path_table("<", directory)
        placed[path_table + 1] = _path_table(">", directory)
        placed[DESCRIPTORS + number] = _descriptor(root, path_table, total, joliet=number == 1)
        path_table, directory = path_table + 2, directory + root[1] // SECTOR
    placed[DESCRIPTORS + 2] = struct.pack("<B5sB", 255, b"CD001", 1)
    return placed


def _short(extents: Mapping[str, Extent]) -> dict[bytes, Extent]:
    """The entries with names that every reader can show: 8.3, capitals."""
    entries: dict[bytes, Extent] = {}
    for name, extent in extents.items():
        stem, dot, ending = name.upper().rpartition(".")
        if not dot:
            stem, ending = ending, ""
        stem, ending = (re.sub("[^A-Z0-9_]", "_", part) for part in (stem, ending))
        number, short = 0, stem[:8]
        while f"{short}.{ending[:3]};1".encode() in entries:
            number += 1
            short = f"{stem[: 8 - len(str(number))]}{number}"
        entries[f"{short}.{ending[:3]};1".encode()] = extent
    return dict(sorted(entries.items()))


def _joliet(extents: Mapping[str, Extent]) -> dict[bytes, Extent]:
    return dict(sorted((f"{name};1".encode("utf-16-be"), extent) for name, extent in extents.items()))


def _directory(entries: Mapping[bytes, Extent], root: Extent) -> bytes:
    """Whole sectors; a record never crosses from one to the next."""
    blocks = [_record(b"\0", root, flags=_DIRECTORY) + _record(b"\1", root, flags=_DIRECTORY)]
    for name, extent in entries.items():
        record = _record(name, extent)
        if len(blocks[-1]) + len(record) > SECTOR:
            blocks.append(b"")
        blocks[-1] += record
    return b"".join(block.ljust(SECTOR, b"\0") for block in blocks)


def _record(name: bytes, extent: Extent, *, flags: int = 0) -> bytes:
    year, *rest = _MADE
    made = bytes([year - 1900, *rest, 0])
    body = _both("I", extent[0]) + _both("I", extent[1]) + made + bytes([flags, 0, 0]) + _both("H", 1)
    body += bytes([len(name)]) + name
    body += b"\0" * (len(body) % 2)
    return bytes([len(body) + 2, 0]) + body


def _path_table(order: str, directory: int) -> bytes:
    return struct.pack(f"{order}BBIH2s", 1, 0, directory, 1, b"\0\0")


def _descriptor(root: Extent, path_table: int, total: int, *, joliet: bool) -> bytes:
    def text(words: str, length: int) -> bytes:
        if joliet:
            return words.ljust(length // 2).encode("utf-16-be").ljust(length, b"\0")
        return words.ljust(length).encode("ascii")

    year, *rest = _MADE
    made = f"{year:04}{''.join(f'{part:02}' for part in rest)}00".encode() + b"\0"
    never = b"0" * 16 + b"\0"
    fields = [
        struct.pack("<B5sBB", 2 if joliet else 1, b"CD001", 1, 0),
        text("", 32),
        text("PROVISIONING", 32),
        bytes(8),
        _both("I", total),
        (_LEVEL_3 if joliet else b"").ljust(32, b"\0"),
        _both("H", 1) + _both("H", 1) + _both("H", SECTOR) + _both("I", 10),
        struct.pack("<II", path_table, 0) + struct.pack(">II", path_table + 1, 0),
        _record(b"\0", root, flags=_DIRECTORY),
        text("", 4 * 128),
        text("", 37) * 3,
        made + made + never + never,
        b"\1",
    ]
    return b"".join(fields).ljust(SECTOR, b"\0")


def _both(kind: str, value: int) -> bytes:
    return struct.pack(f"<{kind}", value) + struct.pack(f">{kind}", value)
