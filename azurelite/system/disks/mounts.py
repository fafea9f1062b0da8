"""The kernel's mount table, the discs in it, and temporary read-only mounts of a disc.

The mount table is `/proc/self/mountinfo` (proc(5)). A space, tab, line feed or backslash in a name is written there
as three octal digits.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Iterator, Optional

from azurelite.errors import CommandError
from azurelite.layout import RUN_DIR
from azurelite.record import Record
from azurelite.system.explain import explained
from azurelite.system.process import Commands
from azurelite.system.root import Root

_TABLE = "/proc/self/mountinfo"
_TABLE_CAP = 4 * 1024 * 1024
_KINDS = ("udf", "iso9660")
_ESCAPE = rb"\\([0-3][0-7]{2})"
_PATIENCE = 20.0  # seconds for `mount`, which may load a module or wait for a drive to spin up


class MountedDisc(Record):
    """A disc in the mount table.

    Attributes:
        device: as in the table; a guest path.
        folder: the guest path of its mount point.
        kind: "udf" or "iso9660".
    """

    device: str
    folder: str
    kind: str


class Mounted(Record):
    """A row of the mount table.

    Attributes:
        number: "major:minor" of the device; btrfs and file systems without a device have an artificial one.
        inside: which folder of the file system is mounted; "/" is all of it.
        folder: the guest path of the mount point.
        options: the options of this mount, as ("rw", "relatime").
        kind: the type of the file system.
        source: the device as it was passed to `mount`.
    """

    number: str
    inside: str
    folder: str
    options: tuple[str, ...]
    kind: str
    source: str


def mounted_discs(root: Root) -> list[MountedDisc]:
    """The mounted UDF and ISO 9660 discs in mount order; none if the mount table cannot be read."""
    return [MountedDisc(row.source, row.folder, row.kind) for row in _rows(root) if row.kind in _KINDS]


def mounted_on(root: Root, folder: str) -> Optional[Mounted]:
    """The last mount at a mount point, or at the target of a link to one, or None."""
    try:
        resolved = root.host_path(folder)[len(root.path.rstrip("/")) :]
    except OSError:
        resolved = folder
    return next((row for row in reversed(mount_table(root)) if row.folder in (folder, resolved)), None)


def mount_table(root: Root) -> list[Mounted]:
    """All mounts in mount order; none if the mount table cannot be read."""
    try:
        table = root.read(_TABLE, limit=_TABLE_CAP) or b""
    except OSError:
        return []
    found = []
    for line in table.split(b"\n"):
        fields = line.split(b" ")
        if len(fields) < 10 or b"-" not in fields[6:-3]:
            continue
        behind = fields.index(b"-", 6) + 1  # after any number of optional fields
        words = [unescaped(fields[i]) for i in (3, 4, 5, behind, behind + 1)]
        number = fields[2].decode("ascii", "replace")
        found.append(Mounted(number, words[0], words[1], tuple(words[2].split(",")), words[3], words[4]))
    return found


def _rows(root: Root) -> list[Mounted]:
    """The visible mount of each mount point (the last one), if it is a whole file system."""
    shown: dict[str, Mounted] = {}
    for row in mount_table(root):
        shown.pop(row.folder, None)
        shown[row.folder] = row
    return [row for row in shown.values() if row.inside == "/"]  # a bind mount of a folder shows another root


def unescaped(field: bytes) -> str:
    """A name from /proc/self/mountinfo, /proc/swaps or /etc/fstab, which escape the same characters."""
    return re.sub(_ESCAPE, lambda match: bytes([int(match[1], 8)]), field).decode(errors="surrogateescape")


class Mounts:
    """Mounts discs of the running system, each for the duration of a `with` block.

    Args:
        commands: finds and runs `mount` and `umount`.
        folder: host path of the folder for the mount points.
    """

    def __init__(self, commands: Commands, *, folder: str = RUN_DIR) -> None:
        self._commands = commands
        self._folder = folder

    @contextlib.contextmanager
    def read_only(self, device: str) -> Iterator[str]:
        """Mount a disc on a new private folder; unmount it and remove the folder at the end, also after an error.

        Args:
            device: host path of the device.

        Yields:
            The host path of the disc's root folder.

        Raises:
            CommandError: the kernel cannot mount or unmount it.
            FileError: the folder cannot be created.
        """
        place = self._make_place()
        mounted = False
        try:
            options = ["-t", ",".join(_KINDS), "-o", "ro,nosuid,nodev,noexec"]
            self._commands.run(["mount", *options, device, place], timeout=_PATIENCE)
            mounted = True
            yield place
        finally:
            try:
                if mounted or os.path.ismount(place):  # a killed `mount` may have succeeded
                    self._unmount(place)
            finally:
                with contextlib.suppress(OSError):  # fails only if it is still mounted, which was reported
                    os.rmdir(place)

    def _make_place(self) -> str:
        from azurelite.system.scratch import new_folder  # on most machines the disc is mounted, or read unmounted

        with explained("create a folder in", self._folder):
            os.makedirs(self._folder, mode=0o755, exist_ok=True)
        return new_folder([self._folder])

    def _unmount(self, place: str) -> None:
        try:
            self._commands.run(["umount", place], timeout=_PATIENCE)
        except CommandError:  # in use: detach it now, the kernel unmounts it when it is no longer used
            self._commands.run(["umount", "-l", place], timeout=_PATIENCE)
