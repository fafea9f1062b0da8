"""Discs as several tools and kernels made them: the file is found, in every kind of file system that may hold it."""

from __future__ import annotations

import io
import lzma
from pathlib import Path

import pytest
from data.discs.udfwriter import Maker

from azurelite.errors import MediaError
from azurelite.media.disc import file_systems_of, pick, read_from_disc

FOLDER = Path(__file__).parent.parent / "data" / "discs"
NAME = "ovf-env.xml"
READABLE = sorted(path.name[:-3] for path in FOLDER.glob("*.xz") if "virtual" not in path.name)
LONG = b"<Environment>" + b"x" * 9000 + b"</Environment>"


def fixture(name: str) -> bytes:
    return lzma.decompress((FOLDER / f"{name}.xz").read_bytes())


def read(image: bytes, name: str = NAME, limit: int = 1 << 20) -> bytes | None:
    return read_from_disc(io.BytesIO(image), name, limit=limit)


def test_the_discs_are_there() -> None:
    assert len(READABLE) == 10


@pytest.mark.parametrize("name", READABLE)
def test_the_file_is_read(name: str) -> None:
    found = read(fixture(name))
    assert found is not None
    assert len(found) == 629
    assert found.startswith(b'<?xml version="1.0"')
    assert found.endswith(b"</Environment>\n")


@pytest.mark.parametrize("name", READABLE)
def test_a_file_that_is_not_there_is_no_error(name: str) -> None:
    assert read(fixture(name), "another.xml") is None


@pytest.mark.parametrize("name", READABLE)
def test_a_file_that_is_too_long_is_refused(name: str) -> None:
    assert read(fixture(name), limit=629) is not None
    with pytest.raises(MediaError, match="is longer than 628 bytes"):
        read(fixture(name), limit=628)


@pytest.mark.parametrize("name", READABLE)
def test_capitals_are_as_good(name: str) -> None:
    assert read(fixture(name), "OVF-Env.XML") is not None


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("iso-plain.iso", {"iso9660"}),
        ("bridge-genisoimage.iso", {"udf", "iso9660"}),
        ("udf-1.02-512.img", {"udf"}),
    ],
)
def test_a_disc_announces_its_file_systems(name: str, kinds: set[str]) -> None:
    assert file_systems_of(io.BytesIO(fixture(name))) == kinds


@pytest.mark.parametrize("image", [b"", b"x" * 100, bytes(40_000), b"\xff" * 40_000, bytes(1 << 20)])
def test_other_devices_are_reported(image: bytes) -> None:
    assert file_systems_of(io.BytesIO(image)) == set()
    with pytest.raises(MediaError, match="no UDF or ISO 9660 file system"):
        read(image)


def test_a_name_of_rock_ridge_goes_on_elsewhere() -> None:
    found = read(fixture("iso-rockridge.iso"), "long-name-" * 24 + ".txt")
    assert found == b"found by its long name\n"


def test_folders_and_deleted_files_of_a_kernel_are_not_files() -> None:
    image = fixture("udf-2.01-2048.img")
    assert read(image, "folder") is None
    assert read(image, "gone.txt") is None
    assert read(image, "Ünïcode.txt") == b"u\n"


def test_a_virtual_partition_is_refused_by_name() -> None:
    with pytest.raises(MediaError, match="unsupported kind of partition: UDF Virtual Partition"):
        read(fixture("udf-virtual.img"))


MADE = {
    "plain": Maker(),
    "512": Maker(block_size=512),
    "1024": Maker(block_size=1024),
    "4096": Maker(block_size=4096),
    "extended": Maker(extended=True),
    "long": Maker(allocation="long"),
    "chained": Maker(allocation="chained", bits=16),
    "chained-512": Maker(allocation="chained", block_size=512),
    "root-embedded": Maker(root_embedded=True),
    "root-embedded-512": Maker(root_embedded=True, block_size=512, bits=16),
    "sparable": Maker(layout="sparable", extended=True),
    "sparable-512": Maker(layout="sparable", block_size=512),
    "metadata": Maker(layout="metadata", extended=True),
    "metadata-512": Maker(layout="metadata", extended=True, block_size=512),
    "metadata-root-embedded": Maker(layout="metadata", extended=True, root_embedded=True),
}


