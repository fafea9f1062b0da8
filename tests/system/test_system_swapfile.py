"""Swap files: whole or not there, root's own from the first byte, and nobody else's ever touched."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest
from kit import FastClock, Guest, shim

from azurelite.clock import Deadline
from azurelite.config.sizes import MIB, parse_size
from azurelite.errors import CommandError, FileError
from azurelite.system.disks.swapfile import SwapFile
from azurelite.system.machine import System

pytestmark = pytest.mark.spawns


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", MIB),
        ("512M", 512 * MIB),
        ("512 MiB", 512 * MIB),
        ("2g", 2048 * MIB),
        ("2GB", 2048 * MIB),
        (" 1T ", 1024 * 1024 * MIB),
        ("64k", 65536),
        ("100B", 100),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1.5G", "1P", "1G2", "0x10", "1 G B", "\u0664G", "9" * 16, "1\n2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="for example 2G"):
        parse_size(text)


def test_it_is_whole_and_roots_own_from_the_beginning(guest: Guest, tmp_path: Path) -> None:
    log = tmp_path / "seen"
    shim(tmp_path / "bin", "mkswap", script=f'stat -c "%a %s" "$1" > "{log}"; exec /sbin/mkswap "$1"')
    before = os.umask(0)
    try:
        file = SwapFile(System(guest.root, search_path=str(tmp_path / "bin")), "/var/swap")
        assert file.state() == "absent"
        file.make(4 * MIB)
    finally:
        os.umask(before)
    assert log.read_text() == f"600 {4 * MIB}\n"
    assert (file.state(), file.size(), guest.mode("var/swap")) == ("swap", 4 * MIB, 0o600)
    assert guest.path("var/swap").stat().st_blocks * 512 >= 4 * MIB
    assert sorted(os.listdir(guest.path("var"))) == ["lib", "swap"]
    subprocess.run(["swaplabel", str(guest.path("var/swap"))], check=True, capture_output=True)


def test_one_with_large_pages_is_known(guest: Guest) -> None:
    with guest.path("swapfile").open("wb") as file:
        file.truncate(4 * MIB)
    guest.path("swapfile").chmod(0o600)
    subprocess.run(["mkswap", "-p", "65536", str(guest.path("swapfile"))], check=True, capture_output=True)
    assert SwapFile(System(guest.root), "/swapfile").state() == "swap"


@pytest.mark.parametrize("size", [0, 1, 5000, MIB])
def test_any_other_file_is_other(guest: Guest, size: int) -> None:
    guest.path("swapfile").write_bytes(b"x" * size)
    assert SwapFile(System(guest.root), "/swapfile").state() == "other"


def test_a_folder_and_a_file_of_somebody_else_are_other(guest: Guest) -> None:
    guest.path("folder").mkdir()
    assert SwapFile(System(guest.root), "/folder").state() == "other"
    system = System(guest.root)
    SwapFile(system, "/swapfile").make(MIB)
    guest.path("swapfile").chmod(0o620)
    assert SwapFile(system, "/swapfile").state() == "other"
    guest.path("swapfile").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(guest.path("swapfile"), 1000, 1000)
        assert SwapFile(system, "/swapfile").state() == "other"


@pytest.mark.parametrize("script", ["exit 1", 'rm "$1"; exit 1'])
def test_when_mkswap_fails_nothing_is_left(guest: Guest, tmp_path: Path, script: str) -> None:
    shim(tmp_path / "bin", "mkswap", script=script)
    before = guest.snapshot()
    with pytest.raises(CommandError, match="mkswap failed"):
        SwapFile(System(guest.root, search_path=str(tmp_path / "bin")), "/swapfile").make(MIB)
    assert guest.snapshot() == before


def test_when_the_disk_is_full_nothing_is_left(guest: Guest) -> None:
    before = guest.snapshot()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, limits[1]))  # as good as a full disk, and fills none
    try:
        with pytest.raises(FileError, match="cannot write /swapfile: File too large"):
            SwapFile(System(guest.root), "/swapfile").make(4 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert guest.snapshot() == before


def test_when_the_time_is_over_nothing_is_left(guest: Guest, clock: FastClock) -> None:
    system = System(guest.root)
    system.commands.limit = Deadline(clock, 0)
    before = guest.snapshot()
    with pytest.raises((FileError, CommandError)):
        SwapFile(system, "/swapfile").make(MIB)
    assert guest.snapshot() == before


def test_what_a_power_cut_left_is_in_nobodys_way(guest: Guest) -> None:
    guest.put({".swapfile.azurelite": "half"})
    SwapFile(System(guest.root), "/swapfile").make(MIB)
    assert not guest.path(".swapfile.azurelite").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: whose folder it is matters to root only")
@pytest.mark.parametrize(
    ("mode", "uid", "safe"),
    [(0o755, 0, True), (0o1777, 0, True), (0o777, 0, False), (0o775, 0, False), (0o755, 1000, False)],
)
def test_in_a_folder_of_others_none_is_made(guest: Guest, mode: int, uid: int, safe: bool) -> None:
    folder = guest.path("srv")
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, uid, 0)
    file = SwapFile(System(guest.root), "/srv/swap")
    if safe:
        file.make(MIB)
        assert file.state() == "swap"
    else:
        with pytest.raises(FileError, match="users other than root may write to /srv"):
            file.make(MIB)
        assert os.listdir(folder) == []


def test_a_link_at_the_place_of_the_temporary_file_is_not_followed(guest: Guest) -> None:
    guest.put({"victim": "kept"}).path(".swapfile.azurelite").symlink_to("victim")
    SwapFile(System(guest.root), "/swapfile").make(MIB)
    assert guest.text("victim") == "kept"


def test_without_mkswap_nothing_happens(guest: Guest) -> None:
    system = System(guest.root)
    system.commands.search_path = "/nowhere"
    with pytest.raises(CommandError, match="mkswap is not installed: install"):
        SwapFile(system, "/a/swapfile").make(MIB)
    assert not guest.path("a").exists()


def test_a_foreign_root_is_never_swapped_to(guest: Guest) -> None:
    system = System(guest.root)
    file = SwapFile(system, "/swapfile")
    file.make(MIB)
    assert file.switch_on() is False
    assert file.is_on() is False
