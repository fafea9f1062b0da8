"""User accounts and groups of a guest: looking them up and creating them.

The tool depends on what is installed, not on the distribution's name: shadow-utils on the running system,
shadow-utils with `--prefix` for a foreign root, BusyBox's or FreeBSD's tools, and direct edits of the files if none of
them works. An existing account is never locked, renumbered or given another password by accident.
"""

from __future__ import annotations

import contextlib
import logging
import stat
from functools import partial
from typing import Callable, Iterator, Optional, Protocol, Sequence

from azurelite.clock import Clock, Deadline
from azurelite.errors import CommandError, FileError, MachineError
from azurelite.record import replace
from azurelite.system.accounts import unfinished
from azurelite.system.accounts.homes import can_be_made, expect_home, home_owner, make_home, usual_home_mode
from azurelite.system.accounts.passwd import PasswdFiles
from azurelite.system.accounts.passwords import Passwords
from azurelite.system.accounts.stale_locks import locks, remove_stale_files, stale_files
from azurelite.system.accounts.tablefiles import LOCK, LOCK_WAIT, as_number, login_range, table_lock, table_rows
from azurelite.system.accounts.tools import MASTER, BusyBoxTools, PwTools, ShadowTools, is_busybox
from azurelite.system.accounts.users import NewUser, User
from azurelite.system.changes import Change, Journal
from azurelite.system.explain import instead_of
from azurelite.system.files import Files
from azurelite.system.process import Commands, first_that_runs
from azurelite.system.selinux import relabel, uses_labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from azurelite.system.accounts.leftover_homes import Leftover

LOG = logging.getLogger(__name__)
_NOBODY = (65534, 65535)
_TAKE_OVER = 60.0  # seconds for giving the files of a leftover home to the new account
TOOLS = ("useradd", "usermod", "groupadd")


class Backend(Protocol):
    """A tool that changes accounts."""

    def add_user(self, new: NewUser) -> None:
        """Create the account and its home."""

    def add_group(self, name: str, *, system: bool = False) -> None:
        """Create a group."""

    def join(self, name: str, group: str) -> None:
        """Add an existing user to an existing group."""