@pytest.mark.parametrize("maker", MADE.values(), ids=MADE)
def test_every_shape_of_udf(maker: Maker) -> None:
    image = maker.make({"other": b"1", NAME: LONG, "last": b"2"}, deleted=("gone",), folders=("sub",))
    assert read(image) == LONG
    assert read(image, "last") == b"2"
    assert read(image, "sub") is None
    assert read(image, "gone") is None


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("size", [0, 1, 629, 1800])
def test_a_file_inside_its_own_entry(extended: bool, size: int) -> None:
    data = LONG[:size]
    assert read(Maker(allocation="embedded", extended=extended).make({NAME: data})) == data


def test_what_was_never_written_reads_as_zeros() -> None:
    assert read(Maker(allocation="sparse").make({NAME: LONG})) == bytes(len(LONG))


def test_an_empty_file_is_empty() -> None:
    assert read(Maker().make({NAME: b""})) == b""


def test_the_exact_name_goes_before_the_similar_one() -> None:
    image = Maker().make({"OVF_ENV.XML": b"plain", "OVF-ENV.XML": b"capitals", NAME: b"exact"})
    assert read(image) == b"exact"
    assert read(Maker().make({"OVF_ENV.XML": b"plain", "OVF-ENV.XML": b"capitals"})) == b"capitals"
    assert read(Maker().make({"OVF_ENV.XML": b"plain"})) == b"plain"


@pytest.mark.parametrize(
    ("names", "index"),
    [
        ([], None),
        (["ovf-env.xml.bak", "xovf-env.xml"], None),
        (["OVF_ENV.XML;1"], 0),
        (["OVF_ENV.XML;22"], 0),
        (["ovf_env.xml"], 0),
        (["ovf_env.xml", "Ovf-Env.xml"], 1),
        (["OVF_ENV.XML;1", "OVF-ENV.XML", "ovf-env.xml"], 2),
    ],
)
def test_which_name_is_meant(names: list[str], index: int | None) -> None:
    assert pick(names, NAME) == index


def test_a_damaged_udf_side_leaves_the_other_one() -> None:
    image = bytearray(fixture("bridge-genisoimage.iso"))
    whole = read(bytes(image))
    for sector in (256, len(image) // 2048 - 1, len(image) // 2048 - 257):
        image[sector * 2048 : sector * 2048 + 2048] = bytes(2048)
    assert file_systems_of(io.BytesIO(image)) == {"udf", "iso9660"}
    assert read(bytes(image)) == whole
    with pytest.raises(MediaError, match="damaged UDF: no anchor"):  # for it may have been there
        read(bytes(image), "another.xml")


def test_a_damaged_iso_side_does_not_matter() -> None:
    image = bytearray(fixture("bridge-genisoimage.iso"))
    image[16 * 2048 + 156 : 16 * 2048 + 190] = b"\xff" * 34
    assert read(bytes(image)) is not None


@pytest.mark.parametrize("anchor", ["first", "last"])
def test_one_anchor_is_enough(anchor: str) -> None:
    image = bytearray(Maker().make({NAME: b"x"}))
    sector = 256 if anchor == "last" else len(image) // 2048 - 1
    image[sector * 2048 : sector * 2048 + 2048] = bytes(2048)
    assert read(bytes(image)) == b"x"


@pytest.mark.parametrize("lost", [260, 261, 262])
def test_the_reserve_sequence_is_the_fallback(lost: int) -> None:
    image = bytearray(Maker().make({NAME: b"x"}))
    image[lost * 2048 + 30] ^= 0xFF
    assert read(bytes(image)) == b"x"


def test_the_mirror_of_the_metadata_is_the_fallback() -> None:
    maker = Maker(layout="metadata", extended=True)
    image = bytearray(maker.make({NAME: b"x"}))
    main = (320 + 38) * 2048
    image[main + 60] ^= 1
    assert read(bytes(image)) == b"x"


def test_the_second_sparing_table_is_the_fallback() -> None:
    image = bytearray(Maker(layout="sparable").make({NAME: b"x"}))
    image[(480 - 2 + 40) * 2048 + 20] ^= 1
    assert read(bytes(image)) == b"x"


def test_a_source_that_gives_little_at_a_time_is_read() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 100))

    source = Slow(fixture("bridge-genisoimage.iso"))
    assert read_from_disc(source, NAME, limit=1 << 20) is not None


def test_the_errors_of_the_system_are_kept() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    class Unseekable(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            raise OSError(29, "Illegal seek")

    with pytest.raises(MediaError, match="cannot read volume recognition area at byte 32768: Input/output error"):
        read_from_disc(Broken(bytes(100_000)), NAME, limit=10)
    with pytest.raises(MediaError, match="cannot read the disc: Illegal seek"):
        read_from_disc(Unseekable(b""), NAME, limit=10)
