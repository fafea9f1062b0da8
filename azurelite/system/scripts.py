"""Running programs from users: scripts of the user data, commands of the configuration.

Unlike the programs that azurelite itself calls (`process.py`), these may run long, print much, read the metadata and
start background processes. Their output goes to a separate log that only root can read. Nothing is run in a foreign
root, whose programs are not for this machine, or in a dry run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from contextlib import ExitStack
from typing import IO, Callable, Mapping, Optional, Sequence, Union

from azurelite.clock import Deadline, SystemClock
from azurelite.errors import CommandError, MachineError
from azurelite.metadata import Secret
from azurelite.system.accounts.users import User
from azurelite.system.changes import Change
from azurelite.system.explain import explained
from azurelite.system.held import Held, Identity
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)

LOG_LIMIT = 4 * 1024 * 1024  # bytes of a log; then it is truncated, because its end matters most
_SLICE = 0.25  # seconds between two checks of the log's size
_DROPPED = b"[azurelite: the output before this line was dropped because of its size]\n"


class Scripts:
    """Runs users' programs on the running system.

    Args:
        system: the guest.
        log_limit: maximum size of each log in bytes.
    """

    def __init__(self, system: System, *, log_limit: int = LOG_LIMIT) -> None:
        self._system = system
        self._log_limit = log_limit

    def run(
        self,
        argv: Sequence[str],
        *,
        name: str,
        timeout: float,
        log: Optional[str],
        stdin: Union[bytes, Secret, None] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: str = "/",
        user: Optional[User] = None,
        begin: Optional[Callable[[], None]] = None,
        begun: Optional[Callable[[], bool]] = None,
    ) -> Optional[int]:
        """Record a program and run it to its end; a dry run only records it.

        Its environment is PATH, HOME, USER, LOGNAME, SHELL=/bin/sh, LANG=C.UTF-8 and `env`. Its background processes
        keep running.

        Args:
            argv: program (a name, or an absolute path) and arguments, run without a shell. Never a secret.
            name: its name in the record of changes and in messages.
            timeout: seconds; then it is killed with its children. Before Ready also limited by the run's deadline.
            log: guest path of the log file (0600, replaced) for its output; None discards the output.
            stdin: its standard input.
            env: additional variables.
            cwd: its working directory.
            user: the user who runs it; root by default.
            begin: called when all is ready and only the start itself is left; what it raises prevents the start.
            begun: whether `begin` has done its work; if azurelite is killed just then, the program starts all the same.

        Returns:
            Its exit status, 128 + n for a signal n; None in a dry run.

        Raises:
            CommandError: it cannot be started, or timed out.
            FileError: the log cannot be created.
            MachineError: the root is a foreign one.
        """
        if not self._system.root.is_host:
            raise MachineError(f"{name} skipped: {self._system.root.path} is not the running system")
        self._system.journal.record(Change("run", name, ""))
        if self._system.dry_run:
            return None
        program = self._system.commands.find(argv[0])
        if program is None:
            raise CommandError(f"{name} cannot be started: {argv[0]} is not installed or not executable")
        variables = {**_environment(self._system.commands.search_path, user), **(env or {})}
        with ExitStack() as stack:
            output = self._open_log(log, stack)
            given = _as_file(stdin, stack)
            try:
                process = Held(
                    program, argv, env=variables, stdin=given, output=output, cwd=cwd,
                    identity=None if user is None else _identity(user), orphaned=begun,
                )  # fmt: skip
                stack.enter_context(process)
                if begin is not None:
                    begin()
                process.release()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "its arguments or its user are invalid"
                raise CommandError(f"{name} cannot be started: {why}") from error
            status = self._wait(process, name, timeout=timeout, output=output)
        LOG.debug("%s ended with status %s", name, status)
        return status

    def _open_log(self, log: Optional[str], stack: ExitStack) -> int:
        if log is None:
            return _open_null(stack)
        files = self._system.files
        folder = os.path.dirname(log)
        if not files.is_dir(folder):
            files.make_own_folder(folder)
        with explained("write", log), files.parent(log, beneath=log) as (parent, name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            # O_APPEND: after the file is truncated, output continues at its new end.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        stack.callback(os.close, descriptor)
        if self._system.output_listener is not None:
            self._system.output_listener(log)
        return descriptor

    def _wait(self, process: Held, name: str, *, timeout: float, output: int) -> int:
        limit = self._system.commands.limit
        deadline = Deadline(SystemClock(), timeout if limit is None else min(timeout, limit.remaining()))
        while True:
            status = process.wait(deadline.within(_SLICE))
            if status is not None:
                return status if status >= 0 else 128 - status
            if os.fstat(output).st_size > self._log_limit:
                os.ftruncate(output, 0)
                os.write(output, _DROPPED)
            if self._system.commands.waiting is not None:
                self._system.commands.waiting(name)
            if deadline.remaining() <= 0:
                process.kill()
                raise CommandError(f"{name} timed out and was killed: set a longer timeout, or fix the program")


def _environment(search_path: str, user: Optional[User]) -> dict[str, str]:
    name, home = ("root", "/root") if user is None else (user.name, user.home)
    words = {"PATH": search_path, "HOME": home, "USER": name, "LOGNAME": name}
    return {**words, "SHELL": "/bin/sh", "LANG": "C.UTF-8"}


def _identity(user: User) -> Identity:
    return Identity(user.uid, user.gid, tuple(os.getgrouplist(user.name, user.gid)))


def _open_null(stack: ExitStack) -> int:
    descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def _as_file(data: Union[bytes, Secret, None], stack: ExitStack) -> int:
    """An unnamed file: a pipe would block azurelite if the program does not read all of it. None: no input."""
    if data is None:
        return _open_null(stack)
    file: IO[bytes] = (
        os.fdopen(os.memfd_create("stdin", os.MFD_CLOEXEC), "w+b")
        if hasattr(os, "memfd_create")
        else tempfile.TemporaryFile()  # noqa: SIM115  # the stack closes it
    )
    stack.enter_context(file)
    file.write(data.reveal_bytes() if isinstance(data, Secret) else data)
    file.flush()
    file.seek(0)
    return file.fileno()
