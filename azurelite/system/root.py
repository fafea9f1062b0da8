"""The root folder of a guest, and resolving guest paths without leaving it.

A symbolic link is resolved as the guest would resolve it: an absolute one starts at the root, `..`
stops there. So a scratch root, a mounted image or an unpacked container can be read and written
without touching anything outside of it. This module only reads; `files.py` writes.

The fastest run ("provisioned earlier") needs it, so it imports only `errno`, `os` and `stat`.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LINKS = 40  # the kernel's limit of links in one path


def check_root(path: str) -> None:
    """Raise ConfigError unless `path`, the value of --root, is a folder."""
    if not os.path.isdir(path):
        from azurelite.errors import ConfigError

        raise ConfigError(f"--root {path or '(empty)'}: not a folder: give the folder that holds the guest's `/`")


class Root:
    """A folder that stands for the guest's `/`.

    Args:
        path: the host path of the folder; "/" is the running system.
    """

    def __init__(self, path: str = "/") -> None:
        self.path = os.path.realpath(path)
        self.is_host = self.path == "/"

    def host_path(self, path: str, *, beneath: str | None = None) -> str:
        """The host path of a guest path, with every link in it resolved below the root.

        Args:
            path: absolute guest path; it need not exist.
            beneath: a folder, as the start of `path`, below which no link is followed: its owner
                could plant one (a user's home).

        Raises:
            OSError: ELOOP for a loop of links.
        """
        resolved = self._resolve(path if beneath is None else beneath, keep_last=beneath is not None)
        if beneath is not None:
            resolved += path[len(beneath) :].rstrip("/")
        return self.path.rstrip("/") + resolved

    def _resolve(self, path: str, *, keep_last: bool) -> str:
        done: list[str] = []
        pending = [part for part in reversed(path.split("/")) if part and part != "."]
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                del done[-1:]
                continue
            here = "/".join(["", *done, part])
            target = None if keep_last and not pending else _link_target(self.path.rstrip("/") + here)
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done = []
            pending.extend(step for step in reversed(target.split("/")) if step and step != ".")
        return "/" + "/".join(done)

    def open_parent(self, path: str, *, beneath: str | None = None) -> tuple[int, str]:
        """Open the folder that contains `path` without following links.

        The path is resolved first, so a link found while opening was planted in between (or is below a
        folder where none is followed): the kernel then returns ELOOP or ENOTDIR.

        Returns:
            A folder descriptor, which the caller closes, and the last name of the path.

        Raises:
            OSError: a system call failed.
        """
        host_path = self.host_path(path, beneath=beneath)
        if host_path.rstrip("/") == self.path.rstrip("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        *folders, name = [part for part in host_path.split("/") if part]
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open("/", flags)
        for folder in folders:
            try:
                deeper = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            except NotADirectoryError as error:
                if _link_target(folder, descriptor) is not None:
                    raise OSError(
                        errno.ELOOP, "a folder of the path is a symbolic link, which is not followed", path
                    ) from error
                raise
            finally:
                os.close(descriptor)
            descriptor = deeper
        return descriptor, name

    def read(self, path: str, *, limit: int, beneath: str | None = None) -> bytes | None:
        """The first `limit` bytes of a regular file (also in sysfs and procfs), or None if there is none.

        Raises:
            OSError: any error except absence (no permission, a link where none is followed, a folder).
        """
        try:
            folder, name = self.open_parent(path, beneath=beneath)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            # O_NONBLOCK: a planted fifo must not block the run.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        finally:
            os.close(folder)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file", path)
            if beneath is not None and found.st_nlink > 1:
                raise OSError(errno.EMLINK, "it has a second hard link, maybe to another user's file", path)
            return b"".join(_chunks(descriptor, limit))
        finally:
            os.close(descriptor)

    def text(self, path: str, *, limit: int = 65536) -> str:
        """The first `limit` bytes of a file as text; "" if it is absent or cannot be read. Never raises."""
        try:
            return (self.read(path, limit=limit) or b"").decode("utf-8", "replace")
        except OSError:  # no permission, or the device of the attribute has just been removed
            return ""

    def stat(self, path: str, *, beneath: str | None = None) -> os.stat_result | None:
        """The status of `path` (of a link's target unless `beneath` forbids it), or None.

        Raises:
            OSError: a loop of links, or a link where none is followed.
        """
        try:
            if beneath is None:
                return os.lstat(self.host_path(path))
            folder, name = self.open_parent(path, beneath=beneath)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        finally:
            os.close(folder)

    def link_target(self, path: str) -> str | None:
        """The target of the link at `path`, or None if it is not a link. Raises OSError: a loop of links."""
        return _link_target(self.host_path(path, beneath=path))

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; [] if there is no such folder."""
        try:
            return sorted(os.listdir(self.host_path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []


def is_plain_path(path: str) -> bool:
    """Tell whether a path is absolute and names a file: no `.`, `..`, empty part, `/` at the end, or NUL."""
    first, *parts = path.split("/")
    return first == "" and bool(parts) and not {"", ".", ".."}.intersection(parts) and "\0" not in path


def _link_target(host_path: str, folder: int | None = None) -> str | None:
    try:
        return os.readlink(host_path, dir_fd=folder)
    except OSError:
        return None


def _chunks(descriptor: int, limit: int) -> Iterator[bytes]:
    while limit > 0:
        chunk = os.read(descriptor, min(limit, 65536))
        if not chunk:
            return
        limit -= len(chunk)
        yield chunk
