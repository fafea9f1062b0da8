"""The kernel's pool of randomness: bytes are mixed in, which can only make it better."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from typing import Callable

from azurelite.errors import MachineError
from azurelite.system.changes import Change
from azurelite.system.machine import System

DEVICE = "/dev/urandom"
_RNDADDENTROPY = 0x40085203  # linux/random.h: _IOW('R', 0x03, int[2])
_RNDRESEEDCRNG = 0x5207
_CHUNK = 512  # bytes at a time: Python's ioctl takes no more than 1024
_MOST = 65536  # bytes that are of use


def mix_in(
    system: System,
    seed: bytes,
    *,
    credit: bool,
    device: str = DEVICE,
    ioctl: Callable[[int, int, bytes], object] = fcntl.ioctl,
) -> None:
    """Give bytes to the kernel of the running system, and record it; in a dry run the record is all.

    Args:
        system: the guest; its root is the running system's.
        seed: the bytes.
        credit: the kernel may count on them: whoever waits for randomness waits no longer.
        device: the kernel's device.
        ioctl: the system's call.

    Raises:
        MachineError: the kernel refused.
    """
    seed = seed[:_MOST]
    said = "counted as random" if credit else "mixed in"
    system.journal.record(Change("seed", device, f"{len(seed)} bytes {said}"))
    if not system.live:
        return
    try:
        descriptor = os.open(device, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if credit:
                for start in range(0, len(seed), _CHUNK):
                    part = seed[start : start + _CHUNK]
                    ioctl(descriptor, _RNDADDENTROPY, struct.pack("ii", 8 * len(part), len(part)) + part)
            else:
                os.write(descriptor, seed)
            with contextlib.suppress(OSError):  # older kernels take them in at their own time
                ioctl(descriptor, _RNDRESEEDCRNG, b"")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MachineError(f"the kernel does not take random bytes at {device}: {error.strerror}") from error
