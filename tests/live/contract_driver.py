"""Runs inside a guest that is live (its `/` is the process's root): one case of the contract, three times over.

Reads a case as JSON on standard input: {"name", "options", "files", "before"}. Writes {"dry", "real", "again"}, each
with "changes" and "said"; "kept": what the dry run left behind on the disk; "moved": what the third run changed there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import contractkit

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.handlers import BUILTIN
from azurelite.system.machine import System

UPPER = Path("/run/upper")  # what differs from the layer below: the stage has bound it here


def main() -> None:
    """Do it, and tell."""
    case = json.load(sys.stdin)
    for name, text in case["files"].items():
        path = Path("/", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    before = _snapshot()
    dry = _run(case, dry_run=True)
    kept = _differing(_snapshot(), before)
    real = _run(case, dry_run=False)
    after = _snapshot()
    again = _run(case, dry_run=False)
    moved = _differing(_snapshot(), after)
    json.dump({"dry": dry, "real": real, "again": again, "kept": kept, "moved": moved}, sys.stdout)


def _run(case: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    steps = []
    for name, options in [*((name, {}) for name in case["before"]), (case["name"], case["options"])]:
        module = importlib.import_module(BUILTIN[name])
        steps.append((module, bind(module.Options, options, Document({}, {}), (name,))))
    changes, said = contractkit.run(contractkit.known("livewire"), steps, System("/", dry_run=dry_run))
    return {"changes": [str(change) for change in changes], "said": said}


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _snapshot() -> dict[str, tuple[int, int, int, bytes]]:
    """Every file that differs from the layer below: mode, owner, content."""
    found = {}
    for where, folders, files in os.walk(UPPER):
        for name in [*folders, *files]:
            path = Path(where, name)
            short = "/" + str(path.relative_to(UPPER))
            status = path.lstat()
            content = b""
            if path.is_symlink():
                content = os.readlink(path).encode()
            elif path.is_file():
                content = path.read_bytes()
            found[short] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


if __name__ == "__main__":
    main()
