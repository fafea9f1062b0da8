"""Every YAML example of the migration pages is a configuration without mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azurelite.describe.check import check_files
from azurelite.system.root import Root

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = [
    (page.name, block)
    for page in sorted((DOCS / "migrate").glob("*.md"))
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize(("page", "block"), EXAMPLES)
def test_the_example_is_correct(page: str, block: str, tmp_path: Path) -> None:
    path = tmp_path / page
    path.write_text(block)
    (verdict,) = check_files([str(path)], Root(str(tmp_path)))
    assert [str(problem) for problem in verdict.problems] == []


def test_there_are_examples() -> None:
    assert {page for page, _ in EXAMPLES} >= {"article.md", "waagent.md"}
