"""Accounts by direct edits of /etc/passwd and its companions: for roots where no tool of theirs can run.

The order of the writes makes a crash harmless: the passwd line comes last, so an account either is whole
or does not exist yet, and a second run replaces what the first left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import Iterator, Optional

from azurelite.clock import Deadline
from azurelite.errors import FileError, MachineError
from azurelite.system.explain import lock
from azurelite.system.files import ROOT_OWNER, Files, Owner
from azurelite.system.logindefs import login_range
from azurelite.system.tables import as_number, split_lines
from azurelite.system.users import NewUser, User

_LOCK = "/etc/.pwd.lock"
LOCK_WAIT = 15.0  # seconds, as lckpwdf(3) waits
_HOME_MODE = 0o700


class PasswdFiles:
    """Edits passwd, shadow, group and gshadow themselves.

    Args:
        files: the guest's files.
        wait: how long another program may hold the lock on them.
    """

    def __init__(self, files: Files, wait: Deadline) -> None:
        self._files = files
        self._wait = wait

    def add_user(self, new: NewUser) -> None:
        """Make the account, its own group if it needs one, and its home from /etc/skel. Raises MachineError."""
        with self._locked():
            uid = self._free_number("/etc/passwd", "UID")
            gid = self._group_number(new.primary_group or new.name)
            if gid is None:
                gid = uid if not self._taken("/etc/group", uid) else self._free_number("/etc/group", "GID")
                self._append_group(new.name, gid)
            for group in new.groups:
                self._add_member(new.name, group)
            self._put_line("/etc/shadow", new.name, _shadow_line(new.name), optional=True)
            self._make_home(new.home, Owner(new.name, uid, gid))
            locked = "x" if self._files.stat("/etc/shadow") is not None else "*"
            line = f"{new.name}:{locked}:{uid}:{gid}::{new.home}:{new.shell}"
            self._put_line("/etc/passwd", new.name, line)

    def lacking(self, user: User) -> tuple[str, ...]:
        """Which parts of an account are missing: "shadow", "group", "home"."""
        absent = []
        if self._files.stat("/etc/shadow") is not None and not self._has("/etc/shadow", user.name):
            absent.append("shadow")
        if user.gid not in self._numbers("/etc/group"):
            absent.append("group")
        if user.home.startswith("/home/") and self._is_half_made(user.home):
            absent.append("home")
        return tuple(absent)

    def complete(self, user: User, lacking: tuple[str, ...]) -> None:
        """Make the parts that are missing. Raises MachineError."""
        with self._locked():
            if "group" in lacking:
                self._append_group(user.name, user.gid)
            if "shadow" in lacking:
                self._put_line("/etc/shadow", user.name, _shadow_line(user.name))
            if "home" in lacking:
                self._make_home(user.home, user.owner)

    def add_group(self, name: str) -> None:
        """Make a group. Raises MachineError."""
        with self._locked():
            self._append_group(name, self._free_number("/etc/group", "GID"))

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group. Raises MachineError."""
        with self._locked():
            self._add_member(name, group)

    def _is_half_made(self, home: str) -> bool:
        """Nothing there, or a folder that only root can enter: it was made, and not given away any more."""
        found = self._files.stat(home, beneath=home)
        if found is None:
            return True
        return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o077

    def _append_group(self, name: str, gid: int) -> None:
        self._put_line("/etc/gshadow", name, f"{name}:!::", optional=True)
        self._put_line("/etc/group", name, f"{name}:x:{gid}:")

    def _add_member(self, name: str, group: str) -> None:
        for path, optional in (("/etc/gshadow", True), ("/etc/group", False)):
            for line in self._lines(path):
                fields = line.split(":")
                if fields[0] == group and len(fields) == 4 and name not in fields[3].split(","):
                    fields[3] = f"{fields[3]},{name}" if fields[3] else name
                    self._put_line(path, group, ":".join(fields), optional=optional)

    def _has(self, path: str, key: str) -> bool:
        return any(line.split(":", 1)[0] == key for line in self._lines(path))

    def _lines(self, path: str) -> list[str]:
        return split_lines(self._files.read(path))

    def _put_line(self, path: str, key: str, line: str, *, optional: bool = False) -> None:
        """Replace the line that starts with `key:`, or add it; the file keeps its mode and owner."""
        found = self._files.stat(path)
        if found is None and optional:
            return
        lines = self._lines(path)
        places = [i for i, old in enumerate(lines) if old.split(":", 1)[0] == key]
        if places:
            lines[places[0]] = line
        else:
            lines.append(line)
        mode = stat.S_IMODE(found.st_mode) if found is not None else 0o644
        owner = Owner("", found.st_uid, found.st_gid) if found is not None else None
        data = "".join(f"{text}\n" for text in lines).encode(errors="surrogateescape")
        self._files.put(path, data, mode=mode, owner=owner)

    def _group_number(self, name: str) -> Optional[int]:
        for line in self._lines("/etc/group"):
            fields = line.split(":")
            if fields[0] == name and len(fields) == 4:
                return as_number(fields[2])
        return None

    def _taken(self, path: str, number: int) -> bool:
        return number in self._numbers(path)

    def _numbers(self, path: str) -> set[int]:
        rows = (line.split(":") for line in self._lines(path))
        return {number for row in rows if len(row) > 2 for number in [as_number(row[2])] if number is not None}

    def _free_number(self, path: str, kind: str) -> int:
        lowest, highest = login_range(self._files, kind)
        taken = self._numbers(path)
        for number in range(lowest, highest + 1):
            if number not in taken:
                return number
        raise MachineError(f"no free number is left in {path} between {lowest} and {highest}")

    def _make_home(self, home: str, owner: Owner) -> None:
        parent = os.path.dirname(home)
        if not self._files.is_dir(parent):
            self._files.make_own_folder(parent, mode=0o755)
        found = self._files.stat(home, beneath=home)
        if found is not None and found.st_uid != 0:
            return  # a home kept from before: whose files are inside is not ours to say
        # It is given away last, so that one which a crash left half made can be told.
        self._files.mkdir_silently(home, mode=_HOME_MODE, owner=ROOT_OWNER, beneath=home)
        self._copy_skeleton("/etc/skel", home, owner, home)
        self._files.mkdir_silently(home, mode=_HOME_MODE, owner=owner, beneath=home)

    def _copy_skeleton(self, source: str, target: str, owner: Owner, home: str) -> None:
        """Copy folders and files that are not there yet; links and devices are left out."""
        for here, there, mode, is_folder in self._files.skeleton(source, target):
            if self._files.stat(there, beneath=home) is not None:
                continue
            if is_folder:
                self._files.mkdir_silently(there, mode=mode, owner=owner, beneath=home)
            else:
                self._files.put(there, self._files.read(here) or b"", mode=mode, owner=owner, beneath=home)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock that all programs which edit these files agree on (lckpwdf(3))."""
        try:
            folder, name = self._files.root.open_parent(_LOCK)
            try:
                descriptor = os.open(
                    name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=folder
                )
            finally:
                os.close(folder)
        except OSError as error:
            raise FileError(f"cannot lock {_LOCK}: {error.strerror}") from error
        try:
            try:
                lock(lambda: fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB), self._wait)
            except OSError as error:
                raise FileError(f"{_LOCK} is held by another program and not let go: see which") from error
            yield
        finally:
            os.close(descriptor)


def _shadow_line(name: str) -> str:
    """A locked password, and no date of last change: a clock still in 1970 must not make it expire at once."""
    return f"{name}:*::0:99999:7:::"
