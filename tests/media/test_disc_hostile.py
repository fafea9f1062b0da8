"""Damaged and hostile discs: a named error, None or some bytes; quickly, and never more than the cap is read."""

from __future__ import annotations

import io
import lzma
import random
import struct
import time
from pathlib import Path

import pytest
from data.discs.udfwriter import PARTITION, Maker, file_entry, long_ad, retag, tag

from azurelite.errors import MediaError
from azurelite.media.disc import file_systems_of, read_from_disc
from azurelite.media.image import READ_BUDGET, Disc

FOLDER = Path(__file__).parent.parent / "data" / "discs"
NAME = "ovf-env.xml"
LIMIT = 1 << 20
FIXTURES = {path.name[:-3]: lzma.decompress(path.read_bytes()) for path in sorted(FOLDER.glob("*.xz"))}
SHAPES = {
    **FIXTURES,
    "metadata": Maker(layout="metadata", extended=True).make({NAME: b"x" * 9000}),
    "sparable": Maker(layout="sparable").make({NAME: b"x" * 9000}),
    "chained": Maker(allocation="chained").make({NAME: b"x" * 9000}),
}
EXTREMES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x3FFFFFFF, 0x7FFFFFFF, 0x80000000, 0xC0000800, 0xFFFFFFF0, 0xFFFFFFFF)


def outcome(image: bytes) -> str:
    """What came of reading; anything but an answer or a MediaError fails the test."""
    started = time.process_time()
    try:
        found = read_from_disc(io.BytesIO(image), NAME, limit=LIMIT)
        assert found is None or len(found) <= LIMIT
        words = "None" if found is None else "bytes"
    except MediaError as error:
        words = str(error)
    assert time.process_time() - started < 2
    return words


def refused(image: bytes, words: str) -> None:
    assert words in outcome(image)


class TestFuzz:
    """Seeded, so that a failure comes again."""

    @pytest.mark.parametrize("name", SHAPES)
    def test_flipped_bytes(self, name: str) -> None:
        chance = random.Random(name)
        image = SHAPES[name]
        used = [at for at in range(0, len(image), 16) if any(image[at : at + 16])]
        for _ in range(60):
            damaged = bytearray(image)
            for _ in range(chance.randint(1, 12)):
                damaged[chance.choice(used) + chance.randrange(16)] ^= 1 << chance.randrange(8)
            outcome(bytes(damaged))

    @pytest.mark.parametrize("name", SHAPES)
    def test_truncations(self, name: str) -> None:
        chance = random.Random(name)
        image = SHAPES[name]
        for length in [chance.randrange(len(image)) for _ in range(30)]:
            outcome(image[:length])

    @pytest.mark.parametrize("name", [name for name in SHAPES if not name.startswith("iso")])
    def test_wild_values_under_right_checksums(self, name: str) -> None:
        """What gets past the checksums of UDF."""
        chance = random.Random(name)
        image = SHAPES[name]
        descriptors = list(descriptors_of(image))
        assert len(descriptors) >= 10
        for _ in range(120):
            damaged = bytearray(image)
            at, length = chance.choice(descriptors)
            field = at + 16 + chance.randrange(max(length - 4, 1))
            struct.pack_into("<I", damaged, field, chance.choice(EXTREMES))
            damaged[at : at + 16 + length] = retag(bytes(damaged[at : at + 16 + length]))
            outcome(bytes(damaged))

    @pytest.mark.parametrize("name", [name for name in SHAPES if "iso" in name])
    def test_wild_values_in_iso_9660(self, name: str) -> None:
        chance = random.Random(name)
        image = SHAPES[name]
        used = [at for at in range(32768, len(image), 16) if any(image[at : at + 16])]
        for _ in range(120):
            damaged = bytearray(image)
            struct.pack_into("<I", damaged, chance.choice(used) + chance.randrange(12), chance.choice(EXTREMES))
            outcome(bytes(damaged))


def descriptors_of(image: bytes) -> list[tuple[int, int]]:
    """Where each descriptor with a right tag starts, and the length that its CRC covers."""
    found = []
    for at in range(0, len(image) - 512, 512):
        head = image[at : at + 16]
        if any(head) and (sum(head) - head[4]) & 0xFF == head[4] and head[2] in (2, 3):
            found.append((at, struct.unpack_from("<H", head, 10)[0]))
    return found


