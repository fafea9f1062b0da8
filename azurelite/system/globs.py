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
    regex, has_wildcard = _regex(part)
    if not has_wildcard:
        return [re.sub(r"\\(.)", r"\1", part)]
    hidden = part.lstrip("\\").startswith(".")
    return sorted(name for name in names(where) if re.fullmatch(regex, name, re.S) and (hidden or name[0] != "."))


_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
# After `[`: the members up to the `]`, which is a member itself if it comes first or after a backslash.
_SET = r"(!?)((?:\[:[a-z]+:\]|\\.|[^\\])(?:\[:[a-z]+:\]|\\.|[^\]\\])*)\]"
_MEMBER = r"\[:([a-z]+):\]|(\\?.)-(\\?[^\]])|(\\?.)"


def _regex(part: str) -> tuple[str, bool]:
    """The regular expression of one part of a pattern, and whether it has a wildcard. A backslash takes its meaning."""
    found, at, has_wildcard = "", 0, False
    while at < len(part):
        letter = part[at]
        at += 1
        members = re.compile(_SET, re.S).match(part, at) if letter == "[" else None
        if members is not None:
            found += _one_of(members[2], negated=bool(members[1]))
            at = members.end()
        elif letter == "\\" and at < len(part):
            found += re.escape(part[at])
            at += 1
        else:
            found += {"*": ".*", "?": "."}.get(letter, re.escape(letter))
        has_wildcard = has_wildcard or members is not None or letter in "*?"
    return found, has_wildcard


def _one_of(text: str, *, negated: bool) -> str:
    """The regular expression of what is inside the brackets: classes, ranges and single letters."""
    found = ""
    for name, first, last, single in re.findall(_MEMBER, text, re.S):
        if name:
            found += _CLASSES.get(name, "")
        elif single:
            found += re.escape(single[-1])
        elif first[-1] <= last[-1]:
            found += f"{re.escape(first[-1])}-{re.escape(last[-1])}"
    if not found:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{found}]"
