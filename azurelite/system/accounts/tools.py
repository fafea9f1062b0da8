"""Programs that change accounts: shadow-utils, BusyBox's adduser and addgroup, and pw(8) of FreeBSD.

shadow-utils and pw work on the running system or in a foreign root. Debian has other programs named adduser and
addgroup, so these are used only if they are BusyBox. BusyBox does not take the lock of the passwd files, so azurelite
takes it. FreeBSD keeps accounts in a database that only its own programs can write.
"""

from __future__ import annotations

import os
from typing import Callable, ContextManager, Optional

from azurelite.metadata import Secret
from azurelite.system.accounts.users import NewUser
from azurelite.system.process import Commands

MASTER = "/etc/master.passwd"  # FreeBSD: if this file exists, /etc/passwd is only a copy without passwords
_TIMEOUT = 60.0  # seconds; shadow-utils wait about 15 s for another program's lock
_SKELETON = "/etc/skel"


class ShadowTools:
    """useradd, usermod and groupadd.

    Attributes:
        foreign: whether they work on another root than the running system's.
    """

    def __init__(self, commands: Commands, *, prefix: Optional[str] = None) -> None:
        self._commands = commands
        self._prefix = prefix
        self.foreign = prefix is not None

    def add_user(self, new: NewUser) -> None:
        """Create the account with a home from the guest's /etc/skel.

        The password field becomes `*`: no password works, but keys do. With `!`, sshd without PAM rejects
        keys too.
        """
        argv = ["--create-home"] if new.create_home else ["--no-create-home"]
        argv += ["--home-dir", new.home, "--shell", new.shell, "--password", "*"]
        argv += ["--no-user-group", "--gid", new.primary_group] if new.primary_group else ["--user-group"]
        argv += ["--groups", ",".join(new.groups)] if new.groups else []
        argv += ["--comment", new.comment] if new.comment else []
        argv += ["--uid", str(new.uid)] if new.uid is not None else []
        argv += ["--system"] if new.system else []
        if self._prefix and new.create_home:
            argv += ["--skel", self._prefix.rstrip("/") + _SKELETON]
        self._run("useradd", *argv, new.name)

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Create a group."""
        self._run("groupadd", *(["--system"] if system else []), name)

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group."""
        self._run("usermod", "--append", "--groups", group, name)

    def _run(self, tool: str, *arguments: str) -> None:
        prefix = ["--prefix", self._prefix] if self._prefix else []
        self._commands.run([tool, *prefix, *arguments], timeout=_TIMEOUT)


class BusyBoxTools:
    """adduser and addgroup.

    Args:
        commands: programs of the running system.
        locked: holds the lock of the passwd files while a program runs.
    """

    def __init__(self, commands: Commands, locked: Callable[[], ContextManager[None]]) -> None:
        self._commands = commands
        self._locked = locked

    def add_user(self, new: NewUser) -> None:
        """Create the account. BusyBox sets its password field to `!`; the caller changes that to `*`."""
        argv = ["-D", "-h", new.home, "-s", new.shell, "-g", new.comment, "-k", _SKELETON]
        argv += ["-u", str(new.uid)] if new.uid is not None else []
        argv += [] if new.create_home else ["-H"]
        group = new.primary_group
        if new.system:
            argv += ["-S"]
            if group is None:  # the default would be nogroup, which other accounts share
                self.add_group(new.name, system=True)
                group = new.name
        argv += ["-G", group] if group else []
        self._run("adduser", *argv, new.name)
        for extra in new.groups:
            self.join(new.name, extra)

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Create a group."""
        self._run("addgroup", *(["-S"] if system else []), name)

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group."""
        self._run("addgroup", name, group)

    def _run(self, tool: str, *arguments: str) -> None:
        with self._locked():
            self._commands.run([tool, *arguments], timeout=_TIMEOUT)


def is_busybox(commands: Commands, name: str) -> bool:
    """Whether the program of that name is BusyBox: a symbolic or hard link to it."""
    path = commands.find(name)
    if path is None:
        return False
    if os.path.basename(os.path.realpath(path)).startswith("busybox"):
        return True
    whole = commands.find("busybox")
    return whole is not None and os.path.samefile(path, whole)


class PwTools:
    """pw, on the running system or in a foreign root by `-R`."""

    def __init__(self, commands: Commands, *, prefix: Optional[str] = None) -> None:
        self._commands = commands
        self._root = ["-R", prefix] if prefix else []

    def add_user(self, new: NewUser) -> None:
        """Create the account; pw sets its password field to `*` by default."""
        argv = [new.name, "-d", new.home, "-s", new.shell]
        argv += ["-m"] if new.create_home else []
        argv += ["-g", new.primary_group] if new.primary_group else []
        argv += ["-G", ",".join(new.groups)] if new.groups else []
        argv += ["-c", new.comment] if new.comment else []
        argv += ["-u", str(new.uid)] if new.uid is not None else []
        self._run("useradd", *argv)

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Create a group."""
        del system  # pw has no separate range for system groups
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
