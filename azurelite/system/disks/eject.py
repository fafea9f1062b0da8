"""Ejecting a disc with ioctls: no `eject` program is needed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Callable

from azurelite.errors import MachineError
from azurelite.system.changes import Change
from azurelite.system.machine import System

_CDROMEJECT = 0x5309  # linux/cdrom.h
_CDROM_LOCKDOOR = 0x5329


def eject(device: str, *, ioctl: Callable[[int, int, int], object] = fcntl.ioctl) -> None:
    """Unlock a drive's door and eject the disc.

    Args:
        device: host path of the drive.
        ioctl: the system's call.

    Raises:
        MachineError: no such drive, not a drive, or still in use.
    """
    try:
        # O_NONBLOCK opens a drive without a disc; a plain open would close its tray.
        descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # not every drive has a lock
                ioctl(descriptor, _CDROM_LOCKDOOR, 0)
            ioctl(descriptor, _CDROMEJECT, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MachineError(f"cannot eject {device}: {error.strerror or error}") from error


def eject_disc(system: System, device: str) -> None:
    """Eject the disc in a drive of the running system, and record it; a dry run only records it.

    Args:
        system: the guest.
        device: host path of the drive.

    Raises:
        MachineError: as `eject`.
    """
    system.journal.record(Change("eject", device, ""))
    if system.live:
        eject(device)
