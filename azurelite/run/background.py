"""Going on in a process of its own once Azure knows of the VM: whoever waits for this one waits no longer.

An init system that runs azurelite lets sshd and the logins start when it ends. What stands behind `report_ready` may
take an hour, and may start services that wait for this one. Knows processes and nothing of the steps.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import warnings

LOG = logging.getLogger(__name__)

_THREADS_SECONDS = 2.0  # a DHCP client may still be telling the host name; a thread is lost to the new process


def go_on_alone(what: str) -> None:
    """Return in a new process, of its own session; the one that called ends with exit status 0.

    The new process has everything that was open, the lock of the run, too. Where there can be none, the old one goes
    on as before, and that is said.

    Args:
        what: goes on there, for a reader of the log.
    """
    LOG.info("%s goes on in the background", what)
    limit = time.monotonic() + _THREADS_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, limit - time.monotonic()))
    for stream in (sys.stdout, sys.stderr):  # or both would print it
        with contextlib.suppress(OSError, ValueError):  # whoever reads it is gone: no reason to stop
            if stream is not None:
                stream.flush()
    try:
        reading, writing = os.pipe()
    except OSError as error:
        LOG.warning("no process can be made for it, so this one stays: %s", error.strerror)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons' of threads, see above
            pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        LOG.warning("no process can be made for it, so this one stays: %s", error.strerror)
        return
    if pid == 0:
        os.setsid()  # the terminal that the init system may have given us goes with the old process
        os.close(reading)
        os.close(writing)
        return
    os.close(writing)
    os.read(reading, 1)  # its end: the new process has left our session, and no hang-up reaches it
    os._exit(0)
