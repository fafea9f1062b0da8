"""A program that is ready to start and waits: between fork and exec, until it is released.

All that can fail or take time happens before the wait. So a caller can store that the program has begun at the last
moment: if the machine goes down earlier, the program has not run, and nothing says that it has.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from typing import Callable, Mapping, NoReturn, Optional, Sequence

from azurelite.clock import Deadline
from azurelite.record import Record
from azurelite.system.child import open_pipe, upper

_RESET = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")  # Python ignores them, and a program would inherit that
_READY = b"\0\0\0\0"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds between two looks at a process


class Identity(Record):
    """The user who runs a program.

    Attributes:
        uid: their number.
        gid: their group.
        groups: their other groups.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Held:
    """A process that becomes the program when it is released, with its own session. It is killed with its children.

    Args:
        program: path of the program.
        argv: its arguments, the first is its name.
        env: its environment.
        stdin: a descriptor for its standard input.
        output: a descriptor for its standard output and standard error.
        cwd: its working directory.
        identity: who runs it; None: the present user.
        orphaned: asked in the new process when the caller was killed before `release`: whether to start all the same.
            The caller may have stored just before that the program has begun.

    Raises:
        OSError: it cannot be prepared: no process left, no such folder, not permitted.
        ValueError: an argument or a variable contains what none can contain.
    """

    def __init__(
        self,
        program: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        stdin: int,
        output: int,
        cwd: str,
        identity: Optional[Identity] = None,
        orphaned: Optional[Callable[[], bool]] = None,
    ) -> None:
        words = [os.fsencode(word) for word in argv]
        variables = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        if any(b"\0" in text for text in (*words, *variables, *variables.values())):
            raise ValueError("embedded null byte")
        self._status: Optional[int] = None
        self._told, telling = open_pipe()
        waiting, self._go = open_pipe()
        self._open = [self._told, self._go]
        try:
            self.pid = fork()
            if self.pid == 0:
                os.close(self._go)  # otherwise it would not notice that the caller has ended
                pipes = (telling, waiting)
                _become(program, words, variables, (stdin, output), cwd, identity, pipes, orphaned)
        except OSError:
            self._close()
            raise
        finally:
            os.close(telling)
            os.close(waiting)
        self._expect(_READY)

    def release(self) -> None:
        """Let it become the program. Raises OSError: it cannot, for example because the file is no program."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b"x")
        self._expect(b"")

    def wait(self, deadline: Deadline) -> Optional[int]:
        """Its exit status, -n for a signal n; None if it runs at the deadline."""
        pause = _FIRST_PAUSE
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            left = deadline.remaining()
            if pid == self.pid:
                self._status = os.waitstatus_to_exitcode(status)
            elif left <= 0:
                break
            else:
                deadline.clock.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
        return self._status

    def kill(self) -> None:
        """Kill it and its children. Without `release` the program has not run."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> None:
        if kind is not None:
            self.kill()  # before the pipe is closed: the process must not think that its caller was killed
        self._close()

    def _expect(self, wanted: bytes) -> None:
        """Read the answer of the process. Raises OSError for any other than `wanted`: it is the number of an error."""
        told = os.read(self._told, len(_READY))
        if told == wanted:
            return
        self.kill()
        self._close()
        code = int.from_bytes(told, "big")
        raise OSError(code, os.strerror(code) if told else "it ended before its start")

    def _close(self) -> None:
        while self._open:
            os.close(self._open.pop())


def fork() -> int:
    """As `os.fork`, without Python's warning of threads, which the new process does not need. Raises OSError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become(
    program: str,
    argv: list[bytes],
    env: Mapping[bytes, bytes],
    streams: tuple[int, int],
    cwd: str,
    identity: Optional[Identity],
    pipes: tuple[int, int],
    orphaned: Optional[Callable[[], bool]],
) -> NoReturn:
    """Prepare, wait, and become the program. Runs in the new process, which never returns from it."""
    telling, waiting = pipes
    try:
        stdin, output = (upper(stream) for stream in streams)
        os.setsid()
        for target, stream in enumerate((stdin, output, output)):
            os.dup2(stream, target)
        os.chdir(cwd)
        if identity is not None:
            os.setgroups(identity.groups)
            os.setgid(identity.gid)
            os.setuid(identity.uid)
        for name in _RESET:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.write(telling, _READY)
        if os.read(waiting, 1) or (orphaned is not None and orphaned()):
            os.execve(program, argv, env)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(telling, (error.errno or 0).to_bytes(len(_READY), "big"))
    finally:
        os._exit(127)
