"""A program that answers on a descriptor of its own, line by line, while all that it prints goes to the log.

It knows nothing of the work: it is given bytes on standard input and gives back lines, or an error says how it ended.
What hangs is killed with everything that it started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
from typing import Callable, Optional, Sequence

from azurelite.clock import Deadline
from azurelite.errors import MachineError

_MOST = 4 * 1024 * 1024  # bytes of an answer
_MOST_PRINTED = 64 * 1024  # bytes that go to the log
_CHUNK = 65536
_SLICE = 0.25  # seconds between two looks at the deadline and at the child
_LAST_SECONDS = 5.0  # for the interpreter to end after its last answer
_SWEEPS = 5  # looks for what a child has started; it may start more meanwhile


class Child:
    """A running program.

    Args:
        words: program and arguments; the number of the descriptor for answers is added as the last one.
        given: what it reads on standard input.
        what: for messages, as "the plug-in x". May be changed as the work goes on.
        say: called with each line that it prints.
        keep: a descriptor that stays open in it, such as a lock's.

    Raises:
        MachineError: it cannot be started.
    """

    def __init__(
        self,
        words: Sequence[str],
        given: bytes,
        *,
        what: str,
        say: Callable[[str], None],
        keep: Optional[int] = None,
    ) -> None:
        self.what = what
        self._say = say
        self._given = memoryview(given)
        self._got = bytearray()
        self._printed = bytearray()
        self._left = _MOST_PRINTED
        self._reading, writing = open_pipe()
        try:
            self._process = subprocess.Popen(
                [*words, str(writing)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=(writing,) if keep is None else (writing, keep), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            os.close(self._reading)
            raise MachineError(f"{what} cannot be started: {error.strerror}") from error
        finally:
            os.close(writing)
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: a pipe was asked for
        assert self._process.stdout is not None  # noqa: S101
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        os.set_blocking(self._stdin, False)
        self._selector.register(self._stdin, selectors.EVENT_WRITE, self._feed)
        self._selector.register(self._stdout, selectors.EVENT_READ, self._hear)
        self._selector.register(self._reading, selectors.EVENT_READ, self._take)

    def answer(self, deadline: Deadline, *, waiting: Optional[Callable[[str], None]] = None) -> bytes:
        """The next line of its answer; `waiting` is called now and then until it comes, with its name.

        Raises:
            MachineError: it was too slow, or ended without one.
        """
        while b"\n" not in self._got:
            if waiting is not None:
                waiting(self.what)
            if deadline.remaining() <= 0:
                raise MachineError(f"{self.what} timed out and was killed")
            ended = self._process.poll() is not None  # asked first: all that it wrote is in the pipes then
            ready = [key for key, _ in self._selector.select(0 if ended else min(_SLICE, deadline.remaining()))]
            for key in ready:
                key.data()
            if ended and self._reading not in [key.fd for key in ready]:
                raise MachineError(f"{self.what} ended without an answer ({self._how()})")
            if len(self._got) > _MOST:
                raise MachineError(f"{self.what} gave an answer that is too long and was killed")
        line, _, rest = bytes(self._got).partition(b"\n")
        self._got = bytearray(rest)
        return line

    def end(self) -> None:
        """Wait for its end after the last answer. Raises MachineError: it answered more, or did not end well.

        Only then is the answer the program's own: code that it runs may have written one before.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_SECONDS)
        if self._reading in [key.fd for key, _ in self._selector.select(0)]:
            self._take()
        if self._process.poll() is None:
            raise MachineError(f"{self.what} still ran {_LAST_SECONDS:.0f} s after its answer: let its threads end")
        if self._process.returncode != 0:
            raise MachineError(f"{self.what} failed after its answer ({self._how()})")
        if self._got:
            raise MachineError(f"{self.what} gave more than one answer: its code wrote to a descriptor it did not open")

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> None:
        if kind is None:  # all that is left for it to do is to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_SECONDS)
        self._kill()
        while self._stdout in [key.fd for key, _ in self._selector.select(0)] and self._left > 0:
            self._hear()
        if self._printed:
            self._say(self._printed.decode(errors="replace"))
        self._selector.close()
        os.close(self._reading)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _feed(self) -> None:
        try:
            self._given = self._given[os.write(self._stdin, self._given[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # it does not read
            self._given = self._given[:0]
        if not self._given:
            self._selector.unregister(self._stdin)
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _take(self) -> None:
        chunk = os.read(self._reading, _CHUNK)
        self._got += chunk
        if not chunk:
            self._selector.unregister(self._reading)

    def _hear(self) -> None:
        """Log what it prints, up to a limit; the rest is read and dropped, so that it does not wait for a reader."""
        chunk = os.read(self._stdout, _CHUNK)
        if not chunk:
            self._selector.unregister(self._stdout)
        elif self._left > 0:
            *lines, rest = (self._printed + chunk).split(b"\n")
            self._printed = bytearray(rest)
            self._left -= len(chunk)
            for line in lines:
                self._say(line.decode(errors="replace"))
            if self._left <= 0:
                self._printed.clear()
                self._say("the rest of its output is left out")

    def _kill(self) -> None:
        """Kill the program and all that it started. If it has already ended, what it left in the background goes on."""
        if self._process.poll() is not None:
            return
        for _ in range(_SWEEPS):  # its own first: a process whose parent is gone can no longer be found
            started = _descendants(self._process.pid)
            for pid in started:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not started:
                break
        self._process.kill()
        self._process.wait()

    def _how(self) -> str:
        code = self._process.returncode
        return f"signal {-code}" if code < 0 else f"exit status {code}"


def open_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are not the standard ones, which may be closed here and are set in the child."""
    made = os.pipe()
    try:
        reading, writing = (upper(end) for end in made)
    finally:
        for end in made:
            os.close(end)
    return reading, writing


def upper(descriptor: int) -> int:
    """A copy of a descriptor that is not a standard one, and that a new program does not inherit."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


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