class Udf:
    """A disc of 2048-byte sectors to be damaged on purpose; the root folder's entry is block 1, its names block 2."""

    def __init__(self, **shape: object) -> None:
        self.image = bytearray(Maker(**shape).make({NAME: b"x" * 9000}))  # type: ignore[arg-type]

    def block(self, block: int, data: bytes) -> Udf:
        at = (PARTITION + block) * 2048
        self.image[at : at + len(data)] = data
        return self

    def sector(self, sector: int, data: bytes) -> Udf:
        self.image[sector * 2048 : sector * 2048 + len(data)] = data
        return self

    def volume(self, at: int, layout: str, *values: int) -> Udf:
        """Change the logical volume descriptors."""
        for sector in (262, 282):
            data = bytearray(self.image[sector * 2048 : (sector + 1) * 2048])
            struct.pack_into(layout, data, at, *values)
            self.sector(sector, retag(bytes(data)))
        return self


def test_continued_extents_in_a_circle() -> None:
    loop = tag(258, 90, struct.pack("<II", 0, 8) + struct.pack("<II", 0xC0000800, 90))
    entry = file_entry(3, 5, 1 << 40, struct.pack("<II", 0xC0000800, 90), 0)
    refused(bytes(Udf().block(3, entry).block(90, loop).image), "ovf-env.xml has too many continued extents")


def test_volume_descriptors_in_a_circle() -> None:
    disc = Udf()
    for start in (260, 280):
        disc.sector(start, tag(3, start, struct.pack("<III", 1, 16 * 2048, start) + bytes(484)))
    refused(bytes(disc.image), "no end found")


def test_a_huge_folder() -> None:
    entry = file_entry(1, 4, 1 << 62, struct.pack("<II", 0x3FFFFFFF, 2), 0)
    refused(bytes(Udf().block(1, entry).image), "the root folder is longer than 1048576 bytes")


def test_a_folder_that_is_no_folder() -> None:
    refused(bytes(Udf().block(1, file_entry(1, 5, 0, b"", 0)).image), "its entry is of type 5")


def test_a_root_folder_that_names_itself_as_the_file() -> None:
    disc = Udf()
    data = bytearray(disc.image[(PARTITION + 2) * 2048 : (PARTITION + 3) * 2048])
    second = 40
    data[second + 20 : second + 36] = long_ad(2048, 1)
    name = bytes(data[second : second + 52])
    disc.block(2, bytes(data[:second]) + retag(name))
    assert outcome(bytes(disc.image)) == "None"


@pytest.mark.parametrize(
    ("file_type", "size", "allocations", "kind", "words"),
    [
        (5, 1 << 63, struct.pack("<II", 2048, 4), 0, "is longer than 1048576 bytes"),
        (5, 9000, struct.pack("<II", 2048, 4), 0, "6952 bytes are in no extent"),
        (5, 2048, struct.pack("<II", 2048, 0xFFFFFFFF), 0, "is outside of partition"),
        (5, 2048, long_ad(2048, 4, 7), 1, "partition 7 does not exist"),
        (5, 2048, bytes(20), 2, "allocation descriptors of kind 2"),
        (5, 2048, b"short", 3, "bytes do not fit"),
        (5, 2048, struct.pack("<II", 0xC0000800, 2), 0, "unexpected descriptor of kind 257"),
        (12, 4, b"link", 3, "None"),
        (4, 4, b"dirs", 3, "None"),
        (0, 4, b"okay", 3, "bytes"),
    ],
)
def test_files_that_make_no_sense(file_type: int, size: int, allocations: bytes, kind: int, words: str) -> None:
    refused(bytes(Udf().block(3, file_entry(3, file_type, size, allocations, kind)).image), words)


def test_strategies_of_write_once_discs_are_refused_by_name() -> None:
    entry = file_entry(3, 5, 4, b"text", 3, strategy=4096)
    refused(bytes(Udf().block(3, entry).image), "uses the unsupported strategy 4096")


