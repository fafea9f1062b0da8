"""Whose the accounts of a provisioned machine are, and removing them.

An account is azurelite's own only if the manifest says that azurelite made it, and name, number and home are still the
same in /etc/passwd. All others count as adopted: they are named, and stay until somebody asks for them.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import Collection, Optional

from azurelite.capture.erase import erase
from azurelite.errors import MachineError
from azurelite.record import Record
from azurelite.state.manifest import ACCOUNT, Manifest
from azurelite.system.accounts.homes import can_be_made
from azurelite.system.accounts.leftover_homes import mount_of
from azurelite.system.accounts.tablefiles import LOCK_WAIT, TableFiles, as_number, changing, login_range, table_rows
from azurelite.system.accounts.tools import MASTER
from azurelite.system.accounts.users import ROOT_OWNER, User
from azurelite.system.explain import explained
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.ssh.former_keys import set_aside_keys

_NOBODY = (65534, 65535)
_TABLES = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
_COPIES = (*(f"{path}-" for path in _TABLES), *(f"/etc/sub{kind}id{end}" for kind in "ug" for end in ("", "-")))
_OF_ACCOUNT = (
    "/var/mail/{}",
    "/var/spool/mail/{}",
    "/var/spool/cron/{}",
    "/var/spool/cron/crontabs/{}",
    "/var/spool/cron/tabs/{}",
    "/var/lib/systemd/linger/{}",
    "/var/lib/sudo/lectured/{}",
    "/var/db/sudo/lectured/{}",
)


class Known(Record):
    """An account that the manifest names.

    Attributes:
        user: the account as in /etc/passwd; if it is gone, as in the manifest.
        exists: whether it is in /etc/passwd.
        own: whether azurelite made it, for certain.
        home_made: whether azurelite made its home.
        doubt: why it is not certain that azurelite made the account; "" if it is.
    """

    user: User
    exists: bool
    own: bool
    home_made: bool
    doubt: str = ""


def known_accounts(files: Files, manifest: Manifest) -> list[Known]:
    """The accounts that the manifest names, in its order, without those of the system. Raises FileError."""
    names = [row.target for row in manifest.rows if row.kind == ACCOUNT]
    names += [row.target for row in manifest.of("user") if row.detail.startswith("create")]
    found = (_known(files, manifest, name) for name in dict.fromkeys(names))
    return [one for one in found if one is not None]


def _known(files: Files, manifest: Manifest, name: str) -> Optional[Known]:
    rows = [row for row in manifest.of(ACCOUNT) if row.target == name]
    made = [row for row in rows if row.made]
    fields = next((row for row in table_rows(files, "/etc/passwd", fill=7) if row[0] == name), None)
    if fields is None:
        if not made:
            return None
        gone = made[-1]
        return Known(User(name, gone.uid, -1, gone.home, ""), exists=False, own=True, home_made=gone.home_made)
    uid, gid = as_number(fields[2]), as_number(fields[3])
    lowest, _ = login_range(files, "UID")
    if uid is None or uid < max(lowest, 1) or uid in _NOBODY:
        return None  # a system account is never removed
    user = User(name, uid, -1 if gid is None else gid, fields[5], fields[6])
    same = [row for row in made if (row.uid, row.home) == (uid, user.home)]
    if same:
        return Known(user, exists=True, own=True, home_made=any(row.home_made for row in same))
    if made:
        doubt = "its number or its home has changed since azurelite made it"
    elif rows:
        doubt = "it existed before azurelite"
    else:
        doubt = "an older release, or an interrupted run, did not note whether azurelite made it"
    return Known(user, exists=True, own=False, home_made=False, doubt=doubt)


def remove_account(system: System, user: User) -> None:
    """Remove an account from the account files and their copies, with its group, memberships, mail and jobs.

    Its home stays. Raises MachineError.
    """
    files = system.files
    if files.stat(MASTER) is not None:
        raise MachineError(f"only FreeBSD's `pw` can write {MASTER}: run `pw userdel {user.name}`")
    with changing(files, system.commands.within(system.clock, LOCK_WAIT)) as tables:
        alone = _has_own_group(tables, user)
        for path in _TABLES:
            if files.stat(path) is not None:
                tables.put_lines(path, _without(tables.lines(path), path, user.name, group=alone))
    for path in _COPIES:
        if files.stat(path, beneath=path) is not None:
            lines = files.lines(path)
            kept = _without(lines, path, user.name, group=alone)
            if kept != lines:
                files.rewrite_text(path, "".join(f"{line}\n" for line in kept))
    for pattern in _OF_ACCOUNT:
        erase(system.root, pattern.format(user.name))


def _has_own_group(tables: TableFiles, user: User) -> bool:
    """Whether the primary group has the account's name, and no other account has that group."""
    others = any(row[3:4] == [str(user.gid)] and row[0] != user.name for row in _rows(tables, "/etc/passwd"))
    own = any(row[0] == user.name and row[2:3] == [str(user.gid)] for row in _rows(tables, "/etc/group"))
    return own and not others


