"""/etc/fstab: azurelite's own lines, which end with `# azurelite`; other lines stay byte for byte.

The six fields and their escapes are those of fstab(5).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import Optional

from azurelite.errors import CommandError, FileError, HandlerError
from azurelite.record import Record
from azurelite.system.disks.mounts import unescaped
from azurelite.system.explain import explained
from azurelite.system.machine import System
from azurelite.system.services.services import reload_systemd

PATH = "/etc/fstab"
_FOLDER = "/etc"
_TAG = b"# azurelite"
_ESCAPED = r"[ \t\n\r\\]"


class Entry(Record):
    """A line of the table.

    Attributes:
        device: what is mounted, as "/dev/disk/by-uuid/…", "UUID=…", "server:/share".
        path: the mount point; "none" for swap.
        kind: the file system's type, or "auto", "swap".
        options: separated by commas.
        dump: for the program `dump`.
        check: the order of the check at boot; 0: no check.
    """

    device: str
    path: str
    kind: str
    options: str
    dump: int = 0
    check: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What two lines for the same thing have in common: the mount point, and for swap the device."""
        return (self.device, "none") if self.path == "none" else ("", self.path)

    def line(self) -> bytes:
        """The line, without a line break."""
        words = [_escape(word) for word in (self.device, self.path, self.kind, self.options)]
        return b"%s %d %d %s" % (" ".join(words).encode(errors="surrogateescape"), self.dump, self.check, _TAG)


class Fstab:
    """The table of a guest.

    Args:
        system: the guest.

    Raises:
        HandlerError: there is no /etc.
        FileError: it cannot be read.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        if not system.files.is_dir(_FOLDER):
            raise HandlerError(
                f"cannot write {PATH} because {_FOLDER} does not exist: check that --root is the root of a system"
            )
        self._before = system.files.read(PATH) or b""
        self._lines = self._before.split(b"\n")

    def foreign(self, entry: Entry) -> Optional[Entry]:
        """A line that azurelite did not write for the same mount point (for swap: the same device), or None."""
        return next((there for line, there in self._parsed() if not _is_ours(line) and there.key == entry.key), None)

    def ensure(self, entry: Entry) -> None:
        """Set azurelite's line for this mount point; `save` writes it."""
        ours = [i for i in range(len(self._lines)) if self._is_our(i, entry)]
        for i in reversed(ours[1:]):
            del self._lines[i]
        if ours:
            self._lines[ours[0]] = entry.line()
            return
        if self._lines[-1]:  # the last line has no line break: add one
            self._lines.append(b"")
        self._lines.insert(len(self._lines) - 1, entry.line())

    def check(self) -> None:
        """Check that `save` can write, before anything is mounted. Raises FileError."""
        if b"\n".join(self._lines) == self._before or self._system.files.stat(_FOLDER) is None:
            return
        with explained("write", PATH):
            if os.statvfs(self._system.root.host_path(_FOLDER)).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def save(self) -> bool:
        """Write the table if it changed (then True), and reload systemd, which has units for it. Raises FileError."""
        after = b"\n".join(self._lines)
        if after == self._before:
            return False
        self._system.files.rewrite(PATH, after, mode=0o644)
        self._before = after
        with contextlib.suppress(CommandError, FileError):  # systemd reads it at the next boot anyway
            reload_systemd(self._system, f"reload, {PATH} has changed")
        return True

    def _is_our(self, i: int, entry: Entry) -> bool:
        there = parse(self._lines[i])
        return there is not None and _is_ours(self._lines[i]) and there.key == entry.key

    def _parsed(self) -> list[tuple[bytes, Entry]]:
        found = []
        for line in self._lines:
            entry = parse(line)
            if entry is not None:
                found.append((line, entry))
        return found


def parse(line: bytes) -> Optional[Entry]:
    """Parse a line; None for a comment, an empty line, or one with fewer than two fields."""
    words = line.replace(b"\t", b" ").strip().split()
    if len(words) < 2 or words[0].startswith(b"#"):
        return None
    device, path, kind, options = (unescaped(word) for word in (*words, b"", b"")[:4])
    if kind == "swap":
        path = "none"
    return Entry(device, path.rstrip("/") or "/", kind, options, _number(words, 4), _number(words, 5))


def _is_ours(line: bytes) -> bool:
    return line.rstrip().endswith(b" " + _TAG)


def _number(words: list[bytes], i: int) -> int:
    return int(words[i]) if len(words) > i and words[i].isdigit() and len(words[i]) < 4 else 0


def _escape(word: str) -> str:
    return re.sub(_ESCAPED, lambda match: "".join(f"\\{byte:03o}" for byte in match[0].encode()), word)
