"""One run at a time over a guest: a second one waits for the first, and then finds its work done."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import Iterator

from azurelite import layout
from azurelite.clock import Deadline
from azurelite.errors import FileError, MachineError
from azurelite.system.explain import lock
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def run_lock(system: System, wait: Deadline) -> Iterator[None]:
    """Hold the guest for one run; a dry run needs no lock.

    Args:
        system: the guest.
        wait: how long another run may take.

    Raises:
        MachineError: the other run did not end in time.
    """
    if system.dry_run:
        yield
        return
    try:
        system.files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
        folder, name = system.root.open_parent(layout.LOCK)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        finally:
            os.close(folder)
    except (OSError, FileError) as error:  # a guest that nothing can be written to: no two runs can harm each other
        LOG.debug("no lock on this guest: %s", error)
        yield
        return
    try:
        try:
            lock(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB), wait)
        except OSError as error:
            raise MachineError("another azurelite is at work on this guest and does not end: see which") from error
        yield
    finally:
        os.close(descriptor)
