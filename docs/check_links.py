#!/usr/bin/env python3
"""Checks every internal link of the built pages, without the network: `python docs/check_links.py FOLDER`."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Optional
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        """Note what a tag points to and how it can be pointed to."""
        del tag  # anchors and links are found in any
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken(folder: Path) -> list[str]:
    """One line for each link whose file or anchor is missing, or that leads out of the folder."""
    folder = folder.resolve()
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    found = [] if pages else [f"{folder}: no pages"]
    for path, page in pages.items():
        found += [f"{path.relative_to(folder)}: {link}" for link in page.links if not _holds(link, path, pages, folder)]
    return found


def _holds(link: str, path: Path, pages: dict[Path, Page], folder: Path) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file() or folder not in target.parents:
        return False
    known = pages.get(target)
    return not parts.fragment or known is None or unquote(parts.fragment) in known.anchors


if __name__ == "__main__":
    bad = broken(Path(sys.argv[1]))
    print("\n".join(bad) or "all internal links hold")
    sys.exit(bool(bad))
