"""The root that guest paths lie below, and how a guest path is found without leaving it.

A symbolic link is read as the guest would read it: an absolute one starts again at the root, `..`
stops there. So a scratch root, an image's tree or an unpacked container can be read and written
and nothing outside of it is ever touched. This file only looks; `files.py` changes.

It is read on the shortest path of all ("already done"), so it imports nothing but `os`.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LINKS = 40  # as the kernel's own limit on links in one path


class Root:
    """A folder that stands for the guest's `/`.

    Args:
        path: the host path of the folder; "/" is the running system.
    """

    def __init__(self, path: str = "/") -> None:
        self.path = os.path.realpath(path)
        self.is_host = self.path == "/"

    def host_path(self, path: str, *, beneath: str | None = None) -> str:
        """The host path that the guest path `path` leads to, every link in it resolved below the root.

        Args:
            path: absolute guest path; it need not exist.
            beneath: a folder, as the start of `path`, from which on no link is followed: what lies there
                belongs to somebody who could plant one (a user's home).

        Raises:
            OSError: ELOOP when links lead in a circle.
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
        """Open the folder that holds `path`, refusing links on the way.

        The path is resolved first, so a link met while opening was planted in between (or lies beneath a
        folder where none is followed): the kernel then answers ELOOP or ENOTDIR.

        Returns:
            A folder descriptor, which the caller closes, and the last name of the path.

        Raises:
            OSError: what the system says.
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
                    raise OSError(errno.ELOOP, "a symbolic link on the way is not followed", path) from error
                raise
            finally:
                os.close(descriptor)
            descriptor = deeper
        return descriptor, name

    def read(self, path: str, *, limit: int, beneath: str | None = None) -> bytes | None:
        """The first `limit` bytes of a regular file (sysfs and procfs files too), or None where there is none.

        Raises:
            OSError: anything but absence (no permission, a link where none is followed, a folder).
        """
        try:
            folder, name = self.open_parent(path, beneath=beneath)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            # O_NONBLOCK: a fifo planted under this name must not hang the run.
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
                raise OSError(errno.EMLINK, "it has a second name, maybe for somebody else's file", path)
            return b"".join(_chunks(descriptor, limit))
        finally:
            os.close(descriptor)

    def text(self, path: str, *, limit: int = 65536) -> str:
        """The first `limit` bytes of a file as text; "" where it is absent or cannot be read. Raises nothing."""
        try:
            return (self.read(path, limit=limit) or b"").decode("utf-8", "replace")
        except OSError:  # no permission, or an attribute of a device that has just gone
            return ""

    def stat(self, path: str, *, beneath: str | None = None) -> os.stat_result | None:
        """What lies at `path` (a link's target unless `beneath` forbids following), or None.

        Raises:
            OSError: links in a circle, or a link on the way where none is followed.
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
        """What the link at `path` says, or None where there is no link. Raises OSError: links in a circle."""
        return _link_target(self.host_path(path, beneath=path))

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; an empty list where there is no such folder."""
        try:
            return sorted(os.listdir(self.host_path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []


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
