"""Accounts through pw(8) of FreeBSD, whose tables are a database that only its own programs can write."""

from __future__ import annotations

from typing import Optional

from azurelite.metadata import Secret
from azurelite.system.accounts.users import NewUser
from azurelite.system.process import Commands

MASTER = "/etc/master.passwd"  # where there is this file, /etc/passwd is only a copy without passwords
_TIMEOUT = 60.0  # seconds


class PwTools:
    """pw, on the running system or in a foreign root by `-R`."""

    def __init__(self, commands: Commands, *, prefix: Optional[str] = None) -> None:
        self._commands = commands
        self._root = ["-R", prefix] if prefix else []

    def add_user(self, new: NewUser) -> None:
        """Make the account; its password is `*`, as pw does unasked."""
        argv = [new.name, "-d", new.home, "-s", new.shell]
        argv += ["-m"] if new.create_home else []
        argv += ["-g", new.primary_group] if new.primary_group else []
        argv += ["-G", ",".join(new.groups)] if new.groups else []
        argv += ["-c", new.comment] if new.comment else []
        argv += ["-u", str(new.uid)] if new.uid is not None else []
        self._run("useradd", *argv)

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Make a group."""
        del system  # pw has no range of its own for them
        self._run("groupadd", name)

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group."""
        self._run("groupmod", group, "-m", name)

    def set_password(self, name: str, password: Secret, *, hashed: bool) -> None:
        """Give an account a password, read from standard input. Raises CommandError."""
        line = Secret(password.reveal_bytes() + b"\n")
        self._run("usermod", name, "-H" if hashed else "-h", "0", given=line)

    def lock(self, name: str) -> None:
        """Lock an account's password. Raises CommandError."""
        self._run("lock", name)

    def _run(self, verb: str, *arguments: str, given: Optional[Secret] = None) -> None:
        self._commands.run(["pw", *self._root, verb, *arguments], timeout=_TIMEOUT, secret_input=given)
