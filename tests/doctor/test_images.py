"""Image files: their format, their partitions, and the root in them."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from doctorroots import fit
from needs import PATH, require

from azurelite.cli import main
from azurelite.doctor.finding import Report
from azurelite.doctor.formats import MIB, identify, vhd_checksum
from azurelite.doctor.images import examine_image
from azurelite.doctor.partitions import read_table
from azurelite.errors import ConfigError

SIZE = 48 * MIB
START = 2048 * 512


def footer(size: int, kind: int = 2) -> bytes:
    """A VHD's footer."""
    made = bytearray(512)
    made[:8] = b"conectix"
    struct.pack_into(">IIQ", made, 8, 2, 0x10000, 2**64 - 1)
    struct.pack_into(">QQ", made, 40, size, size)
    struct.pack_into(">I", made, 60, kind)
    struct.pack_into(">I", made, 64, vhd_checksum(bytes(made)))
    return bytes(made)


def mbr(*rows: tuple[int, int, int], code: bytes = b"\xeb\x63") -> bytes:
    """A first sector: (type, first sector, sectors) a row."""
    made = bytearray(512)
    made[: len(code)] = code
    for i, (kind, first, count) in enumerate(rows):
        struct.pack_into("<BxxxBxxxII", made, 446 + 16 * i, 0x80, kind, first, count)
    made[510:] = b"\x55\xaa"
    return bytes(made)