@pytest.mark.parametrize(
    ("at", "layout", "values", "words"),
    [
        (212, "<I", (4096,), "wrong block size of 4096 bytes"),
        (212, "<I", (0,), "wrong block size of 0 bytes"),
        (264, "<II", (6, 1000), "the partition maps do not fit"),
        (264, "<II", (0xFFFFFFFF, 1), "the partition maps do not fit"),
        (264, "<II", (0, 1), "partition map 0 has kind 0"),
        (264, "<II", (0, 0), "partition 0 does not exist"),
        (440, "<BB", (1, 0), "partition map 0 has kind 1 and 0 bytes"),
        (444, "<H", (9,), "refers to partition 9, which does not exist"),
        (252, "<I", (77,), "file set descriptor at block 77"),
        (252, "<I", (0xFFFFFFFF,), "is outside of partition"),
    ],
)
def test_volumes_that_make_no_sense(at: int, layout: str, values: tuple[int, ...], words: str) -> None:
    refused(bytes(Udf().volume(at, layout, *values).image), words)


@pytest.mark.parametrize(
    ("at", "layout", "values", "words"),
    [
        (440 + 40, "<H", (0,), "map of the sparable partition at the logical volume"),
        (440 + 42, "<B", (9,), "map of the sparable partition at the logical volume"),
        (440 + 44, "<I", (1 << 31,), "map of the sparable partition at the logical volume"),
        (440 + 48, "<II", (0xFFFFFFFF, 0xFFFFFFFF), "UDF sparing table at byte"),
        (440 + 48, "<II", (300, 301), "sparing table at block 300"),
    ],
)
def test_sparable_partitions_that_make_no_sense(at: int, layout: str, values: tuple[int, ...], words: str) -> None:
    refused(bytes(Udf(layout="sparable").volume(at, layout, *values).image), words)


def test_a_metadata_partition_without_a_file() -> None:
    disc = Udf(layout="metadata", extended=True)
    refused(bytes(disc.volume(446 + 40, "<II", 5, 6).image), "damaged UDF: metadata file at block 5")
    refused(bytes(disc.volume(446 + 38, "<H", 8).image), "refers to partition 8, which does not exist")


def test_a_metadata_partition_below_itself() -> None:
    disc = Udf(layout="metadata", extended=True)
    maps = bytes(disc.image[262 * 2048 + 446 : 262 * 2048 + 510])
    disc.volume(264, "<II", 128, 2).volume(440, "<128s", maps * 2)  # type: ignore[arg-type]
    refused(bytes(disc.image), "no partition holds metadata partition 0")


def record(name: bytes, block: int, size: int, *, flags: int = 0, use: bytes = b"", gap: int = 0) -> bytes:
    """A folder record of ISO 9660."""
    body = struct.pack("<BIIII7xBBBHHB", 0, block, 0, size, 0, flags, 0, gap, 1, 1, len(name)) + name
    body += bytes(len(name) % 2 == 0) + use
    return bytes([len(body) + 1]) + body


