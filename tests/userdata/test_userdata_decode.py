"""Unpacking user data: what people pack it with, what is damaged, and what would fill the memory."""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import lzma
import random
from typing import Callable

import pytest

from azurelite.errors import HandlerError
from azurelite.userdata.decode import LIMIT, decode

SCRIPT = b"#!/bin/sh\necho done\n"


def no_zstd(data: bytes, limit: int) -> bytes:
    raise HandlerError("zstd is not installed")


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: data,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
        lambda data: bz2.compress(data[:7]) + bz2.compress(data[7:]),
        lambda data: gzip.compress(lzma.compress(data)),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le"),
        lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
    ],
)
def test_what_was_packed_comes_out(pack: Callable[[bytes], bytes]) -> None:
    decoded = decode(pack(SCRIPT), unzstd=no_zstd)
    assert (decoded.data, decoded.notes) == (SCRIPT, ())


@pytest.mark.parametrize(
    "inner", [SCRIPT, b"#cloud-config\n{}\n" * 9, gzip.compress(SCRIPT), b"Content-Type: multipart/mixed; x\n\n"]
)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_base64_twice_is_taken_off_and_said(inner: bytes, encode: Callable[[bytes], bytes]) -> None:
    decoded = decode(encode(inner), unzstd=no_zstd)
    assert decoded.data == decode(inner, unzstd=no_zstd).data
    assert "base64 twice" in decoded.notes[0]


@pytest.mark.parametrize("data", [b"", b"secret", b"abcd", b"ABCDabcd" * 30, b"\x00\x01", base64.b64encode(b"words")])
def test_what_only_looks_like_base64_stays_as_it_is(data: bytes) -> None:
    assert decode(data, unzstd=no_zstd).data == data


def test_zstd_is_handed_to_who_can() -> None:
    packed = b"\x28\xb5\x2f\xfd" + b"whatever"
    asked = []

    def unzstd(data: bytes, limit: int) -> bytes:
        asked.append((data, limit))
        return SCRIPT

    assert decode(packed, unzstd=unzstd).data == SCRIPT
    assert asked == [(packed, LIMIT)]
    with pytest.raises(HandlerError, match="zstd is not installed"):
        decode(packed, unzstd=no_zstd)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_is_refused_before_it_goes_off(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(HandlerError, match=f"more than {LIMIT} bytes"):
        decode(pack(b"\0" * (LIMIT + 1)), unzstd=no_zstd)
    assert len(decode(pack(b"\0" * LIMIT), unzstd=no_zstd).data) == LIMIT


def test_bombs_in_many_members_add_up() -> None:
    with pytest.raises(HandlerError, match="more than"):
        decode(gzip.compress(b"\0" * (LIMIT // 4)) * 5, unzstd=no_zstd)


def test_packing_without_end_is_refused() -> None:
    data = SCRIPT
    for _ in range(9):
        data = gzip.compress(data)
    with pytest.raises(HandlerError, match="times over"):
        decode(data, unzstd=no_zstd)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_damage_is_one_clear_error_without_a_word_of_the_content(pack: Callable[[bytes], bytes]) -> None:
    random.seed(4)
    whole = pack(b"canary-secret " + bytes(random.randrange(256) for _ in range(4000)))
    for cut in (8, len(whole) // 2, len(whole) - 5):
        with pytest.raises(HandlerError, match="damaged") as caught:
            decode(whole[:cut], unzstd=no_zstd)
        assert "canary" not in str(caught.value)
    for _ in range(100):
        spoiled = bytearray(whole)
        spoiled[random.randrange(6, len(whole))] ^= 1 << random.randrange(8)
        with contextlib.suppress(HandlerError):
            decode(bytes(spoiled), unzstd=no_zstd)


@pytest.mark.parametrize(
    ("start", "name"), [(b"\x04\x22\x4d\x18", "lz4"), (b"\x89LZO\x00", "lzop"), (b"PK\x03\x04", "zip")]
)
def test_other_packing_is_named(start: bytes, name: str) -> None:
    with pytest.raises(HandlerError, match=name):
        decode(start + b"....", unzstd=no_zstd)


def test_half_a_letter_of_utf_16_is_refused() -> None:
    with pytest.raises(HandlerError, match="UTF-8"):
        decode(b"\xff\xfe#\x00!", unzstd=no_zstd)
