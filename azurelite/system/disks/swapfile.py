"""A swap file: made whole or not at all, readable by root alone from its first byte, without holes.

It touches the one file it is given. Swap that others set up is not looked at and never switched off.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from typing import Literal, Optional

from azurelite.errors import FileError
from azurelite.system.changes import Change
from azurelite.system.disks.mounts import mount_table
from azurelite.system.explain import beside, explained, replacing, write_all
from azurelite.system.machine import System
from azurelite.system.root import Root

MIB = 1024 * 1024
_MAGIC = b"SWAPSPACE2"
_PAGES = (4096, 8192, 16384, 65536)  # bytes, of the processors that Azure has or may have
_GET_FLAGS, _SET_FLAGS, _NOCOW = 0x80086601, 0x40086602, 0x00800000  # linux/fs.h
_SECONDS = 120.0
_SPARE = 64 * MIB  # bytes that stay free on the file system
_REMEDY = "install util-linux, or BusyBox with it"


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
        """What lies there: nothing, a swap file that root alone may write, or something else. Raises FileError."""
        found = self.system.files.stat(self.path)
        if found is None:
            return "absent"
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022:
            return "other"
        if self.system.files.privileged and found.st_uid != 0:  # somebody laid it there, to read others' memory
            return "other"
        with explained("read", self.path):
            head = self.system.root.read(self.path, limit=max(_PAGES)) or b""
        return "swap" if any(head[page - len(_MAGIC) : page] == _MAGIC for page in _PAGES) else "other"

    def size(self) -> int:
        """Its size in bytes; 0 where it is not there. Raises FileError."""
        found = self.system.files.stat(self.path)
        return found.st_size if found is not None else 0

    def is_on(self) -> bool:
        """The running system swaps to it."""
        if not self.system.root.is_host:
            return False
        try:
            table = self.system.root.read("/proc/swaps", limit=MIB) or b""
            resolved = self.system.root.host_path(self.path)
        except OSError:
            return False
        names = [line.split()[0] for line in table.splitlines()[1:] if line.split()]
        texts = {os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda m: bytes([int(m[1], 8)]), name)) for name in names}
        return bool(texts & {self.path, resolved})

    def free(self) -> int:
        """Bytes that a file at the path may have at most; its folder, or the nearest one there is, decides.

        Raises:
            FileError: in the system's words.
        """
        folder = os.path.dirname(self.path)
        while folder != "/" and self.system.files.stat(folder) is None:
            folder = os.path.dirname(folder)
        with explained("measure the free space of", folder):
            found = os.statvfs(self.system.root.host_path(folder))
        return max(0, found.f_bavail * found.f_frsize - _SPARE)

    def make(self, size: int) -> None:
        """Make it. A run that is cut off leaves nothing under its name.

        Args:
            size: bytes, a multiple of 1 MiB.

        Raises:
            FileError: no space, read-only, or others may write into its folder.
            CommandError: mkswap is not installed, or failed.
        """
        self.system.commands.need("mkswap", remedy=_REMEDY)
        self._make_folder()
        self.system.journal.record(Change("swap", self.path, f"a swap file of {size // MIB} MiB, mode 0600"))
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
        """Swap to it, where the running system does not yet; True when it had to be told.

        Args:
            priority: 0 to 32767; the kernel gives a low one where it is left out.

        Raises:
            CommandError: swapon is not installed, or the kernel will not take the file.
        """
        if not self.system.root.is_host or self.is_on():
            return False
        self.system.commands.need("swapon", remedy=_REMEDY)
        words = ["-p", str(priority)] if priority is not None else []
        self.system.perform(Change("swap", self.path, "swap to it"), ["swapon", *words, self.path], timeout=_SECONDS)
        return True

    def remove(self) -> None:
        """Take away what `make` made and nobody swaps to. Raises FileError."""
        if not self.system.dry_run:
            self.system.files.remove(self.path)

    def _make_folder(self) -> None:
        """The folder, in which only root may put another file into the place of ours while mkswap works on it."""
        folder = os.path.dirname(self.path)
        found = self.system.files.stat(folder)
        if found is None:
            self.system.files.mkdirs(folder)
        elif self.system.files.privileged and (found.st_uid != 0 or (found.st_mode & 0o1022) in (0o2, 0o20, 0o22)):
            raise FileError(f"others than root may write into {folder}: choose another path for the swap file")

    def _fill(self, descriptor: int, size: int) -> None:
        """Give it all its blocks. Only on ext4 may they be given unwritten; elsewhere the kernel calls that holes."""
        if _kind_of(descriptor) == "ext4":
            os.posix_fallocate(descriptor, 0, size)
            return
        with contextlib.suppress(
            OSError
        ):  # btrfs takes no swap file that it may copy on write; others know no such flag
            buffer = bytearray(8)
            fcntl.ioctl(descriptor, _GET_FLAGS, buffer)
            flags = int.from_bytes(buffer[:4], "little") | _NOCOW
            fcntl.ioctl(descriptor, _SET_FLAGS, bytearray(flags.to_bytes(4, "little") + bytes(4)))
        limit = self.system.commands.limit
        zeros = bytes(MIB)
        for _ in range(size // MIB):
            if limit is not None and limit.remaining() <= 0:
                raise OSError(errno.ETIMEDOUT, "the time for this run is over")
            write_all(descriptor, zeros)


def _kind_of(descriptor: int) -> str:
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((row.kind for row in mount_table(Root("/")) if row.number == number), "")