def iso(
    folder: bytes, *, block_size: int = 2048, length: int | None = None, block: int = 20, tail: bytes = b""
) -> bytes:
    """A plain disc with that root folder."""
    size = len(folder) if length is None else length
    primary = b"\1CD001\1".ljust(128, b"\0") + struct.pack("<H", block_size)
    primary = primary.ljust(156, b"\0") + record(b"\0", block, size, flags=2)
    image = bytes(32768) + primary.ljust(2048, b"\0") + b"\xffCD001\1".ljust(2048, b"\0")
    return image.ljust(20 * 2048, b"\0") + folder.ljust(-(-len(folder) // 2048) * 2048, b"\0") + tail


SP = b"SP\7\1\xbe\xef\0"
DOT = record(b"\0", 20, 2048, flags=2, use=SP)


def ce(block: int, offset: int = 0, length: int = 2048) -> bytes:
    """A pointer to a continuation area."""
    return b"CE\x1c\1" + struct.pack("<I4xI4xI4x", block, offset, length)


def test_an_iso_as_it_should_be() -> None:
    image = iso(DOT + record(b"OVF_ENV.XML;1", 21, 4), tail=b"text".ljust(2048, b"\0"))
    assert read_from_disc(io.BytesIO(image), NAME, limit=4) == b"text"


def test_a_file_in_several_pieces() -> None:
    rows = record(b"OVF_ENV.XML;1", 21, 2048, flags=0x80) + record(b"OVF_ENV.XML;1", 22, 4)
    image = iso(DOT + rows, tail=b"a" * 2048 + b"text".ljust(2048, b"\0"))
    assert read_from_disc(io.BytesIO(image), NAME, limit=LIMIT) == b"a" * 2048 + b"text"


def test_records_go_on_in_the_next_sector() -> None:
    image = iso(DOT.ljust(2048, b"\0") + record(b"OVF_ENV.XML;1", 22, 4), tail=b"text".ljust(2048, b"\0"))
    assert read_from_disc(io.BytesIO(image), NAME, limit=LIMIT) == b"text"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (iso(DOT, length=0xFFFFFFFF), "root folder of 4294967295 bytes"),
        (iso(DOT, block=0xFFFFFFFF), "is beyond the end"),
        (iso(DOT, block_size=0), "a block size of 0 bytes"),
        (iso(DOT, block_size=777), "a block size of 777 bytes"),
        (iso(DOT + b"\x21" + bytes(40)), "folder record at byte"),
        (iso(DOT + b"\x40" + bytes(31) + b"\xff" + bytes(31)), "folder record at byte"),
        (iso(DOT + record(NAME.encode(), 21, 0xFFFFFFFF)), "is longer than 1048576 bytes"),
        (iso(DOT + record(NAME.encode(), 0xFFFFFFF0, 100)), "is beyond the end"),
        (iso(DOT + record(NAME.encode(), 20, 100, gap=1)), "is interleaved with other files"),
        (iso(DOT + record(NAME.encode(), 20, 100, flags=2)), "None"),
        (iso(DOT + record(NAME.encode(), 20, 100, flags=4)), "None"),
        (
            iso(DOT + record(b"A", 20, 1, use=ce(21)), tail=ce(21).ljust(2048, b"\0")),
            "a name has too many continuation areas",
        ),
        (iso(DOT + record(b"A", 20, 1, use=ce(0xFFFFFFFF))), "is beyond the end"),
        (iso(DOT + record(b"A", 20, 1, use=ce(21, 0, 1 << 31))), "continuation area of 2147483648 bytes"),
        (iso(DOT + record(b"A", 20, 1, use=b"NM\0\1\0x")), "None"),
        (iso(DOT + record(b"A", 20, 1, use=b"NM\xff\1\0x")), "None"),
        (iso(b""), "None"),
    ],
)
def test_iso_9660_that_makes_no_sense(image: bytes, words: str) -> None:
    refused(image, words)


def test_descriptors_of_iso_9660_without_end() -> None:
    image = bytes(32768) + b"\3CD001\1".ljust(2048, b"\0") * 500
    refused(image, "no primary volume descriptor")


class Counted(io.BytesIO):
    """Counts what is read."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


def test_never_more_is_read_than_the_cap() -> None:
    """A megabyte of names, each of which goes on in many other places."""
    tail = b"".join(ce(532 + number + 1).ljust(2048, b"\0") for number in range(14)) + bytes(2048)
    row = record(b"A", 20, 1, use=ce(532))
    sector = (row * (2048 // len(row))).ljust(2048, b"\0")
    source = Counted(iso(DOT.ljust(2048, b"\0") + sector * 511, tail=tail))
    started = time.process_time()
    with pytest.raises(MediaError, match="not found within the first 64 MiB read"):
        read_from_disc(source, NAME, limit=LIMIT)
    assert source.total <= READ_BUDGET
    assert time.process_time() - started < 5


def test_the_signature_costs_little() -> None:
    source = Counted(FIXTURES["bridge-genisoimage.iso"])
    file_systems_of(source)
    assert source.total <= 64 * 1024


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (99, 2), (100, 1), (1 << 64, 1), (0, 1 << 64)])
def test_no_read_leaves_the_disc(offset: int, length: int) -> None:
    with pytest.raises(MediaError, match="is beyond the end"):
        Disc(io.BytesIO(bytes(100))).read(offset, length, "it")


def test_a_disc_that_shrinks_is_an_error() -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b""

    with pytest.raises(MediaError, match="the disc ends early"):
        Disc(Shrinking(bytes(4096))).read(0, 10, "it")
