"""`swap`: a swap file on a disk that stays, switched on now and by /etc/fstab at every boot.

Swap that the image or an administrator set up is never touched, and an existing swap file is never made anew.
For swap on the temporary disk see `resource_disk`.
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

SUMMARY = "make a swap file"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_AUTO = "auto"
_AUTO_LEAST, _AUTO_MOST = 1024 * MIB, 4096 * MIB
_AUTO_SHARE = 4  # of the free space, at most a quarter


class Options(Record):
    """Options of `swap`.

    Attributes:
        path: where the swap file is; its folder is made where it is missing.
        size: as "2G" or in bytes; 0: no swap file. "auto": as much as there is memory, but at least 1 and at most
            4 GiB, and never more than a quarter of the free space.
        max_size: a limit for "auto".
        priority: 0 to 32767, the higher is used first; the kernel's choice when left out.
    """

    path: str = "/swapfile"
    size: Union[int, str] = _AUTO
    max_size: Optional[Union[int, str]] = None
    priority: Optional[int] = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(/[^/\x00-\x1f\x7f]+)+", self.path) or {".", ".."} & set(self.path.split("/")):
            raise ValueError("path must be the absolute path of a file, as /swapfile")
        if self.size != _AUTO:
            check_size("size", self.size)
        if self.max_size is not None:
            check_size("max_size", self.max_size)
        if self.priority is not None and not 0 <= self.priority <= 32767:
            raise ValueError("priority must be from 0 to 32767")


def apply(ctx: Context, options: Options) -> None:
    """Make the file where it is missing, swap to it, and enter it in /etc/fstab.

    Raises:
        HandlerError: something else lies at the path, there is too little space, or the size cannot be told.
        MachineError: the file could not be made, or the kernel will not swap to it; then it is gone again.
    """
    if options.size != _AUTO and not check_size("size", options.size):
        return
    file = SwapFile(ctx.system, options.path)
    fstab = Fstab(ctx.system)
    state = file.state()
    if state == "other":
        raise HandlerError(f"{options.path} is there and is no swap file of root's: move it away, or change `path`")
    _enter(fstab, options)
    if state == "absent":
        size = _size(ctx, options, file)
        if not size:
            return
        file.make(size)
    elif options.size != _AUTO and file.size() != check_size("size", options.size):
        ctx.note(
            f"{options.path} has {file.size() // MIB} MiB already and stays as it is: for another size, "
            f"`swapoff {options.path}`, remove it, and run again"
        )
    try:
        file.switch_on(priority=options.priority)
    except CommandError:
        if state == "absent":
            file.remove()
        raise
    fstab.save()


def _enter(fstab: Fstab, options: Options) -> None:
    """Put the line for it into the table, which is not written yet. Raises FileError where it could not be."""
    words = "sw,nofail" if options.priority is None else f"sw,nofail,pri={options.priority}"
    entry = Entry(options.path, "none", "swap", words)
    if fstab.foreign(entry) is None:  # the image's own line for it is as good
        fstab.ensure(entry)
        fstab.check()


def _size(ctx: Context, options: Options, file: SwapFile) -> int:
    """How large it becomes; 0: there is no room for one that was not asked for by size."""
    free = file.free()
    if options.size != _AUTO:
        size = check_size("size", options.size)
        if size > free:
            raise HandlerError(f"{options.path} would have {size // MIB} MiB, which are not free: make it smaller")
        return size
    memory = _memory(ctx)
    most = check_size("max_size", options.max_size) if options.max_size is not None else _AUTO_MOST
    wished = min(max(memory, _AUTO_LEAST), most)
    size = min(wished, free // _AUTO_SHARE) // MIB * MIB
    if size < min(wished, 256 * MIB):
        ctx.note(f"there is too little space for {options.path}: no swap file is made")
        return 0
    return size


def _memory(ctx: Context) -> int:
    """Bytes of memory of the running system."""
    text = ctx.system.root.text("/proc/meminfo") if ctx.system.root.is_host else ""
    match = re.search(r"^MemTotal:\s*([0-9]{1,15}) kB", text, re.MULTILINE)
    if match is None:
        raise HandlerError("how much memory the VM has cannot be told here: give `size`, as 2G")
    return int(match[1]) * 1024
