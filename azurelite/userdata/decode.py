"""Bytes as Azure hands them over -> the plain document inside: unpacked, and in UTF-8.

Knows packing and encodings, with a limit on what comes out; what the document says is not its business.
"""

from __future__ import annotations

from typing import Any, Callable

from azurelite.errors import HandlerError
from azurelite.record import Record

LIMIT = 16 * 1024 * 1024  # bytes; Azure takes 64 KiB, which a bomb unpacks to gigabytes
_MOST_LAYERS = 4
_MEMORY_LIMIT = 128 * 1024 * 1024  # bytes that xz may ask for
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
    """What came out.

    Attributes:
        data: the document.
        notes: what was odd on the way.
    """

    data: bytes
    notes: tuple[str, ...] = ()


def decode(data: bytes, *, unzstd: Callable[[bytes, int], bytes]) -> Decoded:
    """Unpack user data.

    Args:
        data: as Azure gave it, its own base64 already taken off.
        unzstd: unpacks zstd: (packed bytes, the most bytes to return) -> bytes; returns one byte more than
            that when there is more. Raises AzureliteError.

    Raises:
        HandlerError: damaged, too large, or packed in a way that cannot be unpacked here.
    """
    notes = []
    for _ in range(_MOST_LAYERS):
        kind = _packed_as(data)
        if kind is not None:
            data = _unpack(kind, data, unzstd)
        elif _is_base64(data):
            data = _from_base64(data)
            notes.append("the data was in base64 twice: one is enough, Azure's tools add it themselves")
        else:
            return Decoded(_in_utf8(data), tuple(notes))
    raise _refused(f"it is packed more than {_MOST_LAYERS} times over: pack it once")


def _packed_as(data: bytes) -> str | None:
    for magic, kind in _OTHER_MAGIC:
        if data.startswith(magic):
            raise _refused(f"it is packed with {kind}, which is not supported: use gzip, bzip2, xz or zstd")
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _unpack(kind: str, data: bytes, unzstd: Callable[[bytes, int], bytes]) -> bytes:
    unpackers = {"gzip": lambda packed: gunzip(packed, LIMIT)[0], "bzip2": _bunzip2, "xz": _unxz}
    try:
        out = unzstd(data, LIMIT) if kind == "zstd" else unpackers[kind](data)
    except ImportError as error:
        raise _refused(f"it is packed with {kind}, and this Python was built without it: use gzip") from error
    except (ValueError, OSError, EOFError) as error:
        raise _refused(f"it is packed with {kind}, but damaged") from error
    if len(out) > LIMIT:
        raise _refused(f"unpacked it has more than {LIMIT} bytes")
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
    """It is base64 of something that is known: a text that merely looks like base64 stays as it is."""
    first = data[:1]
    if not (first.isalnum() or first in (b"+", b"/")) or not _from_base64(data[:64]):
        return False
    inner = _from_base64(data)
    return any(inner.startswith(magic) for magic, _ in _MAGIC) or inner[:16].lstrip().lower().startswith(_TEXT_STARTS)


def _from_base64(data: bytes) -> bytes:
    """The bytes inside, b"" where it is no base64."""
    import base64

    packed = b"".join(data.split())
    try:
        return base64.b64decode(packed[: len(packed) // 4 * 4] if len(data) == 64 else packed, validate=True)
    except ValueError:
        return b""


def _in_utf8(data: bytes) -> bytes:
    for mark, encoding in _BYTE_ORDER_MARKS:  # what PowerShell writes unless told otherwise
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise _refused("it begins as UTF-16, but is damaged: save it as UTF-8") from error
    return data[3:] if data.startswith(b"\xef\xbb\xbf") else data


def _refused(why: str) -> HandlerError:
    return HandlerError(f"the user data cannot be read: {why}", reason="failed to read user data")