def _rows(tables: TableFiles, path: str) -> list[list[str]]:
    return [line.split(":") for line in tables.lines(path)]


def _without(lines: list[str], path: str, name: str, *, group: bool) -> list[str]:
    """The lines of an account file without the account, as user and as member of groups."""
    grouped = path.rstrip("-").endswith(("group", "gshadow"))
    kept = []
    for row in (line.split(":") for line in lines):
        if row[0] == name and (group or not grouped):
            continue
        if grouped and len(row) == 4:
            for at in (2, 3) if "gshadow" in path else (3,):
                row[at] = ",".join(member for member in row[at].split(",") if member != name)
        kept.append(":".join(row))
    return kept


def remove_group(system: System, name: str) -> None:
    """Remove a group that has no members. Raises MachineError."""
    with changing(system.files, system.commands.within(system.clock, LOCK_WAIT)) as tables:
        for path in ("/etc/group", "/etc/gshadow"):
            if system.files.stat(path) is not None:
                tables.put_lines(path, [line for line in tables.lines(path) if line.split(":")[0] != name])


def is_empty_group(files: Files, name: str, *, without: Collection[str]) -> bool:
    """Whether the group exists, is none of the system's, and has no members but these accounts. Raises FileError."""
    lowest, _ = login_range(files, "GID")
    row = next((row for row in table_rows(files, "/etc/group", fill=4) if row[0] == name), None)
    gid = as_number(row[2]) if row is not None else None
    if row is None or gid is None or gid < lowest or gid in _NOBODY:
        return False
    members = {member for member in row[3].split(",") if member}
    members |= {entry[0] for entry in table_rows(files, "/etc/passwd", fill=7) if as_number(entry[3]) == gid}
    return members <= set(without)


def home_exists(files: Files, known: Known) -> bool:
    """Whether the account's home is still there as a folder of its own or as one that `keep_home` left."""
    home = posixpath.normpath(known.user.home)
    if not known.exists and not known.home_made:
        return False
    found = files.stat(home, beneath=home) if can_be_made(home) else None
    if found is None or not stat.S_ISDIR(found.st_mode):
        return False
    return known.exists or _may_be_deleted(found, known) == ""


def home_obstacle(system: System, known: Known) -> str:
    """Why the home must not be deleted; "" if it may be. Raises FileError."""
    files, home = system.files, posixpath.normpath(known.user.home)
    if not known.home_made:
        return "nothing says that azurelite made it"
    found = files.stat(home, beneath=home)
    if found is None or not stat.S_ISDIR(found.st_mode) or not can_be_made(home):
        return "it is not a folder, or a home may not be there"
    for row in table_rows(files, "/etc/passwd", fill=7):
        other = posixpath.normpath(row[5] or "/")
        if row[0] != known.user.name and (other == home or other.startswith(f"{home}/")):
            return f"it is the home of {row[0]}, too"
    with explained("look at", home):
        outer, _ = system.root.open_parent(home, beneath=home)
        try:
            with files.parent(f"{home}/-", beneath=home) as (inner, _):
                if mount_of(outer) != mount_of(inner):
                    return "it is a mount point"
        finally:
            os.close(outer)
    return _may_be_deleted(found, known)


def _may_be_deleted(found: os.stat_result, known: Known) -> str:
    uid, mode = found.st_uid, stat.S_IMODE(found.st_mode)
    kept_earlier = not known.exists and uid == 0 and mode == 0o700  # by `keep_home`
    return "" if uid == known.user.uid or kept_earlier else f"it belongs to uid {uid}"


def is_closed(files: Files, user: User) -> bool:
    """Whether root owns the account's home already. Raises FileError."""
    home = posixpath.normpath(user.home)
    found = files.stat(home, beneath=home)
    return found is not None and found.st_uid == 0


def keep_home(system: System, user: User) -> None:
    """Close a home that stays without its account: root owns it, and its keys let nobody in. Raises FileError."""
    home = posixpath.normpath(user.home)
    set_aside_keys(system, user, note=lambda _: None)
    system.files.mkdir(home, mode=0o700, owner=ROOT_OWNER, beneath=home)
