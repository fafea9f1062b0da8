"""Continuing in a background process after Azure has accepted Ready.

An init system starts sshd and the logins when azurelite ends. The steps after `report_ready` may take an hour, and may
start services that wait for azurelite's own service. This module knows processes, not steps.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import Callable, Optional

from azurelite.system.held import fork

LOG = logging.getLogger(__name__)

_THREADS_SECONDS = 2.0  # a thread may still be sending the host name to DHCP, and threads do not survive a fork


def continue_in_background(what: str, begun: Optional[Callable[[], None]] = None) -> None:
    """Fork: return in the new process, which has its own session; end the old one with exit status 0.

    The new process keeps every open file, also the lock file of the run. If the fork fails, log it and return in the
    old process.

    Args:
        what: the work that continues, for the log.
        begun: called in the new process before the old one ends.
    """
    LOG.info("continuing in the background: %s", what)
    limit = time.monotonic() + _THREADS_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, limit - time.monotonic()))
    for stream in (sys.stdout, sys.stderr):  # otherwise both processes would print what is buffered
        with contextlib.suppress(OSError, ValueError):  # the reader has closed it: continue
            if stream is not None:
                stream.flush()
    try:
        reading, writing = os.pipe()
    except OSError as error:
        LOG.warning("cannot fork: %s; continuing in the foreground", error.strerror)
        return
    try:
        pid = fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        LOG.warning("cannot fork: %s; continuing in the foreground", error.strerror)
        return
    if pid == 0:
        os.setsid()  # away from the terminal of the init system, which ends with the old process
        os.close(reading)
        try:
            if begun is not None:
                begun()
        finally:
            os.close(writing)
        return
    os.close(writing)
    os.read(reading, 1)  # end of file: the new process has its own session, so no hang-up signal reaches it
    os._exit(0)
