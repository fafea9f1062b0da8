"""Private folders: root's alone, gone afterwards, made where they can be."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from azurelite.errors import FileError
from azurelite.system.scratch import put_private, scratch_folder


def test_it_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder([str(tmp_path)]) as folder:
        assert os.path.dirname(folder) == str(tmp_path)
        put_private(f"{folder}/key", b"canary")
        modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, f"{folder}/key")]
        assert modes == [0o700, 0o600]
        put_private(f"{folder}/key", b"x")
        assert Path(folder, "key").read_bytes() == b"x"
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), scratch_folder([str(tmp_path)]):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []


def test_the_first_place_that_is_fit_is_taken(tmp_path: Path) -> None:
    with scratch_folder([str(tmp_path / "missing"), str(tmp_path)], executable=True) as folder:
        assert os.path.dirname(folder) == str(tmp_path)


def test_without_a_place_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file or directory"), scratch_folder([str(tmp_path / "missing")]):
        pass


def test_that_it_cannot_be_removed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with scratch_folder([str(tmp_path)], holds="private keys") as folder:
        shutil.rmtree(folder)
    assert f"cannot remove {folder}: " in caplog.text
    assert "it contains private keys" in caplog.text
