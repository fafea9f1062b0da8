"""Decompressing user data: the usual formats, damaged data, and decompression bombs."""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import lzma
import random
from typing import Callable

import pytest
from kit import FastClock

from azurelite.errors import HandlerError
from azurelite.userdata.decode import LIMIT, Budget, decode

SCRIPT = b"#!/bin/sh\necho done\n"


def no_zstd(data: bytes, limit: int) -> bytes:
    raise HandlerError("zstd is not installed")


def budget() -> Budget:
    return Budget(FastClock(), 60)


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: data,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
        lambda data: bz2.compress(data[:7]) + bz2.compress(data[7:]),
        lambda data: lzma.compress(data[:7]) + lzma.compress(data[7:]),
        lambda data: gzip.compress(lzma.compress(data)),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le"),
        lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
    ],
)
def test_compressed_data_is_decompressed(pack: Callable[[bytes], bytes]) -> None:
    decoded = decode(pack(SCRIPT), unzstd=no_zstd, budget=budget())
    assert (decoded.data, decoded.notes) == (SCRIPT, ())


@pytest.mark.parametrize(
    "inner", [SCRIPT, b"#cloud-config\n{}\n" * 9, gzip.compress(SCRIPT), b"Content-Type: multipart/mixed; x\n\n"]
)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_double_base64_is_decoded_and_noted(inner: bytes, encode: Callable[[bytes], bytes]) -> None:
    decoded = decode(encode(inner), unzstd=no_zstd, budget=budget())
    assert decoded.data == decode(inner, unzstd=no_zstd, budget=budget()).data
    assert "base64-encoded twice" in decoded.notes[0]


@pytest.mark.parametrize("data", [b"", b"secret", b"abcd", b"ABCDabcd" * 30, b"\x00\x01", base64.b64encode(b"words")])
def test_text_that_only_looks_like_base64_is_not_decoded(data: bytes) -> None:
    assert decode(data, unzstd=no_zstd, budget=budget()).data == data


def test_zstd_is_decompressed_by_the_given_function() -> None:
    packed = b"\x28\xb5\x2f\xfd" + b"whatever"
    asked = []

    def unzstd(data: bytes, limit: int) -> bytes:
        asked.append((data, limit))
        return SCRIPT

    assert decode(packed, unzstd=unzstd, budget=budget()).data == SCRIPT
    assert asked == [(packed, LIMIT)]
    with pytest.raises(HandlerError, match="zstd is not installed"):
        decode(packed, unzstd=no_zstd, budget=budget())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_decompression_bomb_is_refused_at_the_limit(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(HandlerError, match=f"more than {LIMIT} bytes"):
        decode(pack(b"\0" * (LIMIT + 1)), unzstd=no_zstd, budget=budget())
    assert len(decode(pack(b"\0" * LIMIT), unzstd=no_zstd, budget=budget()).data) == LIMIT


def test_the_limit_counts_all_members_together() -> None:
    with pytest.raises(HandlerError, match="more than"):
        decode(gzip.compress(b"\0" * (LIMIT // 4)) * 5, unzstd=no_zstd, budget=budget())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_one_limit_counts_all_parts_together_and_a_part_that_does_not_fit_costs_nothing(
    pack: Callable[[bytes], bytes],
) -> None:
    shared = budget()
    half, more = pack(b"\0" * (LIMIT // 2)), pack(b"\0" * (LIMIT // 2 + 1))
    assert len(decode(half, unzstd=no_zstd, budget=shared).data) == LIMIT // 2
    for _ in range(2):
        with pytest.raises(HandlerError, match=f"the parts before it have more than {LIMIT} bytes"):
            decode(more, unzstd=no_zstd, budget=shared)
    assert len(decode(half, unzstd=no_zstd, budget=shared).data) == LIMIT // 2
    with pytest.raises(HandlerError, match="more than"):
        decode(pack(b"x"), unzstd=no_zstd, budget=shared)
    assert decode(b"#!/bin/sh\n", unzstd=no_zstd, budget=shared).data == b"#!/bin/sh\n"


class Slow(FastClock):
    """A machine on which each look at the clock comes a second later."""

    def monotonic(self) -> float:
        self.sleep(1)
        return super().monotonic()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_unpacking_has_a_time_limit_for_all_parts_together(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"\0" * (8 << 20))
    assert len(decode(packed, unzstd=no_zstd, budget=Budget(Slow(), 600)).data) == 8 << 20
    slow = Budget(Slow(), 7)
    for part in (packed, pack(b"x")):
        with pytest.raises(HandlerError, match="decompressing it takes too long"):
            decode(part, unzstd=no_zstd, budget=slow)
    assert slow.left == LIMIT


def test_too_many_layers_of_compression_are_refused() -> None:
    data = SCRIPT
    for _ in range(9):
        data = gzip.compress(data)
    with pytest.raises(HandlerError, match="more than 4 times"):
        decode(data, unzstd=no_zstd, budget=budget())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_damaged_data_is_an_error_that_does_not_repeat_the_content(pack: Callable[[bytes], bytes]) -> None:
    random.seed(4)
    whole = pack(b"canary-secret " + bytes(random.randrange(256) for _ in range(4000)))
    for cut in (8, len(whole) // 2, len(whole) - 5):
        with pytest.raises(HandlerError, match="damaged") as caught:
            decode(whole[:cut], unzstd=no_zstd, budget=budget())
        assert "canary" not in str(caught.value)
    for _ in range(100):
        spoiled = bytearray(whole)
        spoiled[random.randrange(6, len(whole))] ^= 1 << random.randrange(8)
        with contextlib.suppress(HandlerError):
            decode(bytes(spoiled), unzstd=no_zstd, budget=budget())


@pytest.mark.parametrize(
    ("start", "name"), [(b"\x04\x22\x4d\x18", "lz4"), (b"\x89LZO\x00", "lzop"), (b"PK\x03\x04", "zip")]
)
def test_unsupported_compression_is_named(start: bytes, name: str) -> None:
    with pytest.raises(HandlerError, match=name):
        decode(start + b"....", unzstd=no_zstd, budget=budget())


def test_truncated_utf_16_is_refused() -> None:
    with pytest.raises(HandlerError, match="UTF-8"):
        decode(b"\xff\xfe#\x00!", unzstd=no_zstd, budget=budget())
