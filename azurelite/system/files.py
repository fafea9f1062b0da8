"""Reading and changing files below a root: atomically, only if different, recorded, never outside the root.

A file is written under a temporary name with its final mode and owner, synced, renamed, and the
folder synced: a power cut leaves the old file or the new one. A dry run keeps the new content in
memory, so that later steps of the same run read what they would have found.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any, Iterator, Optional

from azurelite.errors import FileError
from azurelite.layout import STATE_DIR
from azurelite.system.accounts.users import ROOT_OWNER, Owner
from azurelite.system.changes import Change, Journal, facts_of_file
from azurelite.system.durability import Durability
from azurelite.system.explain import beside, explained, instead_of, replacing, write_all
from azurelite.system.root import Root

LABEL = "security.selinux"  # an extended attribute
SELINUX = "/sys/fs/selinux/enforce"  # exists where the running kernel uses labels
READ_LIMIT = 16 * 1024 * 1024  # bytes; nothing that azurelite reads on a machine is larger
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class Files:
    """The files of one guest.

    Args:
        root: where the guest's `/` is.
        journal: receives a record of each change.
        dry_run: change nothing, keep the results in memory.
        privileged: the process may change the owner of files; otherwise it owns all that it writes.

    Attributes:
        created: new files and folders that SELinux's policy may want to have another label than their folder.
    """

    def __init__(self, root: Root, journal: Journal, *, dry_run: bool, privileged: bool) -> None:
        self.root = root
        self.journal = journal
        self.dry_run = dry_run
        self.privileged = privileged
        self.durability = Durability()
        self.created: list[str] = []
        self._wished: dict[str, Optional[bytes]] = {}  # None: it would be deleted
        self._wished_folders: dict[str, int] = {}
        self._wished_links: dict[str, str] = {}
        self._own_folders: set[tuple[str, int]] = set()  # that were created or checked
        self._secret = False
        self._secret_files: set[str] = set()  # whose content was not shown, and so is not later either

    def read(self, path: str, *, beneath: Optional[str] = None) -> Optional[bytes]:
        """The content of a guest file, or None if there is none. Raises FileError."""
        if path in self._wished or self._gone(path):
            return self._wished.get(path)
        with explained("read", path):
            data = self.root.read(path, limit=READ_LIMIT + 1, beneath=beneath)
        if data is not None and len(data) > READ_LIMIT:
            raise FileError(f"cannot read {path}: it is larger than {READ_LIMIT} bytes")
        return data

    def text(self, path: str, *, beneath: Optional[str] = None) -> Optional[str]:
        """The file as text, or None if there is none. `rewrite_text` restores bytes that are not UTF-8.

        Raises:
            FileError: it exists but cannot be read.
        """
        data = self.read(path, beneath=beneath)
        return None if data is None else data.decode(errors="surrogateescape")

    def lines(self, path: str) -> list[str]:
        """The lines of a text file without line breaks; [] if there is no file. Raises FileError.

        Only a line feed ends a line. Python's `splitlines` also splits at characters that may be inside a line,
        for example in /etc/passwd.
        """
        lines = (self.text(path) or "").split("\n")
        return lines[:-1] if lines[-1] == "" else lines

    def stat(self, path: str, *, beneath: Optional[str] = None) -> Optional[os.stat_result]:
        """The status of `path` on the disk, or None, also if a dry run would have removed it. Raises FileError."""
        if self._gone(path):
            return None
        with explained("look at", path):
            return self.root.stat(path, beneath=beneath)

    def exists(self, path: str, *, beneath: Optional[str] = None) -> bool:
        """Whether `path` exists, or in a dry run would exist. Raises FileError."""
        if path in self._wished:
            return self._wished[path] is not None
        return path in self._wished_folders or self.stat(path, beneath=beneath) is not None

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted, including those that a dry run would have created. Raises FileError."""
        with explained("look at", folder):
            there = set(self.root.names(folder))
        for path, data in self._wished.items():
            if os.path.dirname(path) == folder:
                (there.discard if data is None else there.add)(os.path.basename(path))
        return sorted(there)

    def is_dir(self, path: str, *, beneath: Optional[str] = None) -> bool:
        """Whether `path` is a folder, or in a dry run would be one."""
        if path in self._wished_folders:
            return True
        found = self.stat(path, beneath=beneath)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def is_executable(self, path: str) -> bool:
        """Whether `path` is a regular file with an execute bit."""
        try:
            found = self.root.stat(path)
        except OSError:  # a loop of links: no program
            return False
        return found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)

    def write(
        self,
        path: str,
        data: bytes,
        *,
        mode: int,
        owner: Owner = ROOT_OWNER,
        beneath: Optional[str] = None,
        secret: bool = False,
        shared: bool = False,
    ) -> bool:
        """Write `data` with that mode and owner, unless the file is already like that.

        Args:
            path: guest path; its folder must exist.
            data: the whole content.
            mode: permission bits, as 0o644.
            owner: its owner.
            beneath: no link is followed below this folder (see `Root.host_path`).
            secret: the content is a secret, whatever the mode is: the record of the change does not get it.
            shared: others write to this file too: the manifest keeps the lines that are added.

        Returns:
            True if something changed.

        Raises:
            FileError: read-only file system, no space, no folder, a link where none is followed.
        """
        if self._same(path, data, mode=mode, owner=owner, beneath=beneath):
            return False
        contents = self._contents(path, data, mode=mode, beneath=beneath, secret=secret)
        facts: dict[str, Any] = {}
        if self.journal.listener is not None:
            before = self.read(path, beneath=beneath)
            facts = facts_of_file(before, data, secret=secret or self._secret, lines=shared)
        self.journal.record(Change("write", path, _rights(mode, owner), *contents, facts))
        if self.dry_run:
            self._check_folder(path, beneath=beneath)
            self._wished[path] = data
        else:
            self.put(path, data, mode=mode, owner=owner, beneath=beneath)
        return True

    def rewrite(self, path: str, data: bytes, *, mode: int = 0o644, shared: bool = False) -> bool:
        """As `write`, but an existing file keeps its mode and owner. Raises FileError."""
        found = self.stat(path)
        if found is None:
            return self.write(path, data, mode=mode, shared=shared)
        owner = (
            ROOT_OWNER if found.st_uid == 0 == found.st_gid else Owner(str(found.st_uid), found.st_uid, found.st_gid)
        )
        return self.write(path, data, mode=stat.S_IMODE(found.st_mode), owner=owner, shared=shared)

    def rewrite_text(self, path: str, text: str, *, mode: int = 0o644, shared: bool = False) -> bool:
        """As `rewrite`, for a text that may come from `text`. Raises FileError."""
        return self.rewrite(path, text.encode(errors="surrogateescape"), mode=mode, shared=shared)

    def delete(self, path: str) -> bool:
        """Delete the file or link at `path` if there is one; True if it was deleted. Raises FileError."""
        if self._wished.get(path, b"") is None:
            return False
        found = self.stat(path, beneath=path)  # the link itself, not its target
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise FileError(f"{path} is a folder, which azurelite does not delete: remove it by hand")
        if found is None and path not in self._wished:
            return False
        self.journal.record(Change("delete", path, "", *self._contents(path, None, beneath=path)))
        if self.dry_run:
            self._wished[path] = None
            return True
        with explained("remove", path), self.parent(path, beneath=path) as (folder, name):
            os.unlink(name, dir_fd=folder)
            self.durability.note(folder)
        return True

    def rename(self, path: str, new_name: str, *, beneath: str) -> None:
        """Give what is at `path` below `beneath` another, unused name in its folder. Raises FileError."""
        self.journal.record(Change("rename", path, f"to {new_name}"))
        if self.dry_run:
            self._wished[path] = None
            return
        with explained("rename", path), self.parent(path, beneath=beneath) as (folder, name):
            os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=folder)
            self.durability.note(folder)

    def link(self, path: str, target: str) -> bool:
        """Make `path` a symbolic link to `target`, replacing a file or link. Raises FileError."""
        with explained("look at", path):
            if self._wished_links.get(path, self.root.link_target(path)) == target:
                return False
            found = self.root.stat(path, beneath=path)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise FileError(f"{path} is a folder instead of a link to {target}: move it away and run again")
        self.journal.record(Change("link", path, f"to {target}"))
        if self.dry_run:
            self._check_folder(path, beneath=None)
            self._wished_links[path] = target
            return True
        with explained("link", path), self.parent(path, beneath=path) as (folder, name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside(name), dir_fd=folder)
            os.symlink(target, beside(name), dir_fd=folder)
            os.rename(beside(name), name, src_dir_fd=folder, dst_dir_fd=folder)
            self.durability.note(folder)
        return True

    def mkdirs(self, path: str, *, mode: int = 0o755) -> bool:
        """Create a folder and its parents; an existing one stays as it is. Raises FileError."""
        if self.is_dir(path):
            return False
        if os.path.dirname(path) != path:
            self.mkdirs(os.path.dirname(path))
        return self.mkdir(path, mode=mode)

    def mkdir(self, path: str, *, mode: int, owner: Owner = ROOT_OWNER, beneath: Optional[str] = None) -> bool:
        """Create a folder with that mode and owner, or set them on an existing one; its parent must exist.

        Returns:
            True if something changed.

        Raises:
            FileError: a system call failed, or `path` is not a folder.
        """
        if path in self._wished_folders:
            return self._wish_mode(path, mode=mode, owner=owner)
        found = self.stat(path, beneath=beneath)
        if found is None:
            if self.dry_run:
                self._check_folder(path, beneath=beneath)
            self.journal.record(Change("mkdir", path, _rights(mode, owner)))
        elif not stat.S_ISDIR(found.st_mode):
            raise FileError(f"{path} is {instead_of('folder', found)}: remove it and run again")
        elif stat.S_IMODE(found.st_mode) == mode and self._owned(found, owner):
            return False
        else:
            self.journal.record(Change("mode", path, f"{mode:04o}, owner {owner.name}"))
        if self.dry_run:
            self._wished_folders[path] = mode
        else:
            self._make_folder(path, mode=mode, owner=owner, beneath=beneath)
        return True

    @contextlib.contextmanager
    def all_secret(self) -> Iterator[None]:
        """In this block every content that is written is a secret."""
        before, self._secret = self._secret, True
        try:
            yield
        finally:
            self._secret = before

    def _contents(
        self, path: str, after: Optional[bytes], *, mode: int = 0o644, beneath: Optional[str], secret: bool = False
    ) -> tuple[Optional[bytes], Optional[bytes]]:
        """The content before and after a change if somebody wants it, and (None, None) if it may be secret."""
        if not self.journal.keeps_contents:
            return None, None
        from azurelite.system.contents import LIMIT, is_harmless, is_public

        made = [bits for folder, bits in self._wished_folders.items() if path.startswith(f"{folder}/")]
        public = mode & 0o004 and all(bits & 0o001 for bits in made) and is_public(self.root, path, beneath=beneath)
        secret = secret or self._secret or path in self._secret_files or not public
        with contextlib.suppress(FileError):  # what cannot be read is not shown
            found = None if secret or path in self._wished else self.stat(path, beneath=beneath)
            if not secret and (found is None or found.st_size <= LIMIT):
                before = self.read(path, beneath=beneath)
                if is_harmless(path, before, after):
                    return before, after
        self._secret_files.add(path)
        return None, None

    def _gone(self, path: str) -> bool:
        """Whether a dry run would have deleted or renamed it, or the link that its folder is."""
        gone = [there for there, data in self._wished.items() if data is None]
        return any(path == there or path.startswith(f"{there}/") for there in gone)

    def expect_file(self, path: str, data: bytes) -> None:
        """In a dry run: treat this file of azurelite's own as existing."""
        self._wished[path] = data

    def expect_folder(self, path: str, *, mode: int) -> None:
        """In a dry run: treat this folder as existing."""
        self._wished_folders[path] = mode

    def mkdir_silently(self, path: str, *, mode: int, owner: Owner, beneath: Optional[str] = None) -> None:
        """Create a folder without a record, as part of a larger recorded change. Raises FileError."""
        self._make_folder(path, mode=mode, owner=owner, beneath=beneath)

    def put(
        self,
        path: str,
        data: bytes,
        *,
        mode: int,
        owner: Optional[Owner],
        beneath: Optional[str] = None,
        lasting: bool = True,
    ) -> None:
        """Write a file atomically, without comparison and record. Raises FileError.

        With `lasting` it is synced, so that it survives a power cut.
        """
        with explained("write", path), self.parent(path, beneath=beneath) as (folder, name):
            with replacing(folder, name) as descriptor:
                write_all(descriptor, data)
                self._give(descriptor, mode=mode, owner=owner)
                self._label(descriptor, path, folder, name)
                if lasting:
                    os.fsync(descriptor)
            if lasting:
                self.durability.note(folder)

    def remove(self, path: str) -> None:
        """Remove one of azurelite's own files, or a link in its place, if it exists, without a record.

        Raises:
            FileError: it cannot be removed.
        """
        with explained("remove", path):
            try:
                folder, name = self.root.open_parent(path, beneath=path)
            except (FileNotFoundError, NotADirectoryError):
                return
            try:
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return
            finally:
                os.close(folder)

    def append_line(self, path: str, line: str) -> None:
        """Append a line to a file of azurelite's own (0600), without a record. Raises FileError.

        It is synced with the folders that change: at the end of `together`. A line that a power cut left incomplete is
        ended first.
        """
        with explained("write", path), self.parent(path) as (folder, name):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
            try:
                size = os.fstat(descriptor).st_size
                start = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
                write_all(descriptor, start + line.encode() + b"\n")
                self.durability.note(descriptor)
                if size == 0:
                    self.durability.note(folder)
            finally:
                os.close(descriptor)

    def make_own_folder(self, path: str, *, mode: int = 0o700, lasting: bool = True) -> None:
        """Create one of azurelite's own folders and its missing parents, without a record. Raises FileError.

        A folder below azurelite's state folder also makes that one private to root. A dry run treats them as existing.
        """
        if path.startswith(f"{STATE_DIR}/"):
            self.make_own_folder(STATE_DIR, lasting=lasting)
        if (path, mode) in self._own_folders and self.stat(
            path
        ) is not None:  # it may have been removed, or hidden by a mount
            return
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            here = "/" + "/".join(parts[:depth])
            found = self.stat(here)
            if self.dry_run:
                if found is None:
                    self._wished_folders.setdefault(here, mode if depth == len(parts) else 0o755)
                continue
            last = depth == len(parts)
            if found is None or (last and stat.S_IMODE(found.st_mode) != mode):
                self._make_folder(here, mode=mode if last else 0o755, owner=None, beneath=None, lasting=lasting)
        self._own_folders.add((path, mode))

    def _wish_mode(self, path: str, *, mode: int, owner: Owner) -> bool:
        if self._wished_folders[path] == mode:
            return False
        self._wished_folders[path] = mode
        self.journal.record(Change("mode", path, f"{mode:04o}, owner {owner.name}"))
        return True

    def _same(self, path: str, data: bytes, *, mode: int, owner: Owner, beneath: Optional[str]) -> bool:
        if path in self._wished:
            return self._wished[path] == data
        found = self.stat(path, beneath=beneath)
        if found is None:
            return False
        if not stat.S_ISREG(found.st_mode):
            raise FileError(f"{path} is {instead_of('regular file', found)}: remove it and run again")
        same_rights = stat.S_IMODE(found.st_mode) == mode and self._owned(found, owner)
        return same_rights and self.read(path, beneath=beneath) == data

    def _owned(self, found: os.stat_result, owner: Owner) -> bool:
        return not self.privileged or (found.st_uid, found.st_gid) == (owner.uid, owner.gid)

    def _check_folder(self, path: str, *, beneath: Optional[str]) -> None:
        if os.path.dirname(path) not in self._wished_folders:
            with explained("write", path), self.parent(path, beneath=beneath):
                pass

    def _make_folder(
        self, path: str, *, mode: int, owner: Optional[Owner], beneath: Optional[str], lasting: bool = True
    ) -> None:
        with explained("create folder", path), self.parent(path, beneath=beneath) as (parent, name):
            new = True
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                new = False
            descriptor = os.open(name, _DIR_FLAGS, dir_fd=parent)
            try:
                self._give(descriptor, mode=mode, owner=owner)
                if new:
                    self._label(descriptor, path, parent, None)
            finally:
                os.close(descriptor)
            if lasting:
                self.durability.note(parent)

    def _give(self, descriptor: int, *, mode: int, owner: Optional[Owner]) -> None:
        if owner is not None and self.privileged:
            os.fchown(descriptor, owner.uid, owner.gid)
        os.fchmod(descriptor, mode)  # after chown, which clears set-id bits

    def open_shared(self, path: str) -> int:
        """Open a file that other programs lock (0600 if it is new), for reading and writing. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with self.parent(path) as (folder, name):
            return os.open(name, flags, 0o600, dir_fd=folder)

    def _label(self, descriptor: int, path: str, folder: int, replaced: Optional[str]) -> None:
        """Give a new file the SELinux label of the file of that name that it replaces, else of its folder.

        A kernel with SELinux gives the folder's label itself, or one by its rules. Without labels this does nothing.
        """
        label = _label_of(folder)
        if label is None:
            return
        old = None
        if replaced is not None:
            with contextlib.suppress(OSError):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                before = os.open(replaced, flags, dir_fd=folder)
                try:
                    old = _label_of(before)
                finally:
                    os.close(before)
        if old is None:
            self.created.append(path)
            if self.root.is_host and os.path.exists(SELINUX):
                return
        with contextlib.suppress(OSError):  # a policy may forbid it
            os.setxattr(descriptor, LABEL, old or label)

    @contextlib.contextmanager
    def parent(self, path: str, *, beneath: Optional[str] = None) -> Iterator[tuple[int, str]]:
        """An open descriptor of the folder of `path`, and the last name of the path. Raises OSError."""
        folder, name = self.root.open_parent(path, beneath=beneath)
        try:
            yield folder, name
        finally:
            os.close(folder)


def _label_of(descriptor: int) -> Optional[bytes]:
    try:
        return os.getxattr(descriptor, LABEL)
    except (OSError, AttributeError):  # no label, or a system without extended attributes
        return None


def _rights(mode: int, owner: Owner) -> str:
    """Mode and owner for the record of a change; root is not mentioned."""
    return f"{mode:04o}" if owner.name == ROOT_OWNER.name else f"{mode:04o}, owner {owner.name}"
