"""What outlasts a power cut: which folders are synced, how often and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from azurelite.errors import FileError
from azurelite.system.durability import Durability


def opened() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_alone_a_folder_is_synced_at_once(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    before = opened()
    Durability().note(folder)
    assert opened() == before
    os.close(folder)
    with pytest.raises(OSError, match="descriptor"):
        Durability().note(folder)


def test_together_each_folder_waits_for_the_end_and_is_kept_once(tmp_path: Path) -> None:
    folders = [os.open(tmp_path, os.O_RDONLY) for _ in range(3)]
    durability = Durability()
    before = opened()
    with durability.together():
        for folder in folders:
            durability.note(folder)
            os.close(folder)
        assert opened() == before - 3 + 1
        durability.settle()
        assert opened() == before - 3
    assert opened() == before - 3


def test_what_cannot_be_synced_is_told_and_nothing_stays_open(tmp_path: Path) -> None:
    read, write = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    durability = Durability()
    before = opened()

    def attempt() -> None:
        with durability.together():
            for descriptor in (read, folder, write):
                durability.note(descriptor)

    with pytest.raises(FileError, match="cannot sync a folder"):
        attempt()
    assert opened() == before
    for descriptor in (read, folder, write):
        os.close(descriptor)


def test_an_inner_one_syncs_its_own_and_leaves_the_outer_one_s(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    outer, inner = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path / "inner", os.O_RDONLY)
    durability = Durability()
    before = opened()
    with durability.together():
        durability.note(outer)
        with durability.together():
            durability.note(inner)
            assert opened() == before + 2
        assert opened() == before + 1
    assert opened() == before
    os.close(outer)
    os.close(inner)
