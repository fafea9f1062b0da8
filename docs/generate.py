#!/usr/bin/env python3
"""Makes every generated file of the checkout from the code; needs azurelite and shtab.

python docs/generate.py            write the files that differ
python docs/generate.py --check    write nothing; exit code 1 if a file differs
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Optional

from generator.completion import completion
from generator.files import files_page
from generator.manpage import verbs_man_page, yaml_man_page
from generator.pages import exit_codes_page, handlers_page, scenario_page, yaml_page
from generator.verbs import verbs_page

from azurelite.describe.handlers import catalog
from azurelite.describe.jsonschema import config_schema

CHECKOUT = Path(__file__).resolve().parents[1]


def schema() -> str:
    """The JSON Schema, which `azurelite config schema --builtin` prints."""
    return json.dumps(config_schema(catalog(None)), indent=2) + "\n"


MADE: dict[str, Callable[[], str]] = {
    "contrib/azurelite.schema.json": schema,
    "contrib/completion/bash/azurelite": partial(completion, "bash"),
    "contrib/completion/fish/azurelite.fish": partial(completion, "fish"),
    "contrib/completion/zsh/_azurelite": partial(completion, "zsh"),
    "contrib/handlers.md": handlers_page,
    "contrib/packaging/man/azurelite.8": verbs_man_page,
    "contrib/packaging/man/azurelite.yaml.5": yaml_man_page,
    "docs/reference/exit-codes.md": exit_codes_page,
    "docs/reference/files.md": files_page,
    "docs/reference/scenario.md": scenario_page,
    "docs/reference/verbs.md": verbs_page,
    "docs/reference/yaml.md": yaml_page,
}


def main(words: Optional[list[str]] = None) -> int:
    """Write or check the files below `--into`. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes every generated file of the checkout.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file differs")
    parser.add_argument("--into", metavar="DIR", type=Path, default=CHECKOUT, help="the folder (default: the checkout)")
    given = parser.parse_args(words)
    differing = [name for name, make in MADE.items() if _differs(given.into / name, make(), write=not given.check)]
    for name in differing:
        print(f"{name}: {'differs: run `tox -e docs`' if given.check else 'written'}")
    return 1 if given.check and differing else 0


def _differs(path: Path, text: str, *, write: bool) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())
