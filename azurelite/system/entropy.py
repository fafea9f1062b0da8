"""Adding bytes to the kernel's entropy pool, which can only improve it."""

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
_MOST = 65536  # bytes used at most


def mix_in(
    system: System,
    seed: bytes,
    *,
    credit: bool,
    device: str = DEVICE,
    ioctl: Callable[[int, int, bytes], object] = fcntl.ioctl,
) -> None:
    """Add bytes to the entropy pool of the running system, and record it; a dry run only records it.

    Args:
        system: the guest; its root is the running system's.
        seed: the bytes.
        credit: let the kernel count them as entropy, so that programs no longer wait for randomness.
        device: the kernel's device.
        ioctl: the system's call.

    Raises:
        MachineError: the kernel rejected them.
    """
    seed = seed[:_MOST]
    said = "credited as entropy" if credit else "mixed in"
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
            with contextlib.suppress(OSError):  # older kernels reseed later by themselves
                ioctl(descriptor, _RNDRESEEDCRNG, b"")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MachineError(f"cannot add random bytes to {device}: {error.strerror}") from error
