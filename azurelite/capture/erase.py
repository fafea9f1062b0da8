"""Removing files and folders below a root: no link is followed, and no file system is left.

What is in a home or in a log folder may have been planted there by its owner. So each folder is opened from its parent,
and what is on another mount stays.
"""

from __future__ import annotations

import os
import stat
from typing import Collection, Iterator

from azurelite.errors import FileError
from azurelite.system.accounts.leftover_homes import mount_of
from azurelite.system.explain import explained
from azurelite.system.root import Root

_DEEPEST = 200  # folders in folders; each costs an open file
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST = 100_000  # files that one look finds


class _Eraser:
    """One removal."""

    def __init__(self, device: int, mount: str) -> None:
        self.device = device
        self.mount = mount
        self.left: list[str] = []

    def remove(self, folder: int, name: str, path: str, depth: int = 0) -> None:
        """Remove one entry of an open folder. Raises OSError."""
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=folder)
            return
        if depth > _DEEPEST:
            self.left.append(f"{path} (too many folders in folders)")
            return
        inner = os.open(name, _FOLDER, dir_fd=folder)
        try:
            if os.fstat(inner).st_dev != self.device or mount_of(inner) != self.mount:
                self.left.append(f"{path} (another file system)")
                return
            self.empty(inner, path, depth + 1)
            if os.listdir(inner):
                return
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=folder)

    def empty(self, folder: int, path: str, depth: int, keep: Collection[str] = ()) -> None:
        """Remove the entries of an open folder."""
        for name in sorted(os.listdir(folder)):
            if name not in keep:
                try:
                    self.remove(folder, name, f"{path}/{name}", depth)
                except OSError as error:
                    self.left.append(f"{path}/{name} ({error.strerror})")


def erase(root: Root, path: str) -> None:
    """Remove the file, link or folder at a guest path; a folder with all that is in it. Raises FileError."""
    with explained("remove", path):
        try:
            folder, name = root.open_parent(path, beneath=path)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            eraser = _Eraser(os.fstat(folder).st_dev, mount_of(folder))
            eraser.remove(folder, name, path)
            os.fsync(folder)
        finally:
            os.close(folder)
    _check(path, eraser.left)


def erase_content(root: Root, path: str, *, keep: Collection[str] = ()) -> None:
    """Remove what is in a folder, except the names to keep; the folder stays. Raises FileError."""
    with explained("remove", path):
        try:
            folder, _ = root.open_parent(f"{path}/-")
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            eraser = _Eraser(os.fstat(folder).st_dev, mount_of(folder))
            eraser.empty(folder, path, 0, keep)
            os.fsync(folder)
        finally:
            os.close(folder)
    _check(path, eraser.left)


def empty_file(root: Root, path: str) -> None:
    """Cut a regular file to no bytes; its owner and mode stay. A file with a second name is removed instead, because
    the other name may be another user's. Raises FileError."""
    with explained("empty", path):
        # The owner of a folder below /var/log may meanwhile have put a link there.
        folder, name = root.open_parent(path, beneath="/".join(path.split("/")[:3]))
        try:
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    os.ftruncate(descriptor, 0)
                elif stat.S_ISREG(found.st_mode):
                    os.unlink(name, dir_fd=folder)
            finally:
                os.close(descriptor)
        finally:
            os.close(folder)


def files_below(root: Root, path: str) -> Iterator[tuple[str, os.stat_result]]:
    """The regular files below a folder with their status; links and other file systems are left out.

    If the folder itself is a link of root's, the paths are those it leads to.
    """
    try:
        path = root.host_path(path)[len(root.path.rstrip("/")) :]
        top = root.stat(path)
    except OSError:
        return
    pending, count = [path], 0
    while pending and top is not None and count < _MOST:
        here = pending.pop()
        for name in _names(root, here, path):
            found = root.stat(f"{here}/{name}", beneath=path)
            count += 1
            if found is not None and stat.S_ISDIR(found.st_mode) and found.st_dev == top.st_dev:
                pending.append(f"{here}/{name}")
            elif found is not None and stat.S_ISREG(found.st_mode):
                yield f"{here}/{name}", found


def _names(root: Root, folder: str, top: str) -> list[str]:
    try:
        descriptor, _ = root.open_parent(f"{folder}/-", beneath=top if folder != top else None)
    except OSError:
        return []
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def _check(path: str, left: list[str]) -> None:
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        shown = ", ".join(one.encode("unicode_escape", "surrogateescape").decode() for one in left[:3])
        raise FileError(f"could not remove all of {path}: {shown}{more} stays: remove it by hand")
