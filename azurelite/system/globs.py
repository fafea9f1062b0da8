"""Natural sort order of names, and glob patterns as in `Include` of sshd and `source` of ifupdown."""

from __future__ import annotations

import re
from typing import Callable, Iterable

Names = Callable[[str], Iterable[str]]


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts eth2 before eth10 and sda before sda1."""
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in re.split(r"([0-9]+)", name) if part]


def expand(pattern: str, names: Names) -> list[str]:
    """The paths that match an absolute pattern, in glob's order. A part without wildcards need not exist.

    Args:
        pattern: as "/etc/network/interfaces.d/*"; a name with a leading dot only matches a pattern with one.
        names: returns the names in a folder.
    """
    found = ["/"]
    for part in [part for part in pattern.split("/") if part]:
        found = [f"{where.rstrip('/')}/{name}" for where in found for name in _matching(part, where, names)]
    return found


def _matching(part: str, where: str, names: Names) -> list[str]:
    if not re.search(r"[*?\[]", part):
        return [part]
    import fnmatch

    regex = re.compile(fnmatch.translate(part))
    return sorted(name for name in names(where) if regex.fullmatch(name) and (part[0] == "." or name[0] != "."))