def severities(report: Report) -> set[tuple[str, str]]:
    return {(one.name, one.severity) for one in report.findings}


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"", "empty"),
        (bytes(4096), "zeros"),
        (b"\x1f\x8b\x08data", "a gzip archive"),
        (b"vhdxfile" + bytes(600), "a VHDX"),
        (b"hello\n", "a text"),
        (b"QFI\xfb", "the start of a qcow2"),
        (b"QFI\xfb\0\0\0\3" + bytes(60), "the start of a qcow2"),
        (b"conectix", "a text"),
        (b"\x89PNG\r\n\x1a\n", "something that starts with 89504e47"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, data: bytes, seen: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=seen):
        identify(str(path))
    assert main(["doctor", str(path)]) == 2
    assert main(["doctor", "--image", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_fifo_or_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ConfigError):
            identify(str(path))


@pytest.mark.parametrize(
    ("data", "kind", "found"),
    [
        (bytes(MIB) + footer(MIB), "fixed VHD", []),
        (bytes(MIB) + footer(MIB)[:68] + b"\1" + footer(MIB)[69:], "fixed VHD", ["checksum"]),
        (bytes(MIB + 512) + footer(MIB + 512), "fixed VHD", ["whole MiB"]),
        (bytes(MIB) + footer(2 * MIB), "fixed VHD", ["footer says"]),
        (bytes(MIB) + footer(4 * MIB, kind=3), "dynamic VHD", ["is dynamic"]),
        (mbr((0x83, 1, 2)) + bytes(MIB - 512), "raw", ["is raw"]),
        (mbr((0x83, 1, 2)) + bytes(MIB), "raw", ["is raw", "whole MiB"]),
        (b"QFI\xfb" + struct.pack(">IQ8xQ", 3, 0, MIB) + bytes(400), "qcow2", ["is a qcow2"]),
    ],
)
def test_the_format_of_a_file(tmp_path: Path, data: bytes, kind: str, found: list[str]) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    image = identify(str(path))
    assert image.kind == kind
    assert [any(word in one.text for word in found) for one in image.findings] == [True] * len(found)


@pytest.mark.parametrize(
    "data",
    [
        bytes(MIB) + footer(MIB, kind=4),
        bytes(MIB) + footer(5000 * 1024 * MIB),
        b"QFI\xfb" + struct.pack(">IQ8xQ", 3, 104, MIB) + bytes(400),
        b"QFI\xfb" + struct.pack(">IQ8xQ", 3, 0, MIB) + bytes(40) + struct.pack(">Q", 4) + bytes(400),
    ],
)
def test_an_image_that_needs_another_file_is_not_opened(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    report = examine_image(str(path), search_path="/nonexistent")
    assert ("image.content", "not checked") in severities(report)


def test_tables_of_hostile_images_are_read_to_an_end() -> None:
    circle = mbr((0x05, 1, 9), (0x83, 4, 2)) + mbr((0x83, 1, 1), (0x05, 0, 9)) + bytes(8192)
    table = read_table(lambda at, length: circle[at : at + length], len(circle))
    assert table.kind == "MBR"
    assert len(table.partitions) <= 128
    damaged = mbr((0xEE, 1, 9)) + b"EFI PART" + b"\xff" * 504
    assert read_table(lambda at, length: damaged[at : at + length], len(damaged)).partitions == ()
    outside = mbr((0x83, 1, 2**31))
    assert read_table(lambda at, length: outside[at : at + length], len(outside)).partitions == ()


def made(folder: Path, *, machine_id: str = "") -> Path:
    """A disk with one ext4 partition that holds a root; its first sector has a program for a BIOS."""
    guest = fit(folder / "root")
    guest.put({"etc/machine-id": machine_id})
    path = folder / "disk.raw"
    count = (SIZE - START) // 512
    path.write_bytes(mbr((0x83, START // 512, count)))
    os.truncate(path, SIZE)
    argv = ["mke2fs", "-q", "-t", "ext4", "-d", guest.root, "-E", f"offset={START}", str(path), f"{count // 2}k"]
    subprocess.run(argv, check=True, env={"PATH": PATH}, capture_output=True)
    return path


def examined(path: Path) -> Report:
    report = examine_image(str(path), search_path=PATH)
    refused = [one.text for one in report.findings if one.name == "image.content"]
    if any("cannot be mounted here" in text or "mount failed" in text for text in refused):
        pytest.skip(f"this machine cannot mount images: {refused[0]}")
    return report


@pytest.mark.spawns
@pytest.mark.parametrize("defect", ["", "0123456789abcdef\n"])
def test_the_root_in_a_fixed_vhd(tmp_path: Path, defect: str) -> None:
    require("mke2fs", "mount", root=True)
    path = made(tmp_path, machine_id=defect)
    with path.open("ab") as file:
        file.write(footer(SIZE))
    before = path.read_bytes()
    report = examined(path)
    assert severities(report) == ({("files.machine-id", "error")} if defect else set())
    assert path.read_bytes() == before
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text(encoding="utf-8")


def qcow2(data: bytes) -> bytes:
    """The same disk as a qcow2 of version 2, every cluster allocated, in clusters of 64 KiB."""
    cluster = 65536
    count = len(data) // cluster
    first = 5  # after the header, the table and block of reference counts, and the tables of levels 1 and 2
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, len(data), 0, 1, 3 * cluster, cluster, 1, 0, 0)
    parts = [
        head,
        struct.pack(">Q", 2 * cluster),
        struct.pack(">H", 1) * (first + count),
        struct.pack(">Q", 4 * cluster | 1 << 63),
        b"".join(struct.pack(">Q", (first + i) * cluster | 1 << 63) for i in range(count)),
    ]
    return b"".join(part.ljust(cluster, b"\0") for part in parts) + data


@pytest.mark.spawns
def test_the_root_in_a_qcow2(tmp_path: Path) -> None:
    require("mke2fs", "mount", "qemu-storage-daemon", root=True)
    path = tmp_path / "disk.qcow2"
    path.write_bytes(qcow2(made(tmp_path, machine_id="0123\n").read_bytes()))
    assert severities(examined(path)) == {("image.format", "error"), ("files.machine-id", "error")}


@pytest.mark.spawns
def test_a_disk_without_a_boot_loader_or_root(tmp_path: Path) -> None:
    require("mount", root=True)
    path = tmp_path / "disk.raw"
    path.write_bytes(mbr((0x83, 2048, 2048), code=b""))
    os.truncate(path, 4 * MIB)
    found = severities(examined(path))
    assert {("image.generation", "error"), ("image.content", "not checked")} <= found


@pytest.mark.spawns
@pytest.mark.parametrize("loader", ["", "BOOTX64.EFI"])
def test_the_fallback_loader_in_the_efi_partition(tmp_path: Path, loader: str) -> None:
    require("mkfs.vfat", "mdir", "mmd", "mcopy", root=True)
    esp = tmp_path / "esp"
    esp.write_bytes(bytes(4 * MIB))
    for argv in (["mkfs.vfat", "-F", "12", str(esp)], ["mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT"]):
        subprocess.run(argv, check=True, env={"PATH": PATH}, capture_output=True)
    if loader:
        subprocess.run(["mcopy", "-i", str(esp), "/dev/null", f"::/EFI/BOOT/{loader}"], check=True, env={"PATH": PATH})
    path = tmp_path / "disk.raw"
    path.write_bytes(mbr((0xEF, 2048, 4 * MIB // 512), code=b"") + bytes(START - 512) + esp.read_bytes())
    assert (("image.generation", "error") in severities(examined(path))) == (not loader)


@pytest.mark.spawns
def test_an_image_that_nobody_could_look_into_is_not_called_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a\x1b[2Jb.raw"
    path.write_bytes(mbr((0x83, 2048, 2048)) + bytes(4 * MIB - 512))
    assert main(["doctor", str(path)]) == 4
    text = capsys.readouterr().out
    assert "its content was not examined" in text
    assert "\x1b" not in text
    assert not examine_image(str(path)).fit
