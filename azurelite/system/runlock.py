"""The lock file for one run at a time on a guest: a second run waits for the first, then finds the work done."""

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
    """Hold the lock for one run; a dry run needs none.

    Args:
        system: the guest.
        wait: how long to wait for another run.

    Raises:
        MachineError: the other run did not end before the deadline.
    """
    if system.dry_run:
        yield
        return
    try:
        system.files.make_own_folder(layout.RUN_DIR, mode=0o755, lasting=False)
        descriptor = system.files.open_shared(layout.LOCK)
    except (OSError, FileError) as error:  # the guest is not writable, so two runs cannot harm each other
        LOG.debug("no lock file on this guest: %s", error)
        yield
        return
    try:
        try:
            lock(
                lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
                wait,
                waiting=lambda: system.commands.waiting and system.commands.waiting("another run of azurelite"),
            )
        except OSError as error:
            raise MachineError(
                f"another azurelite run still holds {layout.LOCK}: find it with `fuser {layout.LOCK}`"
            ) from error
        system.lock = descriptor
        yield
    finally:
        system.lock = None
        os.close(descriptor)
