"""User accounts and groups of a guest: who is there, and seeing to it that somebody is.

Which tool does it is decided by what is there, not by a distribution's name: shadow-utils on the running
system, shadow-utils with `--prefix` for a foreign root, and direct edits of the files where neither fits.
An existing account is never locked, re-numbered or given another password.
"""

from __future__ import annotations

from typing import Optional, Protocol

from azurelite.clock import Clock, Deadline
from azurelite.errors import MachineError
from azurelite.system.changes import Change, Journal
from azurelite.system.files import Files
from azurelite.system.logindefs import login_range
from azurelite.system.passwd import LOCK_WAIT, PasswdFiles
from azurelite.system.process import Commands
from azurelite.system.shadow import ShadowTools
from azurelite.system.tables import as_number, split_lines
from azurelite.system.users import NewUser, User

_NOBODY = (65534, 65535)
TOOLS = ("useradd", "usermod", "groupadd")


class Backend(Protocol):
    """What changes accounts."""

    def add_user(self, new: NewUser) -> None:
        """Make the account and its home."""

    def add_group(self, name: str) -> None:
        """Make a group."""

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group."""


class Accounts:
    """The accounts of one guest."""

    def __init__(self, files: Files, commands: Commands, journal: Journal, clock: Clock) -> None:
        self._files = files
        self._commands = commands
        self._journal = journal
        self._clock = clock
        self._wished_users: dict[str, User] = {}
        self._wished_groups: set[str] = set()
        self._wished_whole: set[str] = set()
        self._wished_members: set[tuple[str, str]] = set()

    def user(self, name: str) -> Optional[User]:
        """The account of that name, or None. On the running system, from any source it knows (LDAP, …)."""
        if name in self._wished_users:
            return self._wished_users[name]
        for line in split_lines(self._files.read("/etc/passwd")):
            entry = [*line.split(":"), *[""] * 7]  # a line with fewer fields is an account all the same
            if entry[0] == name:
                return User(name, _number(entry[2]), _number(entry[3]), entry[5] or "/", entry[6])
        return _ask_system(name) if self._files.root.is_host else None

    def has_group(self, name: str) -> bool:
        """There is a group of that name, or in a dry run there would be."""
        return name in self._wished_groups or any(e[0] == name for e in self._entries("/etc/group", 4))

    def groups_of(self, name: str) -> set[str]:
        """The groups that list this user as a member, and the group that is his own."""
        user = self.user(name)
        found = {group for member, group in self._wished_members if member == name}
        for group, _, gid, members in self._entries("/etc/group", 4):
            if name in members.split(",") or (user is not None and _number(gid) == user.gid):
                found.add(group)
        return found

    def is_system_account(self, user: User) -> bool:
        """The account belongs to the system, not to a person: its number lies below people's, or is nobody's."""
        lowest, _ = login_range(self._files, "UID")
        return user.uid != -1 and (user.uid < max(lowest, 1) or user.uid in _NOBODY)

    def is_system_group(self, name: str) -> bool:
        """There is a group of that name, and its number lies below people's."""
        lowest, _ = login_range(self._files, "GID")
        return any(entry[0] == name and _number(entry[2]) < lowest for entry in self._entries("/etc/group", 4))

    def ensure_group(self, name: str) -> bool:
        """See to it that the group exists; True when it had to be made."""
        if self.has_group(name):
            return False
        self._journal.record(Change("group", name, "create"))
        if self._files.dry_run:
            self._wished_groups.add(name)
        else:
            self._backend().add_group(name)
        return True

    def create_user(self, new: NewUser) -> User:
        """Make an account that does not exist yet.

        Raises:
            MachineError: the tools or the files did not let us.
        """
        extra = f", groups {','.join(new.groups)}" if new.groups else ""
        self._journal.record(Change("user", new.name, f"create, home {new.home}, shell {new.shell}{extra}"))
        if self._files.dry_run:
            self._files.expect_home(new.home)
            self._wished_members |= {(new.name, group) for group in new.groups}
            self._wished_users[new.name] = User(new.name, -1, -1, new.home, new.shell)
            return self._wished_users[new.name]
        self._backend().add_user(new)
        made = self.user(new.name)
        if made is None:
            raise MachineError(f"the account {new.name} was made but is not to be found in /etc/passwd")
        return made

    def complete(self, user: User) -> bool:
        """Give an existing account what a crash while it was made kept from it: shadow line, own group, home.

        What is there stays as it is. True when something had to be made.
        """
        if not any(line.startswith(f"{user.name}:x:") for line in split_lines(self._files.read("/etc/passwd"))):
            return False
        lacking = self._direct().lacking(user)
        if not lacking or user.name in self._wished_whole:
            return False
        self._journal.record(Change("user", user.name, f"complete: {', '.join(lacking)}"))
        if not self._files.dry_run:
            self._direct().complete(user, lacking)
        else:
            self._wished_whole.add(user.name)
            if "home" in lacking:
                self._files.expect_home(user.home)
        return True

    def ensure_member(self, user: User, group: str) -> bool:
        """See to it that an existing user is in an existing group; True when he had to be added."""
        if group in self.groups_of(user.name):
            return False
        self._journal.record(Change("user", user.name, f"add to group {group}"))
        if self._files.dry_run:
            self._wished_members.add((user.name, group))
        else:
            self._backend().join(user.name, group)
        return True

    def _direct(self) -> PasswdFiles:
        limit = self._commands.limit
        wait = Deadline(self._clock, LOCK_WAIT) if limit is None else limit.within(LOCK_WAIT)
        return PasswdFiles(self._files, wait)

    def _backend(self) -> Backend:
        root = self._files.root
        if all(self._commands.find(tool) for tool in TOOLS):
            if root.is_host:
                return ShadowTools(self._commands)
            if self._files.privileged and self._prefix_is_safe():
                return ShadowTools(self._commands, prefix=root.path)
        return self._direct()

    def _prefix_is_safe(self) -> bool:
        """The root is of shadow's kind, and no link in it leads `--prefix`, which follows them, outside."""
        root = self._files.root
        names = ("login.defs", "passwd", "shadow", "group", "gshadow", "subuid", "subgid", "skel")
        paths = ["/home", *(f"/etc/{name}" for name in names)]
        try:
            straight = all(root.host_path(path) == root.path + path for path in paths)
        except OSError:  # links in a circle
            return False
        return straight and root.stat("/etc/login.defs") is not None and root.stat("/home") is not None

    def _entries(self, path: str, width: int) -> list[list[str]]:
        rows = (line.split(":") for line in split_lines(self._files.read(path)))
        return [row for row in rows if len(row) == width]


def _number(text: str) -> int:
    """A number of an account; one that cannot be read counts as the system's own, which nothing is given to."""
    return as_number(text) or 0


def _ask_system(name: str) -> Optional[User]:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
