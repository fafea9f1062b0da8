"""Work in a child process: what raises, hangs, exits or crashes there ends there.

It knows nothing of the work: bytes come back, or an error says how the child ended.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import warnings
from typing import Callable

from azurelite.clock import Deadline
from azurelite.errors import MachineError

_MOST = 4 * 1024 * 1024  # bytes of an answer
_SLICE = 1.0  # seconds between two looks at the deadline


def in_child(work: Callable[[], bytes], *, what: str, deadline: Deadline) -> bytes:
    """Do the work in a child process of its own session.

    Args:
        work: what is done there; its answer comes back through a pipe. Nothing else of the child reaches this process.
        what: for messages, as "the plug-in x".
        deadline: the child, and all that it started, is killed then.

    Returns:
        The answer.

    Raises:
        MachineError: no process could be made, too slow, or ended without an answer.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            # Newer Pythons warn where there are threads. A run of azurelite has none by then.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise MachineError(f"{what} cannot be started: {error.strerror}") from error
    if pid == 0:
        _be_child(work, writing)
    os.close(writing)
    try:
        answer, ended = _read(reading, deadline)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # also whatever it left running
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # where it had not made its session yet
        _, status = os.waitpid(pid, 0)
    if not ended:
        raise MachineError(f"{what} did not end in time and was killed")
    if not answer:
        raise MachineError(f"{what} ended without an answer ({_how(status)})")
    return answer[1:]


def _be_child(work: Callable[[], bytes], writing: int) -> None:
    """The child's whole life; whatever happens, it never returns into the parent's code."""
    try:
        os.setsid()
        answer = b"+" + work()
        sys.stdout.flush()
        sys.stderr.flush()
        view = memoryview(answer)
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def _read(reading: int, deadline: Deadline) -> tuple[bytes, bool]:
    """What the child wrote, and whether it came to an end by itself."""
    answer = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while deadline.remaining() > 0:
            if not selector.select(min(_SLICE, deadline.remaining())):
                continue
            chunk = os.read(reading, 65536)
            if not chunk:
                return bytes(answer), True
            answer += chunk
            if len(answer) > _MOST:
                return b"", True
    return b"", False


def _how(status: int) -> str:
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "it left on its own"
