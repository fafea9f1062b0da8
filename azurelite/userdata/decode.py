"""Decompress user data and convert it to UTF-8.

The size of the result is limited. The content of the document is not examined.
"""

from __future__ import annotations

from typing import Any, Callable

from azurelite.errors import HandlerError
from azurelite.record import Record

LIMIT = 16 * 1024 * 1024  # bytes; Azure accepts 64 KiB, which can decompress to gigabytes (a decompression bomb)
_MOST_LAYERS = 4
_MEMORY_LIMIT = 128 * 1024 * 1024  # bytes that the xz decoder may allocate
_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_OTHER_MAGIC = (
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x89LZO\x00", "lzop"),
    (b"PK\x03\x04", "zip"),
    (b"\x5d\x00\x00", "lzma"),
)
_TEXT_STARTS = (b"#", b"content-type:", b"mime-version:", b"{")
_BYTE_ORDER_MARKS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class Decoded(Record):
    """The decompressed document.

    Attributes:
        data: the document.
        notes: messages about oddities that were corrected.
    """

    data: bytes
    notes: tuple[str, ...] = ()


def decode(data: bytes, *, unzstd: Callable[[bytes, int], bytes]) -> Decoded:
    """Decompress user data and convert it to UTF-8.

    Args:
        data: the data from Azure, with Azure's own base64 already decoded.
        unzstd: decompresses zstd: (compressed bytes, maximum n) -> bytes; returns n + 1 bytes if there are more than
            n. Raises AzureliteError.

    Raises:
        HandlerError: the data is damaged, too large, or in an unsupported format.
    """
    notes = []
    for _ in range(_MOST_LAYERS):
        kind = _packed_as(data)
        if kind is not None:
            data = _unpack(kind, data, unzstd)
        elif _is_base64(data):
            data = _from_base64(data)
            notes.append("the data is base64-encoded twice: do not encode it yourself, Azure's tools already do")
        else:
            return Decoded(_in_utf8(data), tuple(notes))
    raise refused(f"it is compressed or encoded more than {_MOST_LAYERS} times: compress it once")


def _packed_as(data: bytes) -> str | None:
    for magic, kind in _OTHER_MAGIC:
        if data.startswith(magic):
            raise refused(f"it is compressed with {kind}, which is not supported: use gzip, bzip2, xz or zstd")
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _unpack(kind: str, data: bytes, unzstd: Callable[[bytes, int], bytes]) -> bytes:
    unpackers = {"gzip": lambda packed: gunzip(packed, LIMIT)[0], "bzip2": _bunzip2, "xz": _unxz}
    try:
        out = unzstd(data, LIMIT) if kind == "zstd" else unpackers[kind](data)
    except ImportError as error:
        raise refused(f"it is compressed with {kind}, which this Python does not support: use gzip") from error
    except (ValueError, OSError, EOFError) as error:
        raise refused(f"its {kind} data is damaged") from error
    if len(out) > LIMIT:
        raise refused(f"it has more than {LIMIT} bytes when decompressed")
    return out


def gunzip(data: bytes, limit: int) -> tuple[bytes, bytes]:
    """What the members of a gzip file hold, cut after `limit` bytes and one more; and what follows the last member.

    Raises:
        ValueError: damaged.
        EOFError: cut off.
    """
    import zlib

    return _members(data, b"\x1f\x8b", limit, lambda: zlib.decompressobj(wbits=31), zlib.error)


def _bunzip2(data: bytes) -> bytes:
    import bz2

    return _members(data, b"BZh", LIMIT, bz2.BZ2Decompressor, OSError)[0]


def _members(
    data: bytes, magic: bytes, limit: int, make: Callable[[], Any], damaged: type[Exception]
) -> tuple[bytes, bytes]:
    out = b""
    while data.startswith(magic):  # more than one may follow
        unpacker = make()
        try:
            out += unpacker.decompress(data, limit + 1 - len(out))
        except damaged as error:
            raise ValueError("damaged") from error
        if len(out) > limit:
            break
        if not unpacker.eof:
            raise EOFError("cut off")
        data = unpacker.unused_data.lstrip(b"\0")
    return out, data


def _unxz(data: bytes) -> bytes:
    import lzma

    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_LIMIT)
    try:
        out = unpacker.decompress(data, LIMIT + 1)
    except lzma.LZMAError as error:
        raise ValueError("damaged") from error
    if not unpacker.eof and len(out) <= LIMIT:
        raise EOFError("cut off")
    return out


def _is_base64(data: bytes) -> bool:
    """Whether it is base64 of a supported format. Other text that looks like base64 is left unchanged."""
    first = data[:1]
    if not (first.isalnum() or first in (b"+", b"/")) or not _from_base64(data[:64]):
        return False
    inner = _from_base64(data)
    return any(inner.startswith(magic) for magic, _ in _MAGIC) or inner[:16].lstrip().lower().startswith(_TEXT_STARTS)


def _from_base64(data: bytes) -> bytes:
    """The decoded bytes, b"" if it is not base64."""
    import base64

    packed = b"".join(data.split())
    try:
        return base64.b64decode(packed[: len(packed) // 4 * 4] if len(data) == 64 else packed, validate=True)
    except ValueError:
        return b""


def _in_utf8(data: bytes) -> bytes:
    for mark, encoding in _BYTE_ORDER_MARKS:  # PowerShell writes UTF-16 by default
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise refused("its UTF-16 text is damaged: save it as UTF-8") from error
    return data[3:] if data.startswith(b"\xef\xbb\xbf") else data


def refused(why: str) -> HandlerError:
    """The error for user data, or a part of it, that cannot be read."""
    return HandlerError(f"the user data cannot be read: {why}", reason="failed to read user data")
