"""Homes that a removed account left behind: finding them, and giving them to the new account of that home.

Only what the home's former owner owns changes hands. Links are not followed, other file systems not entered, and a
file with a second hard link stays as it is: the link could be a file of another user.
"""

from __future__ import annotations

import os
import stat
from typing import Callable, Optional

from azurelite.clock import Deadline
from azurelite.record import Record
from azurelite.system.accounts.homes import SKELETON, copy_skeleton
from azurelite.system.accounts.users import Owner
from azurelite.system.changes import Change
from azurelite.system.files import Files

_MOST_NAMED = 5
_ELSEWHERE = "another file system"
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Leftover(Record):
    """A home that no account owns.

    Attributes:
        path: guest path.
        uid: the number of the account that had it.
        gid: the group of the home.
        mode: its permission bits.
    """

    path: str
    uid: int
    gid: int
    mode: int

    def change(self, name: str) -> Change:
        """The record of giving it to the account of that name."""
        return Change("mode", self.path, f"owner {name} instead of uid {self.uid}, which no account has")


def find_leftover(files: Files, home: str, has_account: Callable[[int], bool]) -> Optional[Leftover]:
    """The home, if it exists and no account owns it; otherwise None. Raises FileError.

    Args:
        files: the guest's files.
        home: guest path.
        has_account: whether an account has that number.
    """
    found = files.stat(home, beneath=home) if files.privileged else None
    if found is None or not stat.S_ISDIR(found.st_mode) or found.st_uid == 0 or has_account(found.st_uid):
        return None
    return Leftover(home, uid=found.st_uid, gid=found.st_gid, mode=stat.S_IMODE(found.st_mode))


def take_over(files: Files, left: Leftover, owner: Owner, *, mode: Optional[int], wait: Deadline) -> list[str]:
    """Give the home, and in it what belonged to its former owner, to an account; add what it lacks of /etc/skel.

    It may be repeated after a crash.

    Args:
        files: the guest's files.
        left: the home.
        owner: the account.
        mode: permission bits of the home; None keeps its own, without those that sshd does not accept.
        wait: how long it may take.

    Returns:
        What keeps its owner, each with the reason.

    Raises:
        FileError: the home itself could not be given.
    """
    wanted = mode if mode is not None else left.mode & 0o755 | 0o700
    files.mkdir_silently(left.path, mode=wanted, owner=owner, beneath=left.path)
    skipped = _Walk(files, left, owner, wait).give() if owner.uid != left.uid else []
    copy_skeleton(files, SKELETON, left.path, owner, left.path)
    return skipped


def named(skipped: list[str]) -> str:
    """The first of the skipped files, and how many more there are."""
    more = len(skipped) - _MOST_NAMED
    return ", ".join(skipped[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


class _Walk:
    """One walk through a leftover home."""

    def __init__(self, files: Files, left: Leftover, owner: Owner, wait: Deadline) -> None:
        self._files = files
        self._left = left
        self._owner = owner
        self._wait = wait
        self._top: Optional[tuple[int, str]] = None
        self._pending = [left.path]
        self._skipped: list[str] = []

    def give(self) -> list[str]:
        """Walk through all folders; what was skipped."""
        while self._pending:
            path = self._pending.pop()
            try:
                with self._files.parent(f"{path}/-", beneath=self._left.path) as (folder, _):
                    self._top = self._top or (os.fstat(folder).st_dev, mount_of(folder))
                    for name in sorted(os.listdir(folder)):
                        if self._wait.remaining() <= 0:
                            return [*self._skipped, f"{path}/{name} and what follows (no time is left)"]
                        self._visit(folder, name, f"{path}/{name}")
            except OSError as error:
                self._skip(path, error.strerror)
        return self._skipped

    def _visit(self, folder: int, name: str, path: str) -> None:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                if self._top is not None and found.st_dev != self._top[0]:
                    self._skip(path, _ELSEWHERE)
                    return
                self._pending.append(path)
            if not self._is_kept(found, path):
                self._change_owner(folder, name, path, found)
        except FileNotFoundError:
            return
        except OSError as error:
            self._skip(path, error.strerror)

    def _is_kept(self, found: os.stat_result, path: str) -> bool:
        """Whether a file keeps its owner. Unless it already belongs to the new account, the reason is noted."""
        if found.st_uid == self._owner.uid:  # given before a crash
            return True
        if found.st_uid != self._left.uid:
            self._skip(path, f"it belongs to uid {found.st_uid}")
        elif not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
            self._skip(path, "it has a second hard link")
        elif stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode):
            self._skip(path, "it is a device")
        else:
            return False
        return True

    def _change_owner(self, folder: int, name: str, path: str, found: os.stat_result) -> None:
        gid = self._owner.gid if found.st_gid == self._left.gid else found.st_gid
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            os.chown(name, self._owner.uid, gid, dir_fd=folder, follow_symlinks=False)
            return
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
        try:
            now = os.fstat(descriptor)
            same = os.path.samestat(now, found) and (now.st_uid, now.st_nlink) == (found.st_uid, found.st_nlink)
            # On an overlay the files of one file system have several device numbers, so the mount is compared.
            if self._top is not None and now.st_dev != self._top[0] and mount_of(descriptor) != self._top[1]:
                self._skip(path, _ELSEWHERE)
            elif same:
                os.fchown(descriptor, self._owner.uid, gid)
            else:
                self._skip(path, "it has changed in the meantime")
        finally:
            os.close(descriptor)

    def _skip(self, path: str, why: Optional[str]) -> None:
        shown = path.encode("unicode_escape", "surrogateescape").decode()
        self._skipped.append(f"{shown} ({why})")


def mount_of(descriptor: int) -> str:
    """The number of the mount that an open file is on; "" if /proc does not say."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            return next((line for line in lines if line.startswith("mnt_id:")), "")
    except OSError:
        return ""
