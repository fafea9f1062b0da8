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
from typing import Callable, Optional

from azurelite.clock import Deadline
from azurelite.errors import MachineError

_MOST = 4 * 1024 * 1024  # bytes of an answer
_HEAD = 8  # bytes ahead of an answer that say how long it is
_SLICE = 0.25  # seconds between two looks at the deadline and at the child
_SWEEPS = 5  # looks for what a child has started; it may start more meanwhile


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
    child = _Child(pid)
    try:
        answer = _read(reading, child, deadline)
        if answer is not None:
            child.wait()  # all that is left for it to do is to end
        if answer is None and child.status is None and deadline.remaining() <= 0:
            raise MachineError(f"{what} did not end in time and was killed")
    finally:
        os.close(reading)
        child.end()
    if answer is None:
        raise MachineError(f"{what} ended without an answer ({child.how()})")
    return answer


class _Child:
    """A child process, reaped once."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: Optional[int] = None

    def has_ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def wait(self) -> None:
        if self.status is None:
            _, self.status = os.waitpid(self.pid, 0)

    def end(self) -> None:
        """Kill it with all that it started, if it still runs; whatever it left in the background lives on otherwise."""
        if self.has_ended():
            return
        for _ in range(_SWEEPS):  # its own first: what has no parent any more is nobody's to find
            started = _descendants(self.pid)
            for pid in started:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not started:
                break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def how(self) -> str:
        status = self.status or 0
        return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "it left on its own"


def _descendants(pid: int) -> list[int]:
    """The processes below one, by the kernel's table; none where there is no such table."""
    below: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdecimal():
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as table:
                    state, parent = table.read().rpartition(b")")[2].split()[:2]
                    if state != b"Z":
                        below.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    pending = [pid]
    while pending:
        children = below.get(pending.pop(), [])
        found += children
        pending += children
    return found


def _be_child(work: Callable[[], bytes], writing: int) -> None:
    """The child's whole life; whatever happens, it never returns into the parent's code."""
    try:
        os.setsid()
        answer = work()
        sys.stdout.flush()
        sys.stderr.flush()
        view = memoryview(len(answer).to_bytes(_HEAD, "big") + answer)
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def _read(reading: int, child: _Child, deadline: Deadline) -> Optional[bytes]:
    """The whole answer, or None. Nobody waits for the pipe's end, for what the child left running may hold it open."""
    got = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while deadline.remaining() > 0:
            ended = child.has_ended()  # looked at first: all that it wrote is in the pipe then
            if not selector.select(0 if ended else min(_SLICE, deadline.remaining())):
                if ended:
                    return None
                continue
            chunk = os.read(reading, 65536)
            got += chunk
            length = int.from_bytes(got[:_HEAD], "big") if len(got) >= _HEAD else _MOST
            if len(got) >= _HEAD + length and length <= _MOST:
                return bytes(got[_HEAD : _HEAD + length])
            if not chunk or len(got) > _HEAD + _MOST:
                return None
    return None
