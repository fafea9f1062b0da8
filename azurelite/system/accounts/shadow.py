"""Accounts through shadow-utils, on the running system or in a foreign root by `--prefix`."""

from __future__ import annotations

import os
from typing import Optional

from azurelite.system.accounts.users import NewUser
from azurelite.system.process import Commands

# Seconds. shadow-utils wait for the lock of another program for about 15 s before they give up.
_TIMEOUT = 60.0


class ShadowTools:
    """useradd, usermod and groupadd.

    Attributes:
        foreign: they work on another root than the running system's.
    """

    def __init__(self, commands: Commands, *, prefix: Optional[str] = None) -> None:
        self._commands = commands
        self._prefix = prefix
        self.foreign = prefix is not None

    def add_user(self, new: NewUser) -> None:
        """Make the account with a home from the guest's /etc/skel.

        The password field becomes `*`: no password fits it, yet sshd without PAM, which turns away
        accounts locked by `!`, still takes keys.
        """
        argv = ["--create-home"] if new.create_home else ["--no-create-home"]
        argv += ["--home-dir", new.home, "--shell", new.shell, "--password", "*"]
        argv += ["--no-user-group", "--gid", new.primary_group] if new.primary_group else ["--user-group"]
        argv += ["--groups", ",".join(new.groups)] if new.groups else []
        argv += ["--comment", new.comment] if new.comment else []
        argv += ["--uid", str(new.uid)] if new.uid is not None else []
        argv += ["--system"] if new.system else []
        if self._prefix and new.create_home:
            argv += ["--skel", os.path.join(self._prefix, "etc/skel")]
        self._run("useradd", *argv, new.name)

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Make a group."""
        self._run("groupadd", *(["--system"] if system else []), name)

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group."""
        self._run("usermod", "--append", "--groups", group, name)

    def _run(self, tool: str, *arguments: str) -> None:
        prefix = ["--prefix", self._prefix] if self._prefix else []
        self._commands.run([tool, *prefix, *arguments], timeout=_TIMEOUT)
