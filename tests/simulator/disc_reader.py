"""A second opinion on disc images: readers written from the standards, sharing nothing with what makes the images."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

SECTOR = 2048


def sector(image: bytes, number: int, count: int = 1) -> bytes:
    block = image[number * SECTOR : (number + count) * SECTOR]
    assert len(block) == count * SECTOR, f"sector {number} lies outside"
    return block


def crc(data: bytes) -> int:
    """CRC-CCITT as ECMA-167 has it, bit by bit."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1) ^ 0x1021 if value & 0x8000 else value << 1
            value &= 0xFFFF
    return value


# ISO 9660


def iso_descriptors(image: bytes) -> Iterator[bytes]:
    for number in range(16, 32):
        block = sector(image, number)
        assert block[1:7] == b"CD001\x01"
        yield block
        if block[0] == 255:
            return
    raise AssertionError("no terminator")


def both(data: bytes) -> int:
    """A number stored in both byte orders."""
    assert data[: len(data) // 2] == data[len(data) // 2 :][::-1]
    return int.from_bytes(data[: len(data) // 2], "little")


def iso_records(image: bytes, first: int, length: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(name, first sector, length, flags) of a directory's records."""
    assert length % SECTOR == 0
    for number in range(first, first + length // SECTOR):
        block, at = sector(image, number), 0
        while at < SECTOR and block[at]:
            record = block[at : at + block[at]]
            assert len(record) == block[at]
            assert len(record) % 2 == 0
            assert len(record) == 33 + record[32] + (record[32] + 1) % 2
            yield record[33 : 33 + record[32]], both(record[2:10]), both(record[10:18]), record[25]
            at += block[at]
        assert not any(block[at:])


def iso_root(image: bytes, descriptor: bytes) -> dict[bytes, bytes]:
    """The files below a descriptor's root directory, their names as stored; checks all that is on the way."""
    assert both(descriptor[80:88]) * SECTOR == len(image)
    assert both(descriptor[128:132]) == SECTOR
    assert descriptor[881] == 1
    root = descriptor[156:190]
    first, length = both(root[2:10]), both(root[10:18])
    assert both(descriptor[132:140]) == 10
    little, big = struct.unpack_from("<I", descriptor, 140)[0], struct.unpack_from(">I", descriptor, 148)[0]
    assert sector(image, little)[:10] == struct.pack("<BBIHH", 1, 0, first, 1, 0)
    assert sector(image, big)[:10] == struct.pack(">BBIHH", 1, 0, first, 1, 0)
    records = list(iso_records(image, first, length))
    assert records[:2] == [(b"\0", first, length, 2), (b"\1", first, length, 2)]
    names = [name for name, *_ in records[2:]]
    assert names == sorted(set(names))
    assert {flags for *_, flags in records[2:]} <= {0}
    return {name: image[at * SECTOR : at * SECTOR + size] for name, at, size, _ in records[2:]}


def joliet_files(image: bytes) -> dict[str, bytes]:
    (descriptor,) = [block for block in iso_descriptors(image) if block[0] == 2]
    assert descriptor[88:91] == b"%/E"
    found = {name.decode("utf-16-be"): content for name, content in iso_root(image, descriptor).items()}
    assert all(name.endswith(";1") for name in found)
    return {name[:-2]: content for name, content in found.items()}


def short_files(image: bytes) -> dict[str, bytes]:
    (descriptor,) = [block for block in iso_descriptors(image) if block[0] == 1]
    return {name.decode("ascii"): content for name, content in iso_root(image, descriptor).items()}


# UDF


def descriptor_at(data: bytes, place: int, *, tag: int) -> bytes:
    """A descriptor whose tag is right in every respect; `place` is what the tag must say."""
    number, version, checksum, reserved, _, told, length, where = struct.unpack_from("<HHBBHHHI", data)
    assert (number, version, reserved, where) == (tag, 2, 0, place)
    assert checksum == (sum(data[:16]) - data[4]) % 256
    assert told == crc(data[16 : 16 + length])
    assert length > 0
    return data


def dstring(field: bytes) -> str:
    length = field[-1]
    assert not any(field[length:-1])
    return compressed(field[:length])


def compressed(data: bytes) -> str:
    if not data:
        return ""
    assert data[0] in (8, 16)
    return data[1:].decode("latin-1" if data[0] == 8 else "utf-16-be")


def udf_sequence(image: bytes, extent: tuple[int, int]) -> dict[int, bytes]:
    """A volume descriptor sequence: tag -> descriptor, up to the terminator."""
    length, first = extent
    assert length >= 16 * SECTOR
    found: dict[int, bytes] = {}
    for place in range(first, first + length // SECTOR):
        block = sector(image, place)
        tag = struct.unpack_from("<H", block)[0]
        descriptor_at(block, place, tag=tag)
        if tag == 8:
            return found
        assert tag not in found
        found[tag] = block
    raise AssertionError("no terminator")


class Udf:
    """A volume's way from the anchor to the files; every descriptor on it is checked."""

    def __init__(self, image: bytes, *, anchor: int) -> None:
        self.image = image
        main_and_reserve = descriptor_at(sector(image, anchor), anchor, tag=2)
        self.main = udf_sequence(image, struct.unpack_from("<II", main_and_reserve, 16))
        self.reserve = udf_sequence(image, struct.unpack_from("<II", main_and_reserve, 24))
        partition = self.main[5]
        assert struct.unpack_from("<HH", partition, 20) == (1, 0)
        assert partition[25:31] == b"+NSR02"
        self.first, self.blocks = struct.unpack_from("<II", partition, 188)
        self.embedded: dict[str, bool] = {}

    def block(self, number: int, count: int = 1) -> bytes:
        assert number + count <= self.blocks
        return sector(self.image, self.first + number, count)

    def file_set(self) -> bytes:
        volume = self.main[6]
        assert struct.unpack_from("<I", volume, 212)[0] == SECTOR
        assert volume[217:236] == b"*OSTA UDF Compliant"
        assert struct.unpack_from("<H", volume, 240)[0] == 0x0102
        assert struct.unpack_from("<II", volume, 264) == (6, 1)
        assert struct.unpack_from("<BBHH", volume, 440) == (1, 6, 1, 0)
        length, where, partition = struct.unpack_from("<IIH", volume, 248)
        assert (length, partition) == (SECTOR, 0)
        descriptor_at(self.block(where + 1), where + 1, tag=8)
        return descriptor_at(self.block(where), where, tag=256)

    def integrity(self) -> bytes:
        length, where = struct.unpack_from("<II", self.main[6], 432)
        assert length >= SECTOR
        return descriptor_at(sector(self.image, where), where, tag=9)

    def entry(self, long_extent: bytes) -> tuple[int, bytes, bool]:
        """(file type, content, embedded) behind an ICB."""
        length, where, partition = struct.unpack_from("<IIH", long_extent)
        assert (length, partition) == (SECTOR, 0)
        entry = descriptor_at(self.block(where), where, tag=261)
        strategy, maximum, kind, flags = struct.unpack_from("<4xH2xHxB6xH", entry, 16)
        assert (strategy, maximum) == (4, 1)
        size, recorded = struct.unpack_from("<QQ", entry, 56)
        extra, length = struct.unpack_from("<II", entry, 168)
        assert extra == 0
        described = entry[176 : 176 + length]
        if flags & 7 == 3:
            assert (len(described), recorded) == (size, 0)
            return kind, described, True
        assert flags & 7 == 0
        assert (length, recorded) == (8 if size else 0, -(-size // SECTOR))
        content = b""
        for told, at in struct.iter_unpack("<II", described):
            content += self.block(at, -(-told // SECTOR))[:told]
        assert len(content) == size
        return kind, content, False

    def files(self) -> dict[str, bytes]:
        root = self.file_set()[400:416]
        kind, directory, inside = self.entry(root)
        assert kind == 4
        where = struct.unpack_from("<I", root, 4)[0]
        if not inside:
            where = struct.unpack_from("<I", self.block(where), 180)[0]
        found: dict[str, Any] = {}
        for number, (flags, icb, name) in enumerate(self.identifiers(directory, where)):
            assert flags == (0x0A if number == 0 else 0)
            assert (icb[:10] == root[:10]) is (number == 0)
            if number:
                kind, found[name], self.embedded[name] = self.entry(icb)
                assert kind == 5
        return found

    @staticmethod
    def identifiers(directory: bytes, first: int) -> Iterator[tuple[int, bytes, str]]:
        at = 0
        while at < len(directory):
            version, flags, length = struct.unpack_from("<HBB", directory, at + 16)
            extra = struct.unpack_from("<H", directory, at + 36)[0]
            end = at + (38 + extra + length + 3) // 4 * 4
            descriptor_at(directory[at:end], first + at // SECTOR, tag=257)
            assert version == 1
            yield flags, directory[at + 20 : at + 36], compressed(directory[at + 38 + extra :][:length])
            at = end
