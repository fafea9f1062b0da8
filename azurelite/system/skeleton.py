"""/etc/skel: what is put into a new home, and in a dry run taken to be there."""

from __future__ import annotations

import stat
from typing import Iterator

from azurelite.system.explain import explained
from azurelite.system.files import Files

SKELETON = "/etc/skel"


def expect_home(files: Files, home: str) -> None:
    """In a dry run: take it that this home will be there, with what is in /etc/skel."""
    files.expect_folder(home, mode=0o700)
    if files.stat(home, beneath=home) is None:
        for here, there, mode, is_folder in skeleton(files, SKELETON, home):
            if is_folder:
                files.expect_folder(there, mode=mode)
            else:
                files.expect_file(there, files.read(here) or b"")


def skeleton(files: Files, source: str, target: str) -> Iterator[tuple[str, str, int, bool]]:
    """What is below a folder, with where a copy of it goes: (from, to, mode, is a folder), folders first."""
    with explained("look at", source):
        names = files.root.names(source)
    for name in names:
        here, there = f"{source}/{name}", f"{target}/{name}"
        found = files.stat(here, beneath=here)
        if found is not None and stat.S_ISDIR(found.st_mode):
            yield here, there, stat.S_IMODE(found.st_mode), True
            yield from skeleton(files, here, there)
        elif found is not None and stat.S_ISREG(found.st_mode):
            yield here, there, stat.S_IMODE(found.st_mode), False
