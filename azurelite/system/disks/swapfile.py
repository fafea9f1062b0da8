"""A swap file: created completely or not at all, readable only by root from the start, without holes.

Only this one file is changed. Swap that others set up is neither read nor disabled.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import Literal, Optional

from azurelite.errors import FileError
from azurelite.system.changes import Change
from azurelite.system.disks.mounts import mount_table, unescaped
from azurelite.system.explain import beside, explained, replacing, write_all
from azurelite.system.machine import System
from azurelite.system.root import Root

MIB = 1024 * 1024
_MAGIC = b"SWAPSPACE2"
_PAGES = (4096, 8192, 16384, 65536)  # bytes, of the processors that Azure has or may have
_GET_FLAGS, _SET_FLAGS, _NOCOW = 0x80086601, 0x40086602, 0x00800000  # linux/fs.h
_SECONDS = 120.0
_SPARE = 64 * MIB  # bytes that must stay free on the file system
_REMEDY = "install util-linux, or a BusyBox that has it"


class SwapFile:
    """One swap file of a guest.

    Args:
        system: the guest.
        path: guest path.
    """

    def __init__(self, system: System, path: str) -> None:
        self.system = system
        self.path = path

    def state(self) -> Literal["absent", "swap", "other"]:
        """Whether the path is absent, a swap file that only root may write, or something else. Raises FileError."""
        found = self.system.files.stat(self.path)
        if found is None:
            return "absent"
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022:
            return "other"
        if (
            self.system.files.privileged and found.st_uid != 0
        ):  # a user may have put it there to read the memory of others
            return "other"
        with explained("read", self.path):
            head = self.system.root.read(self.path, limit=max(_PAGES)) or b""
        return "swap" if any(head[page - len(_MAGIC) : page] == _MAGIC for page in _PAGES) else "other"

    def size(self) -> int:
        """Its size in bytes; 0 if it does not exist. Raises FileError."""
        found = self.system.files.stat(self.path)
        return found.st_size if found is not None else 0

    def is_on(self) -> bool:
        """Whether the running system uses it as swap."""
        if not self.system.root.is_host:
            return False
        try:
            table = self.system.root.read("/proc/swaps", limit=MIB) or b""
            resolved = self.system.root.host_path(self.path)
        except OSError:
            return False
        names = [line.split()[0] for line in table.splitlines()[1:] if line.split()]
        return bool({unescaped(name) for name in names} & {self.path, resolved})

    def free(self) -> int:
        """The maximum size in bytes of a file at the path: the free space of its folder or the nearest existing one.

        Raises:
            FileError: the free space cannot be read.
        """
        folder = os.path.dirname(self.path)
        while folder != "/" and self.system.files.stat(folder) is None:
            folder = os.path.dirname(folder)
        with explained("read the free space of", folder):
            found = os.statvfs(self.system.root.host_path(folder))
        return max(0, found.f_bavail * found.f_frsize - _SPARE)

    def make(self, size: int) -> None:
        """Create it. An interrupted run leaves no file of this name.

        Args:
            size: bytes, a multiple of 1 MiB.

        Raises:
            FileError: no space, read-only, or others may write into its folder.
            CommandError: mkswap is not installed, or failed.
        """
        self.system.commands.need("mkswap", remedy=_REMEDY)
        self._make_folder()
        self.system.journal.record(Change("swap", self.path, f"create, {size // MIB} MiB, mode 0600"))
        if self.system.dry_run:
            return
        with explained("write", self.path), self.system.files.parent(self.path) as (folder, name):
            with replacing(folder, name, flags=os.O_RDWR) as descriptor:
                os.fchmod(descriptor, 0o600)  # whatever the umask is
                self._fill(descriptor, size)
                os.fsync(descriptor)
                new = os.path.join(os.path.dirname(self.system.root.host_path(self.path)), beside(name))
                self.system.commands.run(["mkswap", new], timeout=_SECONDS)
            self.system.files.durability.note(folder)

    def switch_on(self, *, priority: Optional[int] = None) -> bool:
        """Enable it as swap unless it is already; True if it was enabled.

        Args:
            priority: 0 to 32767; None lets the kernel choose a low one.

        Raises:
            CommandError: swapon is not installed, or the kernel rejects the file.
        """
        if not self.system.root.is_host or self.is_on():
            return False
        self.system.commands.need("swapon", remedy=_REMEDY)
        words = ["-p", str(priority)] if priority is not None else []
        self.system.perform(Change("swap", self.path, "enable"), ["swapon", *words, self.path], timeout=_SECONDS)
        return True

    def remove(self) -> None:
        """Remove a file that `make` created and that is not in use. Raises FileError."""
        if not self.system.dry_run:
            self.system.files.remove(self.path)

    def _make_folder(self) -> None:
        """Create the folder, or check that only root can replace a file there while mkswap works on it."""
        folder = os.path.dirname(self.path)
        found = self.system.files.stat(folder)
        if found is None:
            self.system.files.mkdirs(folder)
        elif self.system.files.privileged and (found.st_uid != 0 or (found.st_mode & 0o1022) in (0o2, 0o20, 0o22)):
            raise FileError(f"users other than root may write to {folder}: choose another path for the swap file")

    def _fill(self, descriptor: int, size: int) -> None:
        """Allocate all blocks. Only on ext4 may they stay unwritten; elsewhere the kernel treats these as holes."""
        if _kind_of(descriptor) == "ext4":
            os.posix_fallocate(descriptor, 0, size)
            return
        with contextlib.suppress(OSError):  # btrfs rejects a swap file with copy on write; others lack this flag
            buffer = bytearray(8)
            fcntl.ioctl(descriptor, _GET_FLAGS, buffer)
            flags = int.from_bytes(buffer[:4], "little") | _NOCOW
            fcntl.ioctl(descriptor, _SET_FLAGS, bytearray(flags.to_bytes(4, "little") + bytes(4)))
        limit = self.system.commands.limit
        zeros = bytes(MIB)
        for _ in range(size // MIB):
            if limit is not None and limit.remaining() <= 0:
                raise OSError(errno.ETIMEDOUT, "the provisioning deadline has passed")
            write_all(descriptor, zeros)


def _kind_of(descriptor: int) -> str:
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((row.kind for row in mount_table(Root("/")) if row.number == number), "")
