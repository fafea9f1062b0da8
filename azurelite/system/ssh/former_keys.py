"""Files in a home that a removed account left behind, by which it could still log in, or run something as the new one.

They are renamed: files with keys, other files that say who may log in, and what sshd itself runs or reads at a login.
Start files of shells stay, as the rest of the home: they are part of what is given to the new account.
"""

from __future__ import annotations

import posixpath
import stat
from typing import Callable, Optional

from azurelite.system.accounts.users import User
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.ssh.authorized import USUAL, key_files, principals_files

_SUFFIX = ".former"
_KEYS = "the keys in it are those of a removed account"
_PEOPLE = "it says who else may log in, for a removed account"
_AT_LOGIN = "sshd would use it at each login, and it is a removed account's"
# Sources: sshd(8), FILES, and its settings IgnoreRhosts, GSSAPIAuthentication and KerberosAuthentication.
_OTHERS = {
    ".ssh/rc": _AT_LOGIN,
    ".ssh/environment": _AT_LOGIN,
    ".ssh/authorized_principals": _PEOPLE,
    ".rhosts": _PEOPLE,
    ".shosts": _PEOPLE,
    ".k5login": _PEOPLE,
    ".k5users": _PEOPLE,
}


def set_aside_keys(system: System, user: User, *, note: Callable[[str], None]) -> None:
    """Rename the key files in a leftover home, those that sshd reads and those that it reads by default, and `_OTHERS`.

    Args:
        system: the machine.
        user: the account that gets the home; it need not exist yet.
        note: called with the old and the new name of each.

    Raises:
        FileError: sshd's configuration cannot be read, or a file cannot be renamed.
    """
    home = posixpath.normpath(user.home)
    read = [place.path for place in key_files(system, user, note=lambda _: None) if place.home is not None]
    reasons = dict.fromkeys((*(f"{home}/{name}" for name in USUAL), *read), _KEYS)
    principals = [place.path for place in principals_files(system, user) if place.home is not None]
    for path, why in (*((f"{home}/{name}", why) for name, why in _OTHERS.items()), *((p, _PEOPLE) for p in principals)):
        reasons.setdefault(path, why)
    for path, why in reasons.items():
        there = _entry(system.files, path, home)
        if there is not None:
            name = _free_name(system.files, there, home)
            system.files.rename(there, name, beneath=home)
            note(f"{there} was renamed to {name}, because {why}")


def _entry(files: Files, path: str, home: str) -> Optional[str]:
    """The file at that path, or the link or file that leads there in place of a folder; None if there is nothing."""
    here = home
    for part in path[len(home) :].strip("/").split("/"):
        here = f"{here}/{part}"
        if not files.exists(here, beneath=home):
            return None
        found = files.stat(here, beneath=home)
        if here == path or (found is not None and not stat.S_ISDIR(found.st_mode)):
            return here
    return None


def _free_name(files: Files, path: str, home: str) -> str:
    name, number = posixpath.basename(path) + _SUFFIX, 1
    free = name
    while files.exists(f"{posixpath.dirname(path)}/{free}", beneath=home):
        number += 1
        free = f"{name}.{number}"
    return free
