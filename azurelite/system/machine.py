"""`System`: the one door to the machine."""

from __future__ import annotations

import os
import socket
from typing import Callable, Mapping, Optional, Sequence

from azurelite.clock import Clock
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
    """A guest whose files lie below `root`: the running system, a scratch root or an image's tree.

    Args:
        root: host path of the guest's `/`.
        dry_run: record what would change, change nothing.
        search_path: where programs are looked for, as PATH.
        clock: time for waits.
        on_change: called with each Change just before it is made (never in a dry run).

    Attributes:
        files: reading and writing below the root.
        commands: programs of the running system.
        live: the running system may be told of changes (its kernel's hostname, its services).
    """

    def __init__(
        self,
        root: str = "/",
        *,
        dry_run: bool = False,
        search_path: Optional[str] = None,
        clock: Optional[Clock] = None,
        on_change: Optional[Callable[[Change], None]] = None,
    ) -> None:
        self.root = Root(root)
        self.dry_run = dry_run
        self.live = self.root.is_host and not dry_run
        self.journal = Journal(None if dry_run else on_change)
        self.commands = Commands(search_path)
        self.files = Files(self.root, self.journal, dry_run=dry_run, privileged=os.geteuid() == 0)
        self._clock = clock or Clock()
        self._accounts: Optional[Accounts] = None

    @property
    def accounts(self) -> Accounts:
        """Users and groups."""
        if self._accounts is None:
            from azurelite.system.accounts.accounts import Accounts

            self._accounts = Accounts(self.files, self.commands, self.journal, self._clock)
        return self._accounts

    def program(self, name: str) -> Optional[str]:
        """The guest path of a program in the guest's usual folders, or None where it is not installed there.

        `commands.find` asks for what can be run from here, which is something else where the root is foreign.
        """
        paths = (f"{folder}/{name}" for folder in STANDARD_PATH.split(":"))
        return next((path for path in paths if self.files.is_executable(path)), None)

    def installed(self, *names: str) -> bool:
        """The guest has one of these programs: by name in its usual folders, or by a path of its own."""
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
        """Record a change, and make it by a program of the running system; in a dry run the record is all.

        Whoever calls has compared first: the change is wanted and not there yet.

        Args:
            change: what the program does.
            argv: program and arguments; no shell reads them. Secrets never go here.
            timeout: seconds.
            secret_input: what the program reads on its standard input.
            plain_input: the same, where it is no secret.
            env: variables besides PATH, LC_ALL and HOME.

        Returns:
            What it printed on standard output; "" in a dry run.

        Raises:
            CommandError: not installed, not zero, or too slow.
        """
        self.journal.record(change)
        if self.dry_run:
            return ""
        return self.commands.run(argv, timeout=timeout, secret_input=secret_input, plain_input=plain_input, env=env)

    def set_kernel_hostname(self, name: str) -> bool:
        """Tell the running kernel its name; nothing to do for a foreign root. True when it changed.

        Raises:
            MachineError: the kernel refused.
        """
        if not self.root.is_host or os.uname().nodename == name:
            return False
        self.journal.record(Change("hostname", name, "tell the kernel"))
        if self.live:
            try:
                socket.sethostname(name)
            except OSError as error:
                raise MachineError(f"the kernel refused the hostname {name}: {error.strerror}") from error
        return True