class Accounts:
    """The accounts of one guest.

    Attributes:
        passwords: reading and changing the stored passwords.
        mended_key_files: SSH key files whose permissions this run has fixed for sshd, or would have in a dry run.
    """

    def __init__(self, files: Files, commands: Commands, journal: Journal, clock: Clock) -> None:
        self.files = files
        self.commands = commands
        self.passwords = Passwords(files, commands, journal, clock)
        self.mended_key_files: set[str] = set()
        self._journal = journal
        self._clock = clock
        self._locks_checked = False
        self._wished_users: dict[str, User] = {}
        self._wished_numbers: dict[int, str] = {}
        self._wished_groups: set[str] = set()
        self._wished_whole: set[str] = set()
        self._wished_members: set[tuple[str, str]] = set()

    def user(self, name: str) -> Optional[User]:
        """The account of that name, or None. On the running system, from any source it knows (LDAP, …)."""
        if name in self._wished_users:
            return self._wished_users[name]
        for entry in table_rows(self.files, "/etc/passwd", fill=7):  # a row with fewer fields is still an account
            if entry[0] == name:
                return User(name, _number(entry[2]), _number(entry[3]), entry[5] or "/", entry[6])
        return _ask_system(name) if self.files.root.is_host else None

    def name_of(self, uid: int) -> Optional[str]:
        """The account with that number in /etc/passwd (in a dry run also those to be created), or None."""
        for entry in table_rows(self.files, "/etc/passwd", fill=7):
            if as_number(entry[2]) == uid:
                return entry[0]
        return self._wished_numbers.get(uid)

    def has_group(self, name: str) -> bool:
        """Whether the group exists, or in a dry run would have been created."""
        return name in self._wished_groups or any(e[0] == name for e in self._entries("/etc/group", 4))

    def groups_of(self, name: str) -> set[str]:
        """The groups that list this user as a member, and the user's primary group."""
        user = self.user(name)
        found = {group for member, group in self._wished_members if member == name}
        for group, _, gid, members in self._entries("/etc/group", 4):
            if name in [member.lstrip() for member in members.split(",")] or (
                user is not None and _number(gid) == user.gid
            ):
                found.add(group)
        return found

    def is_system_account(self, user: User) -> bool:
        """Whether it is a system account: its number is below those for people, or that of `nobody`."""
        lowest, _ = login_range(self.files, "UID")
        return user.uid != -1 and (user.uid < max(lowest, 1) or user.uid in _NOBODY)

    def is_system_group(self, name: str) -> bool:
        """Whether the group exists and its number is below those for people."""
        lowest, _ = login_range(self.files, "GID")
        return any(entry[0] == name and _number(entry[2]) < lowest for entry in self._entries("/etc/group", 4))

    def ensure_group(self, name: str) -> bool:
        """Create the group if it does not exist; True if it was created. Raises MachineError."""
        if self.has_group(name):
            return False
        backends = self._backends()
        self._journal.record(Change("group", name, "create", facts={"made": True}))
        if self.files.dry_run:
            self._wished_groups.add(name)
        else:
            self._by_one_of(
                backends, lambda backend: backend.add_group(name, system=False), done=lambda: self.has_group(name)
            )
        return True

    def leftover_home(self, new: NewUser) -> Optional[Leftover]:
        """The existing folder that becomes the account's home, if no account owns it; else None. Raises FileError."""
        if not new.create_home or self.files.stat(new.home, beneath=new.home) is None:
            return None
        from azurelite.system.accounts.leftover_homes import find_leftover

        return find_leftover(self.files, new.home, self._has_account)

    def create_user(self, new: NewUser, *, note: Callable[[str], None] = LOG.warning) -> User:
        """Create an account that does not exist yet. It is given a home that no account owns.

        Args:
            new: the account.
            note: called with what a person should read.

        Raises:
            MachineError: a tool or a file failed, or the home is a symbolic link or belongs to another user.
        """
        self.check_home(new.name, new.home, create=new.create_home)
        backends = self._backends()
        extra = f", groups {','.join(new.groups)}" if new.groups else ""
        self._journal.record(Change("user", new.name, f"create, home {new.home}, shell {new.shell}{extra}"))
        left = self.leftover_home(new)
        if left is not None:
            self._journal.record(left.change(new.name))
            new = replace(new, former=(left.uid, left.gid, left.mode))
        if self.files.dry_run:
            if new.create_home:
                expect_home(self.files, new.home, leftover=left is not None)
            self._wished_members |= {(new.name, group) for group in new.groups}
            self._wished_users[new.name] = User(new.name, -1, -1, new.home, new.shell)
            if new.uid is not None:
                self._wished_numbers[new.uid] = new.name
            self._wished_groups |= set() if new.primary_group else {new.name}
            self.passwords.expect(new.name)
            return self._wished_users[new.name]
        kept = self.files.stat(new.home, beneath=new.home) is not None
        unfinished.begin(self.files, new, kept_home=kept)
        try:
            backend = self._by_one_of(
                backends, lambda backend: backend.add_user(new), done=lambda: self.user(new.name) is not None
            )
        except MachineError:
            if self.user(new.name) is None:
                unfinished.end(self.files, new.name)
            raise
        made = self.user(new.name)
        if made is None:
            raise MachineError(f"account {new.name} was created, but is not in /etc/passwd")
        self._tell(made, made=True, home_made=new.create_home and not kept)
        self._finish(new, made, backend, kept_home=kept)
        self._take_over(new, made, note)
        unfinished.end(self.files, new.name)
        return made

    def adopt(self, user: User) -> None:
        """Note for the manifest that this account existed before azurelite."""
        self._tell(user, made=False, home_made=False)

    def _tell(self, user: User, *, made: bool, home_made: bool) -> None:
        facts = {"made": made, "uid": user.uid, "gid": user.gid, "home": user.home, "home_made": home_made}
        self._journal.tell(Change("account", user.name, "", facts=facts))

    def _has_account(self, uid: int) -> bool:
        """Whether that number is an account's, on the running system from any source that it knows."""
        if self.name_of(uid) is not None:
            return True
        return self.files.root.is_host and _system_has(uid)

    def _take_over(self, new: NewUser, made: User, note: Callable[[str], None]) -> None:
        """Give a leftover home to its new account. Raises FileError."""
        if new.former is None:
            return
        from azurelite.system.accounts.leftover_homes import Leftover, named, take_over

        uid, gid, mode = new.former
        wait = self.commands.within(self._clock, _TAKE_OVER)
        left = Leftover(made.home, uid=uid, gid=gid, mode=mode)
        skipped = take_over(self.files, left, made.owner, mode=new.home_mode, wait=wait)
        relabel(self, made.home)
        if skipped:
            note(f"{made.home} now belongs to {made.name}; not given to {made.name}: {named(skipped)}")

    def _finish(self, new: NewUser, made: User, backend: Backend, *, kept_home: bool) -> None:
        """Complete a new account and its home with what some backends leave out."""
        if new.expire_day is not None or new.inactive is not None:
            self.passwords.limit(new.name, expire_day=new.expire_day, inactive=new.inactive)
        if isinstance(backend, BusyBoxTools):
            self.passwords.make_keys_welcome(new.name)
        if not new.create_home or kept_home:
            return
        mode = new.home_mode
        if mode is None and isinstance(backend, BusyBoxTools):
            mode = 0o700  # BusyBox creates it with mode 2755, readable by all
        if mode is not None:
            self.files.mkdir_silently(made.home, mode=mode, owner=made.owner, beneath=made.home)
        if not isinstance(backend, ShadowTools) or backend.foreign:
            relabel(self, made.home)

    def complete(self, user: User, *, home: bool = True, note: Callable[[str], None] = LOG.warning) -> bool:
        """Create what an account lacks because of a crash during its creation: shadow line, primary group, home.

        An account from another source (LDAP, …) only gets its home. Existing parts stay as they are. True if something
        was created.

        Args:
            user: the account.
            home: whether the account should have a home.
            note: called with what a person should read.

        Raises:
            MachineError: a file could not be written.
        """
        if not any(row[:2] == [user.name, "x"] for row in table_rows(self.files, "/etc/passwd")):
            return home and self._make_missing_home(user)
        wanted = found = unfinished.find(self.files, user.name)
        if wanted is not None:
            backend, home = self._backends()[0], wanted.create_home
            if isinstance(backend, ShadowTools):
                wanted = replace(wanted, home_mode=wanted.home_mode or usual_home_mode(self.files))
        lacking = tuple(part for part in self._direct().lacking(user, wanted) if home or part != "home")
        if not (lacking or wanted) or user.name in self._wished_whole:
            return False
        self._journal.record(Change("user", user.name, f"complete: {', '.join(lacking) or 'what a crash left'}"))
        if not self.files.dry_run:
            self._direct().complete(user, lacking, wanted)
            if wanted is not None:
                self._tell(user, made=True, home_made=wanted.create_home)
                self._finish(wanted, user, backend, kept_home=not home)
                self._take_over(found or wanted, user, note)  # `found` has the mode that was configured
                unfinished.end(self.files, user.name)
            if "home" in lacking:
                relabel(self, user.home)
        else:
            self._wished_whole.add(user.name)
            if "home" in lacking:
                expect_home(self.files, user.home)
            if "shadow" in lacking:
                self.passwords.expect(user.name)
        return True

    def _make_missing_home(self, user: User) -> bool:
        """Create the home of an account that is not in /etc/passwd; True if it was missing. Raises FileError."""
        if self.files.exists(user.home, beneath=user.home) or not can_be_made(user.home):
            return False
        self._journal.record(Change("user", user.name, "complete: home"))
        if self.files.dry_run:
            expect_home(self.files, user.home)
        else:
            make_home(self.files, user.home, user.owner)
            relabel(self, user.home)
        return True

    def ensure_member(self, user: User, group: str) -> bool:
        """Add an existing user to an existing group; True if the user was not a member yet."""
        if group in self.groups_of(user.name):
            return False
        backends = self._backends()
        self._journal.record(Change("user", user.name, f"add to group {group}"))
        if self.files.dry_run:
            self._wished_members.add((user.name, group))
        else:
            self._by_one_of(
                backends,
                lambda backend: backend.join(user.name, group),
                done=lambda: group in self.groups_of(user.name),
            )
        return True

    def check_home(self, name: str, home: str, *, create: bool = True) -> None:
        """Check that a folder can be the home of a new account, before anything is created for it.

        Args:
            name: the account.
            home: guest path.
            create: whether a missing home will be created.

        Raises:
            MachineError: it is a symbolic link, not a folder, or belongs to another user.
        """
        wished = (user.name for user in self._wished_users.values() if user.home == home)
        owner = home_owner(self.files, home) or next(wished, None)
        if owner is not None and owner != name:
            raise MachineError(f"{home} is already the home of {owner}: set another home for {name}")
        found = self.files.stat(home, beneath=home)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise FileError(f"{home}, the home of {name}, is {instead_of('folder', found)}: remove it and run again")
        if found is not None and create and found.st_uid == 0 and home != f"/home/{name}":
            raise MachineError(f"{home} already exists and belongs to root: set another home for {name}")

    def _by_one_of(
        self, backends: Sequence[Backend], work: Callable[[Backend], None], *, done: Callable[[], bool]
    ) -> Backend:
        """Do the work with the first backend that this machine can run, and return that one."""

        def attempt(backend: Backend) -> Backend:
            with self._explained():
                work(backend)
            return backend

        return first_that_runs([partial(attempt, backend) for backend in backends], done=done)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Replace the "try again later" of useradd and the other tools by the real cause."""
        try:
            yield
        except CommandError as error:
            if not self.files.root.is_host:
                raise
            try:
                with table_lock(self.files, Deadline(self._clock, 0)):
                    pass
            except FileError as cause:
                raise cause from error
            raise

    def _direct(self) -> PasswdFiles:
        return PasswdFiles(self.files, self._wait())

    def _wait(self) -> Deadline:
        return self.commands.within(self._clock, LOCK_WAIT)

    def _backends(self) -> list[Backend]:
        """The tools for this guest, the best first; a dry run chooses too, to report what is missing.

        Raises:
            FileError: there is no /etc.
            MachineError: no tool here can write the guest's account files.
        """
        files, find = self.files, self.commands.find
        root = files.root
        if not files.is_dir("/etc"):
            raise FileError(f"cannot lock {LOCK}: No such file or directory")
        if files.stat(MASTER) is not None:
            if find("pw") is None:
                raise MachineError(
                    f"only FreeBSD's `pw` can write {MASTER}, and it is not installed: run azurelite in the guest"
                )
            return [PwTools(self.commands, prefix=None if root.is_host else root.path)]
        found: list[Backend] = []
        if all(find(tool) for tool in TOOLS):
            if root.is_host:
                found.append(ShadowTools(self.commands))
            elif files.privileged and self._prefix_is_safe() and not self._has_locks():
                found.append(ShadowTools(self.commands, prefix=root.path))
        if root.is_host and all(is_busybox(self.commands, tool) for tool in ("adduser", "addgroup")):
            found.append(BusyBoxTools(self.commands, lambda: table_lock(files, self._wait())))
        if root.is_host:
            self._remove_stale_locks()
        return [*found, self._direct()]

    def _has_locks(self) -> bool:
        """Whether shadow-utils would refuse to work in this foreign root; the locks are named once and stay.

        Nobody here can tell whether their processes run: they may be of another machine. Direct edits are safe
        nevertheless: they take the lock of the C library, which shadow-utils hold as well and which ends with them.
        """
        found = locks(self.files.root)
        if found and not self._locks_checked:
            LOG.warning(
                "accounts: an interrupted program left %s: useradd would not work, so the files are edited directly: "
                "remove it before this root is started",
                ", ".join(f"{self.files.root.path}{path}" for path in found),
            )
            self._locks_checked = True
        return bool(found)

    def _remove_stale_locks(self) -> None:
        """Remove what a crash left of shadow-utils' locks, once in a run. Raises FileError."""
        if self._locks_checked:
            return
        self._locks_checked = True
        if self.files.dry_run:
            remove_stale_files(self.files, self._clock)
        elif stale_files(self.files.root, self._clock):
            with table_lock(self.files, self._wait()):
                remove_stale_files(self.files, self._clock)

    def _prefix_is_safe(self) -> bool:
        """Whether the root uses shadow-utils and has no symbolic link that would lead `--prefix` out of it.

        False for a root with SELinux labels: its files would lose them on a host without SELinux.
        """
        root = self.files.root
        names = ("login.defs", "passwd", "shadow", "group", "gshadow", "subuid", "subgid", "skel")
        paths = ["/home", *(f"/etc/{name}" for name in names)]
        try:
            straight = all(root.host_path(path) == root.path + path for path in paths)
        except OSError:  # a loop of symbolic links
            return False
        whole = straight and root.stat("/etc/login.defs") is not None and root.stat("/home") is not None
        return whole and not uses_labels(self.files)

    def _entries(self, path: str, width: int) -> list[list[str]]:
        return [row for row in table_rows(self.files, path) if len(row) == width]


def _number(text: str) -> int:
    """The number of an account; an unreadable one counts as root's (0), a system account that gets no keys."""
    return as_number(text) or 0


def _system_has(uid: int) -> bool:
    import pwd

    try:
        pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        return False
    return True


def _ask_system(name: str) -> Optional[User]:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
