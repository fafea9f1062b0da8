"""Discs made afresh by the tools themselves, where these are installed."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from data.discs.udfwriter import add_file

from azurelite.media.disc import read_from_disc

pytestmark = pytest.mark.spawns

NAME = "ovf-env.xml"
CONTENT = b"<Environment/>" + b" " * 5000
PACKAGE = {"mkudffs": "udftools"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def tool(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"needs {name}: install {PACKAGE.get(name, name)}")
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with the file, another, and a folder."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    (folder / "another.txt").write_text("1")
    (folder / "sub" / NAME).write_text("not the one in the root")
    return folder


def read(image: bytes) -> bytes | None:
    return read_from_disc(io.BytesIO(image), NAME, limit=1 << 20)


@pytest.mark.parametrize("options", [[], ["-J"], ["-R"], ["-J", "-R"], ["-udf"], ["-udf", "-J", "-R"], ["-l"], ["-U"]])
def test_genisoimage(tmp_path: Path, source: Path, options: list[str]) -> None:
    disc = tmp_path / "disc.iso"
    subprocess.run([tool("genisoimage"), "-quiet", *options, "-o", str(disc), str(source)], check=True)
    assert read(disc.read_bytes()) == CONTENT


@pytest.mark.parametrize("options", [[], ["-joliet", "on"], ["-rockridge", "off"], ["-hfsplus", "on"]])
def test_xorriso(tmp_path: Path, source: Path, options: list[str]) -> None:
    disc = tmp_path / "disc.iso"
    argv = [tool("xorriso"), "-report_about", "SORRY", "-outdev", f"stdio:{disc}", *options, "-map", str(source), "/"]
    subprocess.run(argv, check=True, capture_output=True)
    assert read(disc.read_bytes()) == CONTENT


@pytest.mark.parametrize("block_size", [512, 2048])
@pytest.mark.parametrize("revision", ["1.02", "1.50", "2.01"])
@pytest.mark.parametrize("media", ["hd", "dvd"])
def test_mkudffs(tmp_path: Path, media: str, revision: str, block_size: int) -> None:
    check_mkudffs(tmp_path / "disc.udf", media, revision, block_size)


@pytest.mark.parametrize("media", ["cdrw", "dvdrw"])
@pytest.mark.parametrize("revision", ["1.50", "2.01"])
def test_mkudffs_with_a_sparable_partition(tmp_path: Path, media: str, revision: str) -> None:
    check_mkudffs(tmp_path / "disc.udf", media, revision, 2048)


def check_mkudffs(disc: Path, media: str, revision: str, block_size: int) -> None:
    disc.write_bytes(bytes(3 << 20))
    argv = [tool("mkudffs"), f"--media-type={media}", f"-b{block_size}", "-r", revision, str(disc)]
    subprocess.run(argv, check=True, capture_output=True)
    assert read(disc.read_bytes()) is None
    assert read(add_file(disc.read_bytes(), block_size, NAME, CONTENT)) == CONTENT
