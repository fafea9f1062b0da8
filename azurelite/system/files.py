"""Reading and changing files below a root: atomic, compared first, recorded, never outside.

A file is written under a temporary name with its final mode and owner, synced, renamed, and the
folder synced: a power cut leaves the old file or the new one. In a dry run the wished-for content is
kept in memory, so that later steps of the same run read what they would have found.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import Callable, Iterator, Optional

from azurelite.clock import Deadline
from azurelite.errors import FileError
from azurelite.system.changes import Change, Journal
from azurelite.system.root import Root

READ_LIMIT = 16 * 1024 * 1024  # bytes; nothing that azurelite reads on a machine is larger
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class Owner:
    """Who a file belongs to. `name` is for people; a dry run may not know the numbers yet (-1)."""

    name: str
    uid: int
    gid: int


ROOT_OWNER = Owner("root", 0, 0)


class Files:
    """The files of one guest.

    Args:
        root: where the guest's `/` is.
        journal: takes a record of each change.
        dry_run: change nothing, remember what would be.
        privileged: the process may give files away; otherwise all files stay its own.
    """

    def __init__(self, root: Root, journal: Journal, *, dry_run: bool, privileged: bool) -> None:
        self.root = root
        self.journal = journal
        self.dry_run = dry_run
        self.privileged = privileged
        self._wished: dict[str, bytes] = {}
        self._wished_folders: dict[str, int] = {}

    def read(self, path: str, *, beneath: Optional[str] = None) -> Optional[bytes]:
        """The content of a guest file, or None where there is none. Raises FileError."""
        if path in self._wished:
            return self._wished[path]
        with _explained("read", path):
            data = self.root.read(path, limit=READ_LIMIT + 1, beneath=beneath)
        if data is not None and len(data) > READ_LIMIT:
            raise FileError(f"cannot read {path}: it has more than {READ_LIMIT} bytes")
        return data

    def stat(self, path: str, *, beneath: Optional[str] = None) -> Optional[os.stat_result]:
        """What lies at `path` on the disk, or None. Raises FileError."""
        with _explained("look at", path):
            return self.root.stat(path, beneath=beneath)

    def is_dir(self, path: str, *, beneath: Optional[str] = None) -> bool:
        """There is a folder at `path`, or in a dry run there would be."""
        if path in self._wished_folders:
            return True
        found = self.stat(path, beneath=beneath)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def is_executable(self, path: str) -> bool:
        """There is a regular file with an execute bit at `path`."""
        try:
            found = self.root.stat(path)
        except OSError:  # links in a circle: there is no program there
            return False
        return found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)

    def write(
        self, path: str, data: bytes, *, mode: int, owner: Owner = ROOT_OWNER, beneath: Optional[str] = None
    ) -> bool:
        """See to it that the file holds exactly `data`, with that mode and owner.

        Args:
            path: guest path; its folder must exist.
            data: the whole content.
            mode: permission bits, as 0o644.
            owner: who it belongs to.
            beneath: no link is followed from this folder on (see `Root.host_path`).

        Returns:
            True when something had to change.

        Raises:
            FileError: read-only file system, no space, no folder, a link where none is followed.
        """
        if self._same(path, data, mode=mode, owner=owner, beneath=beneath):
            return False
        self.journal.record(Change("write", path, f"mode {mode:04o}, owner {owner.name}"))
        if self.dry_run:
            self._check_folder(path, beneath=beneath)
            self._wished[path] = data
        else:
            self.put(path, data, mode=mode, owner=owner, beneath=beneath)
        return True

    def mkdir(self, path: str, *, mode: int, owner: Owner = ROOT_OWNER, beneath: Optional[str] = None) -> bool:
        """See to it that there is a folder with that mode and owner; its parent must exist.

        Returns:
            True when something had to change.

        Raises:
            FileError: the system refused, or something else than a folder is there.
        """
        if path in self._wished_folders:
            return self._wish_mode(path, mode=mode, owner=owner)
        found = self.stat(path, beneath=beneath)
        if found is None:
            if self.dry_run:
                self._check_folder(path, beneath=beneath)
            self.journal.record(Change("mkdir", path, f"mode {mode:04o}, owner {owner.name}"))
        elif not stat.S_ISDIR(found.st_mode):
            what = "a symbolic link, which is not followed" if stat.S_ISLNK(found.st_mode) else "not a folder"
            raise FileError(f"{path} is {what}: remove it, then run again")
        elif stat.S_IMODE(found.st_mode) == mode and self._owned(found, owner):
            return False
        else:
            self.journal.record(Change("mode", path, f"mode {mode:04o}, owner {owner.name}"))
        if self.dry_run:
            self._wished_folders[path] = mode
        else:
            self._make_folder(path, mode=mode, owner=owner, beneath=beneath)
        return True

    def expect_home(self, home: str) -> None:
        """In a dry run: take it that this home will be there, with what is in /etc/skel."""
        self._wished_folders[home] = 0o700
        if self.stat(home, beneath=home) is None:
            for here, there, mode, is_folder in self.skeleton("/etc/skel", home):
                if is_folder:
                    self._wished_folders[there] = mode
                else:
                    self._wished[there] = self.read(here) or b""

    def skeleton(self, source: str, target: str) -> Iterator[tuple[str, str, int, bool]]:
        """What is below a folder, with where a copy of it goes: (from, to, mode, is a folder), folders first."""
        with _explained("look at", source):
            names = self.root.names(source)
        for name in names:
            here, there = f"{source}/{name}", f"{target}/{name}"
            found = self.stat(here, beneath=here)
            if found is not None and stat.S_ISDIR(found.st_mode):
                yield here, there, stat.S_IMODE(found.st_mode), True
                yield from self.skeleton(here, there)
            elif found is not None and stat.S_ISREG(found.st_mode):
                yield here, there, stat.S_IMODE(found.st_mode), False

    def mkdir_silently(self, path: str, *, mode: int, owner: Owner, beneath: Optional[str] = None) -> None:
        """Make a folder, with no record of it: part of a larger change that has its own. Raises FileError."""
        self._make_folder(path, mode=mode, owner=owner, beneath=beneath)

    def put(self, path: str, data: bytes, *, mode: int, owner: Optional[Owner], beneath: Optional[str] = None) -> None:
        """Write a file atomically, with no comparison and no record. Raises FileError."""
        with _explained("write", path), self._parent(path, beneath=beneath) as (folder, name):
            temporary = f".{name}.azurelite"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                try:
                    _write_all(descriptor, data)
                    self._give(descriptor, mode=mode, owner=owner)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)

    def remove(self, path: str) -> None:
        """Remove one of azurelite's own files, with no record; it need not be there. Raises FileError."""
        with _explained("remove", path):
            try:
                folder, name = self.root.open_parent(path)
            except (FileNotFoundError, NotADirectoryError):
                return
            try:
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return
            finally:
                os.close(folder)

    def append_line(self, path: str, line: str) -> None:
        """Add a line to a log-like file of our own (0600), with no record of it. Raises FileError."""
        with _explained("write", path), self._parent(path) as (folder, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
            try:
                _write_all(descriptor, line.encode() + b"\n")
            finally:
                os.close(descriptor)

    def make_own_folder(self, path: str, *, mode: int) -> None:
        """Make one of azurelite's own folders and its missing parents, with no record. Raises FileError."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            here = "/" + "/".join(parts[:depth])
            found = self.stat(here)
            last = depth == len(parts)
            if found is None or (last and stat.S_IMODE(found.st_mode) != mode):
                self._make_folder(here, mode=mode if last else 0o755, owner=None, beneath=None)

    def rewrite_locked(self, path: str, transform: Callable[[bytes], bytes], *, wait: Deadline) -> None:
        """Change a file in place under both kinds of lock, for files that another program shares (0600 if new).

        Args:
            path: guest path.
            transform: from the old content to the new.
            wait: how long another program may hold the locks.

        Raises:
            FileError: the system refused, or the locks were held for too long.
        """
        with _explained("write", path), self._parent(path) as (folder, name):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
            with open(descriptor, "r+b", buffering=0) as shared:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError(errno.EINVAL, "it is not a regular file")
                lock(lambda: fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # cloud-init's kind
                lock(lambda: fcntl.lockf(shared, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)  # the Hyper-V daemon's
                before = shared.read(READ_LIMIT) or b""
                after = transform(before)
                shared.seek(0)
                _write_all(shared.fileno(), after)
                shared.truncate(len(after))
                os.fsync(shared.fileno())

    def _wish_mode(self, path: str, *, mode: int, owner: Owner) -> bool:
        if self._wished_folders[path] == mode:
            return False
        self._wished_folders[path] = mode
        self.journal.record(Change("mode", path, f"mode {mode:04o}, owner {owner.name}"))
        return True

    def _same(self, path: str, data: bytes, *, mode: int, owner: Owner, beneath: Optional[str]) -> bool:
        if path in self._wished:
            return self._wished[path] == data
        found = self.stat(path, beneath=beneath)
        if found is None:
            return False
        if not stat.S_ISREG(found.st_mode):
            what = "a symbolic link, which is not followed" if stat.S_ISLNK(found.st_mode) else "not a regular file"
            raise FileError(f"{path} is {what}: remove it, then run again")
        same_rights = stat.S_IMODE(found.st_mode) == mode and self._owned(found, owner)
        return same_rights and self.read(path, beneath=beneath) == data

    def _owned(self, found: os.stat_result, owner: Owner) -> bool:
        return not self.privileged or (found.st_uid, found.st_gid) == (owner.uid, owner.gid)

    def _check_folder(self, path: str, *, beneath: Optional[str]) -> None:
        if os.path.dirname(path) not in self._wished_folders:
            with _explained("write", path), self._parent(path, beneath=beneath):
                pass

    def _make_folder(self, path: str, *, mode: int, owner: Optional[Owner], beneath: Optional[str]) -> None:
        with _explained("make the folder", path), self._parent(path, beneath=beneath) as (parent, name):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            descriptor = os.open(name, _DIR_FLAGS, dir_fd=parent)
            try:
                self._give(descriptor, mode=mode, owner=owner)
            finally:
                os.close(descriptor)
            os.fsync(parent)

    def _give(self, descriptor: int, *, mode: int, owner: Optional[Owner]) -> None:
        if owner is not None and self.privileged:
            os.fchown(descriptor, owner.uid, owner.gid)
        os.fchmod(descriptor, mode)  # after the owner: giving a file away clears set-id bits

    @contextlib.contextmanager
    def _parent(self, path: str, *, beneath: Optional[str] = None) -> Iterator[tuple[int, str]]:
        folder, name = self.root.open_parent(path, beneath=beneath)
        try:
            yield folder, name
        finally:
            os.close(folder)


def lock(attempt: Callable[[], None], wait: Deadline) -> None:
    """Try for a lock until it is had. Raises BlockingIOError (EAGAIN) when the wait is over."""
    while True:
        try:
            return attempt()
        except (BlockingIOError, PermissionError):
            if wait.remaining() <= 0:
                raise OSError(errno.EAGAIN, "another program holds its lock") from None
            wait.clock.sleep(0.1)


@contextlib.contextmanager
def _explained(verb: str, path: str) -> Iterator[None]:
    """Turn the system's error into a FileError that names the guest path."""
    try:
        yield
    except OSError as error:
        hint = ": run as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
        raise FileError(f"cannot {verb} {path}: {error.strerror or error}{hint}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
