"""The mutants that are written down can still be made."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutation.always import ALWAYS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("file", "old", "new"), ALWAYS)
def test_its_text_stands_in_the_file_once(file: str, old: str, new: str) -> None:
    assert (ROOT / file).read_text(encoding="utf-8").count(old) == 1
    assert old != new
