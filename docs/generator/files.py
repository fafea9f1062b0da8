"""The files of azurelite, read from azurelite/layout.py: the comment beside each path says what the file is."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path
from typing import NamedTuple

from azurelite import layout

FOLDERS = ("/usr/lib/azurelite", "/etc/azurelite", "/run/azurelite", "/var/lib/azurelite", "/var/log/azurelite")
# Paths that other modules name.
OTHERS = {
    "/run/azurelite/conf.d": "configuration until the next boot",
    "/var/log/azurelite": "the output of user data scripts",
}


class File(NamedTuple):
    """A file or folder in the guest.

    Attributes:
        path: its guest path.
        text: what it is; empty if the code does not say it.
    """

    path: str
    text: str


def files() -> list[File]:
    """Every path of azurelite's own, in the order of FOLDERS."""
    source = Path(layout.__file__).read_text(encoding="utf-8")
    told = {**OTHERS, **dict(_commented(source))}
    found = [File(path, text) for path, text in told.items() if path.startswith(FOLDERS)]
    return sorted(found, key=lambda file: (_rank(file.path), file.path))


def files_page() -> str:
    """docs/reference/files.md."""
    lines = ["# Files", "", "All paths are below `--root`.", "", "| path | what it is |", "|---|---|"]
    lines += [f"| `{file.path}` | {file.text} |" for file in files()]
    return "\n".join(lines) + "\n"


def _commented(source: str) -> list[tuple[str, str]]:
    """Path and comment of each constant that is a path."""
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        constant = re.match(r'[A-Z_]+ = "(/[^"]+)"', line)
        if constant:
            found.append((constant[1], comments.get(number, "")))
    return found


def _rank(path: str) -> int:
    return next(number for number, folder in enumerate(FOLDERS) if path.startswith(folder))
