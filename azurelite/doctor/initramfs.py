"""The names of the files in an initramfs: cpio archives one after the other, each plain or compressed.

The image is untrusted: at most `_MOST` bytes are unpacked, and only headers are interpreted.
"""

from __future__ import annotations

import zlib
from typing import Optional

from azurelite.system.bounded import unpacked
from azurelite.system.machine import System

_MOST = 512 * 1024 * 1024  # bytes, unpacked
_FILE_LIMIT = 384 * 1024 * 1024  # bytes, packed
_MOST_FILES = 100_000
_HEADER = 110  # bytes of a cpio header in the "new ASCII" format
_MAGICS = (b"070701", b"070702")
_SECONDS = 60.0
_PROGRAMS = ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4"), (b"\x04\x22\x4d\x18", "lz4"))


def names_in(system: System, path: str) -> tuple[Optional[list[str]], str]:
    """The names of the files in the initramfs at a guest path; None and the reason if it cannot be read."""
    try:
        data = system.root.read(path, limit=_FILE_LIMIT)
    except OSError as error:
        return None, f"the initramfs cannot be read: {error.strerror}"
    if not data:
        return None, "the initramfs is empty"
    found: list[str] = []
    for _ in range(16):  # microcode comes first, as an archive of its own that is not compressed
        data = data.lstrip(b"\0")
        if not data:
            break
        if data.startswith(_MAGICS):
            names, end = _cpio(data)
            found += names
            data = data[end:]
            continue
        inner, rest, why = _unpacked(system, data)
        if inner is None:
            return None, why
        if not inner.lstrip(b"\0").startswith(_MAGICS):
            return None, "the initramfs is no cpio archive"
        while inner.startswith(_MAGICS):
            names, end = _cpio(inner)
            found += names
            inner = inner[end:].lstrip(b"\0")
        data = rest
    return found, ""


def _cpio(data: bytes) -> tuple[list[str], int]:
    """The names of one archive, and where it ends."""
    names: list[str] = []
    at = 0
    while data[at : at + 6] in _MAGICS and len(names) < _MOST_FILES:
        try:
            size = int(data[at + 54 : at + 62], 16)
            length = int(data[at + 94 : at + 102], 16)
        except ValueError:
            return names, len(data)
        name = data[at + _HEADER : at + _HEADER + length].rstrip(b"\0")
        at += -(-(_HEADER + length) // 4) * 4
        at += -(-size // 4) * 4
        if name == b"TRAILER!!!":
            return names, at
        names.append(name.decode("utf-8", "replace"))
    return names, len(data)


def _unpacked(system: System, data: bytes) -> tuple[Optional[bytes], bytes, str]:
    """The unpacked archive, what follows it, and why it cannot be unpacked."""
    if data.startswith(b"\x1f\x8b"):
        return _gzip(data)
    if data.startswith(b"\xfd7zXZ\0"):
        import lzma

        try:
            xz = lzma.LZMADecompressor(memlimit=_MOST)
            return xz.decompress(data, _MOST), xz.unused_data, ""
        except lzma.LZMAError as error:
            return None, b"", f"the initramfs is damaged: {error}"
    for magic, program in _PROGRAMS:
        if data.startswith(magic):
            return _by_program(system, program, data)
    return None, b"", f"the initramfs has an unknown format: it starts with {data[:6].hex()}"


def _gzip(data: bytes) -> tuple[Optional[bytes], bytes, str]:
    try:
        unpacker = zlib.decompressobj(wbits=31)
        return unpacker.decompress(data, _MOST), unpacker.unused_data, ""
    except zlib.error as error:
        return None, b"", f"the initramfs is damaged: {error}"


def _by_program(system: System, program: str, data: bytes) -> tuple[Optional[bytes], bytes, str]:
    """Unpack with an installed program, to the end: what follows the archive would make it fail."""
    path = system.commands.find(program)
    if path is None:
        return None, b"", f"the initramfs is compressed with {program}, which is not installed here"
    found = unpacked(path, data, limit=_MOST, seconds=_SECONDS)
    return (found, b"", "") if found else (None, b"", f"{program} cannot unpack the initramfs")
