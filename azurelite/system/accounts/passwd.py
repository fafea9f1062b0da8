"""Accounts by direct edits of passwd, shadow, group and gshadow: for roots where no tool can run.

/etc/passwd is replaced last, so an account is either complete or does not exist yet, and a second run replaces what a
crash left. A failure undoes the changes.
"""

from __future__ import annotations

import stat
from typing import Optional

from azurelite.clock import Deadline
from azurelite.errors import MachineError
from azurelite.system.accounts.homes import make_home
from azurelite.system.accounts.tablefiles import TableFiles, as_number, changing, login_range
from azurelite.system.accounts.users import NewUser, Owner, User
from azurelite.system.files import Files


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
        """Create the account, its primary group if needed, and its home from /etc/skel. Raises MachineError."""
        system = "SYS_" if new.system else ""
        with changing(self._files, self._wait) as tables:
            uid = new.uid if new.uid is not None else self._free_number(tables, "/etc/passwd", f"{system}UID")
            gid = _group_number(tables, new.primary_group or new.name)
            if gid is None:
                taken = uid in _numbers(tables, "/etc/group")
                gid = self._free_number(tables, "/etc/group", f"{system}GID") if taken else uid
                _append_group(tables, new.name, gid)
            for group in new.groups:
                _add_member(tables, new.name, group)
            tables.put_line("/etc/shadow", new.name, _shadow_line(new.name), optional=True)
            locked = "x" if self._files.stat("/etc/shadow") is not None else "*"
            line = f"{new.name}:{locked}:{uid}:{gid}:{new.comment}:{new.home}:{new.shell}"
            tables.put_line("/etc/passwd", new.name, line)
            tables.stage()
            if new.create_home:
                make_home(self._files, new.home, Owner(new.name, uid, gid))

    def lacking(self, user: User, wanted: Optional[NewUser] = None) -> tuple[str, ...]:
        """Which parts of an account are missing: "shadow", "group", "home".

        Args:
            user: the account.
            wanted: how it was to be created, where that did not end: its home lacks what it should have.
        """
        tables = TableFiles(self._files)
        absent = []
        if self._files.stat("/etc/shadow") is not None and not _has(tables, "/etc/shadow", user.name):
            absent.append("shadow")
        if self._lacks_group(tables, user):
            absent.append("group")
        if wanted is not None or (user.home.startswith("/home/") and self._is_half_made(user.home)):
            absent.append("home")
        return tuple(absent)

    def _lacks_group(self, tables: TableFiles, user: User) -> bool:
        """Whether no group has the number of the primary group. A group of the user's name is never renumbered."""
        if user.gid in _numbers(tables, "/etc/group") or _has(tables, "/etc/group", user.name):
            return False
        return not (self._files.root.is_host and _system_knows(user.gid))

    def complete(self, user: User, lacking: tuple[str, ...], wanted: Optional[NewUser] = None) -> None:
        """Create the missing parts; for an account that was not finished also its memberships. Raises MachineError."""
        with changing(self._files, self._wait) as tables:
            if "group" in lacking:
                _append_group(tables, user.name, user.gid)
            if "shadow" in lacking:
                tables.put_line("/etc/shadow", user.name, _shadow_line(user.name))
            if wanted is not None:
                for group in wanted.groups:
                    _add_member(tables, user.name, group)
                _add_to_gshadow(tables, wanted.primary_group or user.name)
            tables.stage()
            if "home" in lacking:
                make_home(self._files, user.home, user.owner, unfinished=wanted is not None)

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Create a group. Raises MachineError."""
        with changing(self._files, self._wait) as tables:
            _append_group(tables, name, self._free_number(tables, "/etc/group", "SYS_GID" if system else "GID"))

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group. Raises MachineError."""
        with changing(self._files, self._wait) as tables:
            _add_member(tables, name, group)

    def _is_half_made(self, home: str) -> bool:
        """Whether it is absent, or a folder that only root can enter: created, but not yet given to the user."""
        found = self._files.stat(home, beneath=home)
        if found is None:
            return True
        return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o077

    def _free_number(self, tables: TableFiles, path: str, kind: str) -> int:
        lowest, highest = login_range(self._files, kind)
        taken = _numbers(tables, path)
        numbers = range(lowest, highest + 1)
        for number in reversed(numbers) if kind.startswith("SYS_") else numbers:
            if number not in taken:
                return number
        raise MachineError(
            f"{path} has no free number between {lowest} and {highest}: extend the range in /etc/login.defs"
        )


def _system_knows(gid: int) -> bool:
    """Whether the running system knows that group, from any source (LDAP, …)."""
    import grp

    try:
        grp.getgrgid(gid)
    except (KeyError, OverflowError):
        return False
    return True


def _append_group(tables: TableFiles, name: str, gid: int) -> None:
    tables.put_line("/etc/gshadow", name, f"{name}:!::", optional=True)
    tables.put_line("/etc/group", name, f"{name}:x:{gid}:")


def _add_member(tables: TableFiles, name: str, group: str) -> None:
    for path, optional in (("/etc/gshadow", True), ("/etc/group", False)):
        for line in tables.lines(path):
            fields = line.split(":")
            if fields[0] == group and len(fields) == 4 and name not in fields[3].split(","):
                fields[3] = f"{fields[3]},{name}" if fields[3] else name
                tables.put_line(path, group, ":".join(fields), optional=optional)


def _add_to_gshadow(tables: TableFiles, group: str) -> None:
    """Add a group's line to /etc/gshadow where it lacks one."""
    if not _has(tables, "/etc/gshadow", group):
        members = next((line.split(":")[3] for line in tables.lines("/etc/group") if line.startswith(f"{group}:")), "")
        tables.put_line("/etc/gshadow", group, f"{group}:!::{members}", optional=True)


def _has(tables: TableFiles, path: str, key: str) -> bool:
    return any(line.split(":", 1)[0] == key for line in tables.lines(path))


def _group_number(tables: TableFiles, name: str) -> Optional[int]:
    for line in tables.lines("/etc/group"):
        fields = line.split(":")
        if fields[0] == name and len(fields) == 4:
            return as_number(fields[2])
    return None


def _numbers(tables: TableFiles, path: str) -> set[int]:
    rows = (line.split(":") for line in tables.lines(path))
    return {number for row in rows if len(row) > 2 for number in [as_number(row[2])] if number is not None}


def _shadow_line(name: str) -> str:
    """A locked password without a date of last change: with a clock in 1970 it would expire at once."""
    return f"{name}:*::0:99999:7:::"
