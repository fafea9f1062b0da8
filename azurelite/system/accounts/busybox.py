"""Accounts through BusyBox's adduser and addgroup, on the running system.

Debian has programs of the same names which are something else, so they are taken only where they are BusyBox
itself. BusyBox does not take the lock of the passwd files; it is held for it.
"""

from __future__ import annotations

import os
from typing import Callable, ContextManager

from azurelite.system.accounts.users import NewUser
from azurelite.system.process import Commands

_TIMEOUT = 60.0  # seconds
_SKELETON = "/etc/skel"


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
        """Make the account. BusyBox leaves its password as `!`: whoever calls makes that `*`."""
        argv = ["-D", "-h", new.home, "-s", new.shell, "-g", new.comment, "-k", _SKELETON]
        argv += ["-u", str(new.uid)] if new.uid is not None else []
        argv += [] if new.create_home else ["-H"]
        group = new.primary_group
        if new.system:
            argv += ["-S"]
            if group is None:  # it would be nogroup, which belongs to everybody and nobody
                self.add_group(new.name, system=True)
                group = new.name
        argv += ["-G", group] if group else []
        self._run("adduser", *argv, new.name)
        for extra in new.groups:
            self.join(new.name, extra)

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Make a group."""
        self._run("addgroup", *(["-S"] if system else []), name)

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group."""
        self._run("addgroup", name, group)

    def _run(self, tool: str, *arguments: str) -> None:
        with self._locked():
            self._commands.run([tool, *arguments], timeout=_TIMEOUT)


def is_busybox(commands: Commands, name: str) -> bool:
    """The program of that name is BusyBox: a link to it, or another name of its file."""
    path = commands.find(name)
    if path is None:
        return False
    if os.path.basename(os.path.realpath(path)).startswith("busybox"):
        return True
    whole = commands.find("busybox")
    return whole is not None and os.path.samefile(path, whole)
