"""passwd, group, shadow and gshadow changed together: all new files are on the disk before the first one is renamed.

A full disk or a crash during the writes leaves the old files. Then the new ones are renamed, passwd last, so that an
account is either complete or does not exist yet. This module knows lines, not their meaning.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import Iterator, Optional

from azurelite.clock import Deadline
from azurelite.errors import FileError
from azurelite.system.explain import beside, explained, lock, open_beside, write_all
from azurelite.system.files import Files

LOCK = "/etc/.pwd.lock"
LOCK_WAIT = 15.0  # seconds, as lckpwdf(3) waits
_ORDER = ("/etc/gshadow", "/etc/group", "/etc/shadow", "/etc/passwd")
_LABEL = "security.selinux"


class TableFiles:
    """The account files during a change; created by `changing`."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._wished: dict[str, list[str]] = {}
        self._staged: list[str] = []

    def lines(self, path: str) -> list[str]:
        """The lines with the changes so far. Raises FileError."""
        return list(self._wished[path]) if path in self._wished else self._files.lines(path)

    def put_line(self, path: str, key: str, line: str, *, optional: bool = False) -> None:
        """Replace the line that starts with `key:`, or add it; a missing optional file is not created."""
        if optional and self._files.stat(path) is None:
            return
        lines = self.lines(path)
        places = [i for i, old in enumerate(lines) if old.split(":", 1)[0] == key]
        if places:
            lines[places[0]] = line
        else:
            lines.append(line)
        self._wished[path] = lines

    def put_lines(self, path: str, lines: list[str]) -> None:
        """Replace all lines; a file that has these already stays as it is. Raises FileError."""
        if lines != self.lines(path):
            self._wished[path] = lines

    def stage(self) -> None:
        """Write the new files next to the old ones. Raises FileError: no space, read-only."""
        for path in (path for path in _ORDER if path in self._wished and path not in self._staged):
            self._staged.append(path)
            with explained("write", path):
                text = "".join(f"{line}\n" for line in self._wished[path])
                self._stage(path, text.encode(errors="surrogateescape"))

    def commit(self) -> None:
        """Replace the old files by the new ones. Raises FileError."""
        self.stage()
        for path in list(self._staged):
            with explained("write", path), self._files.parent(path) as (folder, name):
                os.rename(beside(name), name, src_dir_fd=folder, dst_dir_fd=folder)
                self._files.durability.note(folder)
            self._staged.remove(path)

    def discard(self) -> None:
        """Remove new files that were not renamed."""
        for path in self._staged:
            with contextlib.suppress(OSError), self._files.parent(path) as (folder, name):
                os.unlink(beside(name), dir_fd=folder)
        self._staged.clear()

    def _stage(self, path: str, data: bytes) -> None:
        found = self._files.stat(path)
        with self._files.parent(path) as (folder, name):
            descriptor = open_beside(folder, name)
            try:
                write_all(descriptor, data)
                if found is not None and self._files.privileged:
                    os.fchown(descriptor, found.st_uid, found.st_gid)
                os.fchmod(descriptor, 0o644 if found is None else stat.S_IMODE(found.st_mode))
                _copy_label(self._files.root.host_path(path), descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def changing(files: Files, wait: Deadline) -> Iterator[TableFiles]:
    """Lock the account files as all programs do that edit them (lckpwdf(3)), and write the changes at the end.

    Args:
        files: the guest's files.
        wait: how long another program may hold the lock.

    Raises:
        FileError: the lock stays taken, or a file cannot be written; then none of them has changed.
    """
    with table_lock(files, wait):
        tables = TableFiles(files)
        try:
            yield tables
            tables.commit()
        finally:
            tables.discard()


@contextlib.contextmanager
def table_lock(files: Files, wait: Deadline) -> Iterator[None]:
    """Only hold the lock, for a program that does not take it itself. Raises FileError."""
    try:
        descriptor = files.open_shared(LOCK)
    except OSError as error:
        raise FileError(f"cannot lock {LOCK}: {error.strerror}") from error
    try:
        try:
            lock(lambda: fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)
        except OSError as error:
            raise FileError(f"another program holds the lock file {LOCK}: find it with `fuser {LOCK}`") from error
        yield
    finally:
        os.close(descriptor)


def _copy_label(host_path: str, descriptor: int) -> None:
    """Copy the SELinux label: a new file gets its folder's, but login reads /etc/shadow only with its own."""
    with contextlib.suppress(OSError, AttributeError):  # no label, or a system without extended attributes
        os.setxattr(descriptor, _LABEL, os.getxattr(host_path, _LABEL))


_USUAL = {"UID": (1000, 60000), "GID": (1000, 60000), "SYS_UID": (100, 999), "SYS_GID": (100, 999)}


def login_range(files: Files, kind: str) -> tuple[int, int]:
    """The range of numbers for accounts or groups of a kind.

    Args:
        files: the guest's files.
        kind: "UID" or "GID" for people, "SYS_UID" or "SYS_GID" for the system.

    Returns:
        Lowest and highest number, from login.defs; by default 1000 and 60000 for people, 100 and 999 for the system.
    """
    lines = (line.split() for line in files.lines("/etc/login.defs"))
    settings = {words[0]: as_number(words[1]) for words in lines if len(words) >= 2}
    lowest, highest = settings.get(f"{kind}_MIN"), settings.get(f"{kind}_MAX")
    usual = _USUAL[kind]
    return usual[0] if lowest is None else lowest, usual[1] if highest is None else highest


_MOST = 2**32 - 1  # means "no number" in system calls


def table_rows(files: Files, path: str, *, fill: int = 0) -> list[list[str]]:
    """The fields of each line of a file, padded with empty ones to at least `fill`.

    Raises:
        FileError: it cannot be read.
    """
    rows = (line.split(":") for line in files.lines(path))
    return [row + [""] * (fill - len(row)) for row in rows]


def as_number(text: str) -> Optional[int]:
    """The text as the number of a user or group, or None if it is not one."""
    number = int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else None
    return number if number is not None and number < _MOST else None
