"""The content of changed files, for those who follow a run: what may be shown of it, and as a diff.

It refuses what may be secret, and rather a file too many: a diff may end in a log, in a ticket, on a screen.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Optional

from azurelite.system.root import Root

LIMIT = 256 * 1024  # bytes of each content that is kept
_PASSWORDS = ("shadow", "shadow-", "gshadow", "gshadow-", "opasswd", "master.passwd", "spwd.db")
_HOST_KEY = r"ssh_host_.*_key(\.pub)?"  # also a public one: a dry run does not know which key would be made
# A private key; a value that is called password or the like; a password's hash; a URL with a password.
_SECRET = rb"""(?ix) PRIVATE\ KEY----- | (pass(word|wd|phrase)?|secret|token|credentials?)["']?\s*[=:]
    | \$(1|2[abxy]|5|6|7|y|gy)\$ | ://[^\s/:@]*:[^\s/@]+@"""
_NO_END = "\\ No newline at end of file\n"


def is_public(root: Root, path: str, *, beneath: Optional[str] = None) -> bool:
    """Whether all users may read the file at that guest path: its own mode and its folders' say so.

    What does not exist forbids nothing. False for anything but a regular file.
    """
    try:
        here = root.path.rstrip("/")
        names = root.host_path(path, beneath=beneath)[len(here) :].strip("/").split("/")
        for depth, name in enumerate(names, 1):
            here = f"{here}/{name}"
            mode = os.lstat(here).st_mode
            last = depth == len(names)
            if not (stat.S_ISREG(mode) and mode & 0o004 if last else stat.S_ISDIR(mode) and mode & 0o001):
                return False
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def is_harmless(path: str, *contents: Optional[bytes]) -> bool:
    """Whether neither the name of a file nor its contents (None: no file) look like a secret or are too large."""
    name = path.rpartition("/")[2]
    if name in _PASSWORDS or re.fullmatch(_HOST_KEY, name):
        return False
    return not any(len(data) > LIMIT or re.search(_SECRET, data) for data in contents if data is not None)


def diff(path: str, before: Optional[bytes], after: Optional[bytes]) -> str:
    """The unified diff of two contents of a text file. A content is None where the file does not exist.

    The result is empty if they are the same, or if one of them is not plain text.
    """
    from difflib import unified_diff

    texts = []
    for data in (before, after):
        text = _text(data or b"")
        if text is None:
            return ""
        texts.append([f"{line}\n" for line in text.split("\n")[:-1]])
        if not text.endswith("\n") and text:
            texts[-1].append(text.rpartition("\n")[2])
    names = ["/dev/null" if data is None else path for data in (before, after)]
    lines = unified_diff(texts[0], texts[1], names[0], names[1])
    return "".join(line if line.endswith("\n") else f"{line}\n{_NO_END}" for line in lines)


def _text(data: bytes) -> Optional[str]:
    """The text, if it has no character that would do something to a terminal."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one in "\n\t\xa0" for one in text) else None
