"""Homes of accounts: who has a folder as home, and filling one from /etc/skel."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from typing import Iterator, Optional

from azurelite.errors import FileError, MachineError
from azurelite.system.accounts.tablefiles import table_rows
from azurelite.system.accounts.users import ROOT_OWNER, Owner
from azurelite.system.explain import explained
from azurelite.system.files import Files

SKELETON = "/etc/skel"
_HOME_MODE = 0o700
_NO_HOMES = ("dev", "empty", "nonexistent", "proc", "run", "sys")  # folders at the top without homes


def make_home(files: Files, home: str, owner: Owner, *, unfinished: bool = False) -> None:
    """Create a home from /etc/skel.

    Args:
        files: the guest's files.
        home: guest path.
        owner: the account.
        unfinished: a crash ended its creation, so that it may exist without its mode or some of its files.

    Raises:
        MachineError: a system call failed.
    """
    parent = os.path.dirname(home)
    if not files.is_dir(parent):
        files.make_own_folder(parent, mode=0o755)
    found = files.stat(home, beneath=home)
    if found is not None and not unfinished and (found.st_uid != 0 or home != f"/home/{owner.name}"):
        return  # an existing home, or a system folder: the owners of its files stay
    try:
        # The owner is set last, so that a home left incomplete by a crash can be recognised.
        files.mkdir_silently(home, mode=_HOME_MODE, owner=ROOT_OWNER, beneath=home)
        copy_skeleton(files, SKELETON, home, owner, home)
        files.mkdir_silently(home, mode=_HOME_MODE, owner=owner, beneath=home)
    except MachineError:
        if found is None:  # only root could enter it until now
            import shutil

            shutil.rmtree(files.root.host_path(home, beneath=home), ignore_errors=True)
        raise


def copy_skeleton(files: Files, source: str, target: str, owner: Owner, home: str) -> None:
    """Copy folders and files that do not exist yet; skip links and devices."""
    for here, there, mode, is_folder in skeleton(files, source, target):
        if exists_below(files, there, home):
            continue
        if is_folder:
            files.mkdir_silently(there, mode=mode, owner=owner, beneath=home)
        else:
            files.put(there, files.read(here) or b"", mode=mode, owner=owner, beneath=home)


def home_owner(files: Files, home: str) -> Optional[str]:
    """The account in /etc/passwd that has this folder as its home, or None. Raises FileError."""
    for fields in table_rows(files, "/etc/passwd"):
        if len(fields) > 5 and fields[5].rstrip("/") == home.rstrip("/"):
            return fields[0]
    return None


def usual_home_mode(files: Files) -> int:
    """The mode that useradd gives to a home: HOME_MODE, or what UMASK leaves, of login.defs. Raises FileError."""
    words = (line.split() for line in files.lines("/etc/login.defs"))
    settings = {row[0]: int(row[1], 8) for row in words if len(row) > 1 and re.fullmatch("0?[0-7]{3}", row[1])}
    mask = settings.get("UMASK")
    return settings.get("HOME_MODE") or 0o777 & ~(0o022 if mask is None else mask)


def can_be_made(home: str) -> bool:
    """Whether that path, from a directory service, may be a person's home; `/`, /nonexistent or /dev/null is none."""
    parts = home.strip("/").split("/")
    straight = home.startswith("/") and "/" + "/".join(parts) == posixpath.normpath(home)
    return straight and len(parts) > 1 and parts[0] not in _NO_HOMES and home != "/var/empty"


def expect_home(files: Files, home: str, *, leftover: bool = False) -> None:
    """In a dry run: treat this home as existing, with the content of /etc/skel if it is new or a leftover."""
    files.expect_folder(home, mode=_HOME_MODE)
    if files.stat(home, beneath=home) is not None and not leftover:
        return
    for here, there, mode, is_folder in skeleton(files, SKELETON, home):
        if exists_below(files, there, home):
            continue
        if is_folder:
            files.expect_folder(there, mode=mode)
        else:
            files.expect_file(there, files.read(here) or b"")


def exists_below(files: Files, path: str, home: str) -> bool:
    """Whether the path exists below a home, or leads through a link or a file there, so that it cannot be created."""
    try:
        return files.stat(path, beneath=home) is not None
    except FileError:
        return True


def skeleton(files: Files, source: str, target: str) -> Iterator[tuple[str, str, int, bool]]:
    """What to copy from a folder, as (from, to, mode, is a folder); a folder comes before its content."""
    with explained("look at", source):
        names = files.root.names(source)
    for name in names:
        here, there = f"{source}/{name}", f"{target}/{name}"
        found = files.stat(here, beneath=here)
        if found is not None and stat.S_ISDIR(found.st_mode):
            yield here, there, stat.S_IMODE(found.st_mode), True
            yield from skeleton(files, here, there)
        elif found is not None and stat.S_ISREG(found.st_mode):
            yield here, there, stat.S_IMODE(found.st_mode), False
