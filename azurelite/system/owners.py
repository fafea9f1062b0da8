"""The owner of a file by names or numbers, and which folders of a path others than root can change."""

from __future__ import annotations

import stat
from typing import Optional

from azurelite.errors import MachineError
from azurelite.system.accounts.tablefiles import as_number, table_rows
from azurelite.system.accounts.users import Owner
from azurelite.system.machine import System


def find_owner(system: System, text: str) -> Owner:
    """Parse an owner.

    Args:
        system: the guest.
        text: USER, USER:GROUP or :GROUP, each by name or number. The default group is the user's primary one, the
            default user is root.

    Raises:
        MachineError: no such user or group; or a number without an account, and no group.
    """
    user, colon, group = text.partition(":")
    number, account = as_number(user), system.accounts.user(user) if user else None
    if user and number is None and account is None:
        raise MachineError(f"user {user} does not exist: create it first, or set another owner")
    if group:
        gid = _group_number(system, group)
    elif account is not None:
        gid = account.gid
    elif number is not None and number != 0:
        gid = _own_group(system, number)
    else:
        gid = 0
    uid = account.uid if account is not None else (number or 0)
    return Owner(text if colon else (user or "root"), uid, gid)


def shared_folder(system: System, path: str) -> Optional[str]:
    """The first folder of `path` that others than root can change, or None.

    A user could plant a link below it, so none may be followed there (`beneath=` of the methods of `Files`).

    Args:
        system: the guest.
        path: absolute guest path.
    """
    top = system.files.stat("/")
    trusted = {0, top.st_uid if top is not None else 0}
    parts = path.strip("/").split("/")
    for depth in range(1, len(parts)):
        folder = "/" + "/".join(parts[:depth])
        found = system.files.stat(folder)
        if found is None:
            return None
        if found.st_uid not in trusted or (found.st_mode & stat.S_IWOTH):
            return folder
    return None


def _group_number(system: System, group: str) -> int:
    number = as_number(group)
    if number is not None:
        return number
    for entry in table_rows(system.files, "/etc/group", fill=4):
        found = as_number(entry[2])
        if entry[0] == group and found is not None:
            return found
    if system.accounts.has_group(group):  # in a dry run: one that would have been created
        return -1
    raise MachineError(f"group {group} does not exist: create it first, or set another one")


def _own_group(system: System, number: int) -> int:
    for entry in table_rows(system.files, "/etc/passwd", fill=7):
        gid = as_number(entry[3])
        if as_number(entry[2]) == number and gid is not None:
            return gid
    raise MachineError(f"no account has the number {number}: set the group too, as {number}:GROUP")
