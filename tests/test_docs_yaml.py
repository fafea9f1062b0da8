"""The YAML of the documentation: what looks like a configuration is one without a mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit import Guest
from shellblocks import CHECKOUT, PAGES

from azurelite.config.load import Sections
from azurelite.config.schema import fields_of
from azurelite.describe.check import check_files
from azurelite.handlers import BUILTIN
from azurelite.system.root import Root

KEYS = {"handlers", *(field.name for field in fields_of(Sections))}
# Plug-ins that pages describe; whether they are installed is not the page's matter.
PLUG_INS = r"\b(?:motd|json_file|\w+:\w*fetch)\b"


def configurations() -> list[tuple[str, str]]:
    """Place and text of each block that is a configuration, or entries of its list `handlers`."""
    found = []
    for page in [*PAGES, CHECKOUT / "contrib/handlers.md"]:
        for block in re.finditer(r"^( *)```yaml\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.M | re.S):
            text = "".join(line[len(block[1]) :] for line in block[2].splitlines(keepends=True))
            value = yaml.safe_load(text)
            if isinstance(value, list) and all(_entry(one) for one in value):
                text = "handlers:\n" + "".join(f"  {line}\n" for line in text.splitlines())
            elif not isinstance(value, dict) or not value.keys() <= KEYS:
                continue
            line = page.read_text(encoding="utf-8").count("\n", 0, block.start()) + 1
            found.append((f"{page.relative_to(CHECKOUT)}:{line}", text))
    return found


def _entry(value: Any) -> bool:
    return value in BUILTIN if isinstance(value, str) else isinstance(value, dict) and next(iter(value)) in BUILTIN


@pytest.mark.parametrize(("place", "text"), configurations(), ids=lambda value: value if "\n" not in value else "")
def test_a_configuration_has_no_mistake(place: str, text: str, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "page.yaml"
    path.write_text(text)
    (verdict,) = check_files([str(path)], Root(guest.root))
    assert [str(problem) for problem in verdict.problems if not re.search(PLUG_INS, str(problem))] == []


def test_there_are_some() -> None:
    pages = [place.partition(":")[0] for place, _ in configurations()]
    assert {"README.md", "docs/configuration.md", "docs/sources.md"} <= set(pages)
    assert pages.count("contrib/handlers.md") == len(BUILTIN)
