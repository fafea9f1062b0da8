"""`swap`: create a swap file on a permanent disk, and enable it now and at every boot by /etc/fstab.

Swap of the image or of an administrator is never changed, and an existing swap file is never recreated. For swap on
the temporary disk see `resource_disk`.
"""

from __future__ import annotations

import re
from typing import Optional, Union

from azurelite.config.load import Frequency
from azurelite.config.sizes import MIB, check_size
from azurelite.errors import CommandError, HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.disks.fstab import Entry, Fstab
from azurelite.system.disks.swapfile import SwapFile

SUMMARY = "create and enable a swap file"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_AUTO = "auto"
_AUTO_LEAST, _AUTO_MOST = 1024 * MIB, 4096 * MIB
_AUTO_SHARE = 4  # at most a quarter of the free space


class Options(Record):
    """Options of `swap`.

    Attributes:
        path: path of the swap file; its folder is created if missing.
        size: for example "2G" or in bytes; 0: no swap file. "auto": the size of the memory, but at least 1 GiB, at
            most 4 GiB, and never more than a quarter of the free space.
        max_size: the maximum for "auto", instead of 4 GiB.
        priority: from 0 to 32767, the highest is used first; chosen by the kernel when left out.
    """

    path: str = "/swapfile"
    size: Union[int, str] = _AUTO
    max_size: Optional[Union[int, str]] = None
    priority: Optional[int] = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(/[^/\x00-\x1f\x7f]+)+", self.path) or {".", ".."} & set(self.path.split("/")):
            raise ValueError("path must be the absolute path of a file, such as /swapfile")
        if self.size != _AUTO:
            check_size("size", self.size)
        if self.max_size is not None:
            check_size("max_size", self.max_size)
        if self.priority is not None and not 0 <= self.priority <= 32767:
            raise ValueError("priority must be from 0 to 32767")


def apply(ctx: Context, options: Options) -> None:
    """Create the file if it is missing, enable it, and add it to /etc/fstab.

    Raises:
        HandlerError: the path is another file, there is too little space, or the amount of memory is unknown.
        MachineError: the file could not be created, or the kernel refused it; then a new file is removed again.
    """
    if options.size != _AUTO and not check_size("size", options.size):
        return
    file = SwapFile(ctx.system, options.path)
    fstab = Fstab(ctx.system)
    state = file.state()
    if state == "other":
        raise HandlerError(f"{options.path} is not a swap file that belongs to root: move it, or change `path`")
    _enter(fstab, options)
    if state == "absent":
        size = _size(ctx, options, file)
        if not size:
            return
        file.make(size)
    elif options.size != _AUTO and file.size() != check_size("size", options.size):
        ctx.note(
            f"{options.path} exists and keeps its size of {file.size() // MIB} MiB: to change it, run "
            f"`swapoff {options.path}`, remove the file, and run azurelite again"
        )
    try:
        file.switch_on(priority=options.priority)
    except CommandError:
        if state == "absent":
            file.remove()
        raise
    fstab.save()


def _enter(fstab: Fstab, options: Options) -> None:
    """Add the line to the table in memory. Raises FileError if /etc/fstab cannot be written."""
    words = "sw,nofail" if options.priority is None else f"sw,nofail,pri={options.priority}"
    entry = Entry(options.path, "none", "swap", words)
    if fstab.foreign(entry) is None:  # an existing line for this file has the same effect
        fstab.ensure(entry)
        fstab.check()


def _size(ctx: Context, options: Options, file: SwapFile) -> int:
    """The size in bytes; 0 if `size` is "auto" and there is too little space."""
    free = file.free()
    if options.size != _AUTO:
        size = check_size("size", options.size)
        if size > free:
            raise HandlerError(f"{size // MIB} MiB for {options.path} are not free: reduce `size`")
        return size
    memory = _memory(ctx)
    most = check_size("max_size", options.max_size) if options.max_size is not None else _AUTO_MOST
    wished = min(max(memory, _AUTO_LEAST), most)
    size = min(wished, free // _AUTO_SHARE) // MIB * MIB
    if size < min(wished, 256 * MIB):
        ctx.note(f"there is too little free space for {options.path}: no swap file is created")
        return 0
    return size


def _memory(ctx: Context) -> int:
    """The memory of the running system, in bytes. Raises HandlerError if it is unknown."""
    text = ctx.system.root.text("/proc/meminfo") if ctx.system.root.is_host else ""
    match = re.search(r"^MemTotal:\s*([0-9]{1,15}) kB", text, re.MULTILINE)
    if match is None:
        raise HandlerError("the amount of memory is unknown: set `size`, for example 2G")
    return int(match[1]) * 1024
