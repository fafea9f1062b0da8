"""Running commands: argv lists only, a clean environment, a timeout, and no secret in any message."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
from typing import Callable, Mapping, Optional, Sequence, TypeVar

from azurelite.clock import Clock, Deadline, SystemClock
from azurelite.errors import CannotRunError, CommandError
from azurelite.metadata import Secret

LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The status of a shell, or of the loader, for a program that it cannot run; and the signals that end a program for
# another processor or with a broken library.
_CANNOT_RUN = (126, 127, -signal.SIGILL, -signal.SIGBUS, -signal.SIGSEGV, -signal.SIGSYS)
# Seconds before the deadline without which a program is not started: if it were killed halfway, the next boot would
# find a lock, half an account, half a partition table or an unfinished transaction.
LEAST: Mapping[str, float] = {
    **dict.fromkeys(("useradd", "usermod", "groupadd", "chpasswd", "adduser", "addgroup", "pw"), 1.0),
    **dict.fromkeys(("growpart", "sfdisk", "resize2fs", "xfs_growfs", "btrfs"), 1.0),
    **dict.fromkeys(("mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkswap"), 1.0),
    **dict.fromkeys(("apt-get", "dnf", "dnf5", "yum", "microdnf", "tdnf", "zypper", "apk", "pacman"), 10.0),
    **dict.fromkeys(("xbps-install", "emerge", "pkg", "eopkg", "opkg"), 10.0),
}
_SLICE = 1.0  # seconds between two calls of `waiting`
_SHOWN = 300  # characters of a failing command's output that an error repeats


class Commands:
    """Runs programs of the running system.

    Args:
        search_path: folders to find programs in, as in PATH; the standard ones are appended.

    Attributes:
        limit: the deadline of the whole run: no command runs longer.
        waiting: called now and then while a program runs, with its name; None: nobody wants to know.
    """

    def __init__(self, search_path: Optional[str] = None) -> None:
        self.limit: Optional[Deadline] = None
        self.waiting: Optional[Callable[[str], None]] = None
        self.search_path = f"{search_path}:{STANDARD_PATH}" if search_path else STANDARD_PATH

    def within(self, clock: Clock, seconds: float) -> Deadline:
        """A deadline in so many seconds, or at the deadline of the whole run if that is earlier."""
        return Deadline(clock, seconds) if self.limit is None else self.limit.within(seconds)

    def find(self, name: str) -> Optional[str]:
        """The path of a program, or None where it is not installed."""
        for folder in self.search_path.split(":"):
            candidate = os.path.join(folder or "/", name)
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
                return candidate
        return None

    def need(self, name: str, *, remedy: str = "add it to the image") -> str:
        """The path of a program. Raises CommandError: it is not installed; the message ends with the remedy."""
        path = self.find(name)
        if path is None:
            raise CannotRunError(f"{name} is not installed: {remedy}")
        return path

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        secret_input: Optional[Secret] = None,
        plain_input: Optional[bytes] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> str:
        """Run a command to its end.

        Args:
            argv: program and arguments, run without a shell. Never a secret.
            timeout: seconds; the command and its children are killed after that.
            secret_input: sent to its standard input, and kept out of messages.
            plain_input: the same for what is not secret.
            env: variables besides PATH, LC_ALL and HOME.

        Returns:
            Its standard output.

        Raises:
            CommandError: not installed, failed, or timed out; with the end of its error output. Or it is not started,
                because the run has less time left than LEAST says.
        """
        program = self.need(argv[0])
        if self.limit is not None:
            left, least = self.limit.remaining(), LEAST.get(argv[0], 0.0)
            timeout = min(timeout, left)
            if left < least and timeout > 0:
                why = f"it needs {least:g} s, and {left:.1f} s are left"
                raise CommandError(f"{argv[0]} skipped: {why}: raise `datasource.deadline`")
            if timeout <= 0:  # killing it right after the start could leave its work half done
                raise CommandError(f"{argv[0]} skipped: the provisioning deadline has passed")
        LOG.debug("running %s", " ".join(argv))
        try:
            process = subprocess.Popen(
                [program, *argv[1:]],
                stdin=subprocess.DEVNULL if secret_input is None is plain_input else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": self.search_path, "LC_ALL": "C", "HOME": "/", **(env or {})},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise CannotRunError(f"{argv[0]} cannot be started: {error.strerror}") from error
        try:
            given = secret_input.reveal_bytes() if secret_input is not None else plain_input
            output, complaint = self._communicate(process, given, Deadline(SystemClock(), timeout), argv[0])
        except subprocess.TimeoutExpired as error:
            _kill(process)
            raise CommandError(f"{argv[0]} timed out after {timeout:g} s and was killed") from error
        if process.returncode != 0:
            words = " ".join(complaint.decode(errors="replace").split())[-_SHOWN:] or "no error output"
            if secret_input is not None:
                words = "its output is hidden because its input was secret"
            kind = CannotRunError if process.returncode in _CANNOT_RUN else CommandError
            raise kind(f"{argv[0]} failed with status {process.returncode}: {words}")
        return output.decode(errors="replace")

    def _communicate(
        self, process: subprocess.Popen[bytes], given: Optional[bytes], deadline: Deadline, name: str
    ) -> tuple[bytes, bytes]:
        """Its standard output and error output at its end. Raises TimeoutExpired at the deadline."""
        while True:
            try:
                return process.communicate(given, timeout=min(_SLICE, deadline.remaining()))
            except subprocess.TimeoutExpired:
                if deadline.remaining() <= 0:
                    raise
            given = None  # the first call has it
            if self.waiting is not None:
                self.waiting(name)


def first_that_runs(attempts: Sequence[Callable[[], _T]], *, done: Callable[[], bool] = bool) -> _T:
    """The result of the first attempt whose program this machine can run; the last one's error.

    Args:
        attempts: in order of preference, at least one.
        done: whether an attempt that broke off has done its work nevertheless, so that no other is to follow.
    """
    *others, last = attempts
    for attempt in others:
        try:
            return attempt()
        except CannotRunError as error:
            if done():
                raise
            LOG.warning("%s: trying another way", error)
    return last()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and its children, and close its pipes, which a grandchild may still hold open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # unread input can no longer be flushed
                pipe.close()
