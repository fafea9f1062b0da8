"""Decompress user data and convert it to UTF-8.

The size of the result is limited. The content of the document is not examined.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator

from azurelite.clock import Clock, Deadline
from azurelite.errors import HandlerError
from azurelite.record import Record

LIMIT = 16 * 1024 * 1024  # bytes; Azure accepts 64 KiB, which can decompress to gigabytes (a decompression bomb)
_PIECE = 1024 * 1024  # bytes that are unpacked between two looks at the clock
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


class Budget:
    """What all parts of one document, and its compressed files, may take together: bytes when unpacked, and seconds.

    A part that does not fit costs no bytes, so that a decompression bomb does not stop the parts after it.

    Args:
        clock: measures the time.
        seconds: the time for unpacking.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.left = LIMIT
        self._clock = clock
        self._seconds = seconds
        self._deadline = Deadline(clock, seconds)

    @contextlib.contextmanager
    def unpacking(self) -> Iterator[None]:
        """Inside it, time counts: the time for other work between two parts does not."""
        self._deadline = Deadline(self._clock, self._seconds)
        try:
            yield
        finally:
            self._seconds = self._deadline.remaining()

    def remaining(self) -> float:
        """The seconds that are left. Raises HandlerError if there are none."""
        if not self._deadline.remaining():
            raise refused("decompressing it takes too long: send fewer compressed parts, each compressed once")
        return self._deadline.remaining()

    def spend(self, size: int) -> None:
        """Take the bytes of an unpacked part. Raises HandlerError: there are not as many."""
        if size > self.left:
            raise refused(f"it and the parts before it have more than {LIMIT} bytes when decompressed: shorten them")
        self.left -= size


class Decoded(Record):
    """The decompressed document.

    Attributes:
        data: the document.
        notes: messages about oddities that were corrected.
    """

    data: bytes
    notes: tuple[str, ...] = ()


def decode(data: bytes, *, unzstd: Callable[[bytes, int], bytes], budget: Budget) -> Decoded:
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
            data = _unpack(kind, data, unzstd, budget)
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


def _unpack(kind: str, data: bytes, unzstd: Callable[[bytes, int], bytes], budget: Budget) -> bytes:
    def check() -> None:
        budget.remaining()

    limit = budget.left
    unpackers: dict[str, Callable[[], bytes]] = {
        "gzip": lambda: gunzip(data, limit, check)[0],
        "bzip2": lambda: _bunzip2(data, limit, check),
        "xz": lambda: _unxz(data, limit, check),
        "zstd": lambda: unzstd(data, limit),
    }
    try:
        with budget.unpacking():
            check()
            out = unpackers[kind]()
    except ImportError as error:
        raise refused(f"it is compressed with {kind}, which this Python does not support: use gzip") from error
    except (ValueError, OSError, EOFError) as error:
        raise refused(f"its {kind} data is damaged") from error
    budget.spend(len(out))
    return out


def _nothing() -> None:
    """The check of data whose unpacking has no time limit."""


def gunzip(data: bytes, limit: int, check: Callable[[], object] = _nothing) -> tuple[bytes, bytes]:
    """What the members of a gzip file hold, cut after `limit` bytes and one more; and what follows the last member.

    Raises:
        ValueError: damaged.
        EOFError: cut off.
    """
    import zlib

    def piece(unpacker: Any, packed: bytes, most: int) -> tuple[bytes, bytes]:
        return unpacker.decompress(packed, most), unpacker.unconsumed_tail

    return _members(data, b"\x1f\x8b", limit, lambda: zlib.decompressobj(wbits=31), zlib.error, piece, check)


def _bunzip2(data: bytes, limit: int, check: Callable[[], object]) -> bytes:
    import bz2

    return _members(data, b"BZh", limit, bz2.BZ2Decompressor, OSError, _piece, check)[0]


def _unxz(data: bytes, limit: int, check: Callable[[], object]) -> bytes:
    import lzma

    def make() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_LIMIT)

    return _members(data, b"\xfd7zXZ\x00", limit, make, lzma.LZMAError, _piece, check)[0]


def _piece(unpacker: Any, packed: bytes, most: int) -> tuple[bytes, bytes]:
    """The next bytes of bzip2 and xz, whose unpackers keep what they have not used."""
    return unpacker.decompress(packed, most), b""


def _members(
    data: bytes,
    magic: bytes,
    limit: int,
    make: Callable[[], Any],
    damaged: type[Exception],
    piece: Callable[[Any, bytes, int], tuple[bytes, bytes]],
    check: Callable[[], object],
) -> tuple[bytes, bytes]:
    """Unpack all members that follow each other; `check` is called before each piece, and raises to stop."""
    out: list[bytes] = []
    size = 0
    while data.startswith(magic):
        unpacker = make()
        rest = data
        while not unpacker.eof and size <= limit:
            check()
            try:
                found, rest = piece(unpacker, rest, min(_PIECE, limit + 1 - size))
            except damaged as error:
                raise ValueError("damaged") from error
            if not found and not unpacker.eof and not rest:
                raise EOFError("cut off")
            out.append(found)
            size += len(found)
        if size > limit:
            break
        data = unpacker.unused_data.lstrip(b"\0")
    return b"".join(out), data


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
