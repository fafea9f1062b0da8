"""What is on a disk: images that the real programs made, and what is nobody's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from azurelite.system.disks.filesystems import Content, content_of, ntfs_names
from azurelite.system.disks.ntfs import root_names

MIB = 1024 * 1024
Reader = Callable[[int, int], bytes]

MAKERS = [
    (["mkfs.ext4", "-q", "-F", "-L", "azurelite"], Content("ext4", "azurelite")),
    (["mkfs.ext4", "-q", "-F", "-b", "1024", "-L", "sixteen-letters-"], Content("ext4", "sixteen-letters-")),
    (["mkfs.ext2", "-q", "-F"], Content("ext4")),
    (["mkfs.xfs", "-q", "-f", "-L", "azurelite"], Content("xfs", "azurelite")),
    (["mkfs.btrfs", "-q", "-f", "-L", "azurelite"], Content("btrfs", "azurelite")),
    (["mkntfs", "-q", "-F", "-Q"], Content("ntfs")),
    (["mkswap"], Content("swap")),
    (["mkswap", "-p", "65536"], Content("swap")),
    (["mkfs.vfat"], Content("partitions")),  # its first sector ends as a table of partitions does
]


PACKAGES = {
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkntfs": "ntfs-3g",
    "mkfs.vfat": "dosfstools",
    "mkswap": "util-linux",
    "sfdisk": "fdisk",
}


def tool(name: str) -> pytest.MarkDecorator:
    package = PACKAGES.get(name, "e2fsprogs")
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"needs {name}: install {package}")


def reader(path: Path) -> Reader:
    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return read


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Half a gigabyte of nothing, which takes no space."""
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(512 * MIB)
    return path


def content(path: Path) -> Content:
    return content_of(reader(path), path.stat().st_size)


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(argv, expected, marks=tool(argv[0]), id=f"{argv[0]}-{i}")
        for i, (argv, expected) in enumerate(MAKERS)
    ],
)
def test_what_the_programs_made_is_known(image: Path, argv: list[str], expected: Content) -> None:
    subprocess.run([*argv, str(image)], check=True, capture_output=True)
    assert content(image) == expected


@pytest.mark.spawns
@tool("sfdisk")
@pytest.mark.parametrize("table", ["label: dos\n,200M\n", "label: gpt\n,200M\n", "label: gpt\n", "label: dos\n"])
def test_a_table_of_partitions_is_no_empty_disk(image: Path, table: str) -> None:
    subprocess.run(["sfdisk", "--quiet", str(image)], input=table.encode(), check=True, capture_output=True)
    assert content(image) == Content("partitions")


def test_an_untouched_disk_is_blank(image: Path) -> None:
    assert content(image) == Content("blank")


@pytest.mark.parametrize("at", [0, 511, 4095, MIB, 4 * MIB - 1, 511 * MIB, 512 * MIB - 512, 512 * MIB - 1])
def test_one_byte_at_either_end_makes_it_somebodys(image: Path, at: int) -> None:
    with image.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    assert content(image) == Content("other")


def test_a_device_that_cannot_be_read_is_not_blank() -> None:
    assert content_of(lambda _offset, _length: b"", 512 * MIB) == Content("other")


@pytest.mark.parametrize("size", [1, 512, 4096, 70_000])
def test_short_devices_are_no_trouble(size: int) -> None:
    assert content_of(lambda offset, length: bytes(size)[offset : offset + length], size) == Content("blank")


@pytest.mark.spawns
@tool("mkfs.xfs")
def test_an_xfs_that_was_cut_off_is_unfinished(image: Path) -> None:
    subprocess.run(["mkfs.xfs", "-q", "-f", "-L", "azurelite", str(image)], check=True)
    with image.open("r+b") as file:
        file.seek(126)  # sb_inprogress
        file.write(b"\1")
    assert content(image) == Content("unfinished", "azurelite")


@pytest.mark.spawns
@pytest.mark.skipif(
    shutil.which("mkntfs") is None or shutil.which("ntfscp") is None, reason="needs mkntfs and ntfscp: install ntfs-3g"
)
class TestNtfs:
    OWN = frozenset(
        {".", "$MFT", "$MFTMirr", "$LogFile", "$Volume", "$AttrDef", "$Bitmap", "$Boot", "$BadClus", "$Secure"}
        | {"$UpCase", "$Extend"}
    )

    def make(self, image: Path, *options: str, files: tuple[str, ...] = ()) -> Path:
        subprocess.run(["mkntfs", "-q", "-F", "-Q", *options, str(image)], check=True, capture_output=True)
        for name in files:
            subprocess.run(["ntfscp", "-q", str(image), "/etc/hostname", name], check=True, capture_output=True)
        return image

    @pytest.mark.parametrize(
        "options", [[], ["-c", "512"], ["-c", "65536"], ["-s", "4096"], ["-s", "1024", "-c", "2048"]]
    )
    def test_a_new_one_has_its_own_files_only(self, image: Path, options: list[str]) -> None:
        assert root_names(reader(self.make(image, *options))) == self.OWN

    def test_files_are_seen_however_many(self, image: Path) -> None:
        files = (
            "DATALOSS_WARNING_README.txt",
            "\u00fcml\u00e4ut.txt",
            *(f"a long name of file {i}.txt" for i in range(90)),
        )
        self.make(image, files=files)
        assert root_names(reader(image)) == self.OWN | set(files)

    def test_a_damaged_one_is_an_error_or_a_list_and_nothing_else(self, image: Path) -> None:
        """Bytes changed in the boot sector and in the root folder's record: it ends, and raises ValueError or not."""
        self.make(image, files=("mine.txt",))
        whole = bytearray(reader(image)(0, 4 * MIB))
        cluster = 4096
        record = int.from_bytes(whole[0x30:0x38], "little") * cluster + 5 * 1024
        refused = 0
        for at in [*range(3, 0x50), *range(record, record + 1024, 3)]:
            for value in (0x00, 0x7F, 0xFF):
                damaged = bytearray(whole)
                damaged[at] = value
                if ntfs_names(lambda offset, length, d=damaged: bytes(d[offset : offset + length])) is None:  # type: ignore[misc]
                    refused += 1
        assert refused > 100

    @pytest.mark.parametrize("length", [0, 3, 11, 512, 4096, 16384, 21000])
    def test_one_that_ends_early_is_an_error(self, image: Path, length: int) -> None:
        whole = reader(self.make(image))(0, length)
        with pytest.raises(ValueError, match=r"NTFS"):
            root_names(lambda offset, count: whole[offset : offset + count])


def test_nothing_is_no_ntfs() -> None:
    with pytest.raises(ValueError, match="not an NTFS"):
        root_names(lambda _offset, length: bytes(length))
    assert ntfs_names(lambda _offset, length: os.urandom(length)) is None
