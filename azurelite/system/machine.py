"""`System`: the entry point for reading and changing the machine."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Callable, Iterator, Mapping, Optional, Sequence

from azurelite.clock import Clock, SystemClock
from azurelite.errors import MachineError
from azurelite.metadata import Secret
from azurelite.system.changes import Change, Journal
from azurelite.system.files import Files
from azurelite.system.process import STANDARD_PATH, Commands
from azurelite.system.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.system.accounts.accounts import Accounts


class System:
    """A guest whose files are below `root`: the running system, a scratch root or a mounted image.

    Args:
        root: host path of the guest's `/`.
        dry_run: record changes without making them.
        search_path: where programs are searched, as PATH.
        clock: for waits.

    Attributes:
        files: reading and writing below the root.
        commands: programs of the running system.
        live: the running system may be changed (the kernel's hostname, services).
        lock: the descriptor of the run's lock while it is held; see `runlock`.
        clock: for waits.
        output_listener: gets the guest path of the file that a script writes to; None: nobody wants to know.
    """

    def __init__(
        self,
        root: str = "/",
        *,
        dry_run: bool = False,
        search_path: Optional[str] = None,
        clock: Optional[Clock] = None,
    ) -> None:
        self.root = Root(root)
        self.dry_run = dry_run
        self.live = self.root.is_host and not dry_run
        self.journal = Journal()
        self.commands = Commands(search_path)
        self.files = Files(self.root, self.journal, dry_run=dry_run, privileged=os.geteuid() == 0)
        self.lock: Optional[int] = None
        self.output_listener: Optional[Callable[[str], None]] = None
        self.clock = clock or SystemClock()
        self._accounts: Optional[Accounts] = None

    @property
    def accounts(self) -> Accounts:
        """Users and groups."""
        if self._accounts is None:
            from azurelite.system.accounts.accounts import Accounts

            self._accounts = Accounts(self.files, self.commands, self.journal, self.clock)
        return self._accounts

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Sync each folder once, and let SELinux's policy label the new files, at the end of the block."""
        with self.files.durability.together():
            try:
                yield
            finally:
                if self.files.created:
                    from azurelite.system.selinux import label_created

                    label_created(self)

    def program(self, name: str) -> Optional[str]:
        """The guest path of a program in the guest's standard folders, or None if it is not installed there.

        `commands.find` looks for programs that can be run now, which is different for a foreign root.
        """
        paths = (f"{folder}/{name}" for folder in STANDARD_PATH.split(":"))
        return next((path for path in paths if self.files.is_executable(path)), None)

    def installed(self, *names: str) -> bool:
        """Whether the guest has one of these programs, by name in the standard folders or by path."""
        return any(self.files.is_executable(name) if "/" in name else self.program(name) for name in names)

    def perform(
        self,
        change: Change,
        argv: Sequence[str],
        *,
        timeout: float = 60.0,
        secret_input: Optional[Secret] = None,
        plain_input: Optional[bytes] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> str:
        """Record a change and make it with a program of the running system; a dry run only records it.

        The caller has checked that the change is needed.

        Args:
            change: what the program does.
            argv: program and arguments, run without a shell. Never a secret.
            timeout: seconds.
            secret_input: sent to its standard input, and kept out of messages.
            plain_input: the same for what is not secret.
            env: variables besides PATH, LC_ALL and HOME.

        Returns:
            Its standard output; "" in a dry run.

        Raises:
            CommandError: not installed, failed, or timed out.
        """
        self.journal.record(change)
        if self.dry_run:
            return ""
        return self.commands.run(argv, timeout=timeout, secret_input=secret_input, plain_input=plain_input, env=env)

    def set_kernel_hostname(self, name: str) -> bool:
        """Set the hostname of the running kernel, never for a foreign root. True if it changed.

        Raises:
            MachineError: the kernel rejected it.
        """
        if not self.root.is_host or os.uname().nodename == name:
            return False
        self.journal.record(Change("hostname", name, ""))
        if self.live:
            try:
                socket.sethostname(name)
            except OSError as error:
                raise MachineError(f"cannot set the kernel hostname to {name}: {error.strerror}") from error
        return True
