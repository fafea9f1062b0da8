"""The file in which sshd looks for a user's keys, and adding keys to it.

Keys are added, never taken away; other lines stay as they are. Below the home the file belongs to the user and no
link is followed; anywhere else it belongs to root, as sshd's StrictModes wants it.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from typing import Callable, Iterator, Optional, Sequence

from azurelite.errors import FileError, MachineError
from azurelite.keys.openssh import AuthorizedLine, PublicKey, authorized_lines, opening
from azurelite.record import Record
from azurelite.system.accounts.users import ROOT_OWNER, Owner, User
from azurelite.system.blocks import ended
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.selinux import relabel
from azurelite.system.ssh.sshd_config import SshdConfig, read_config

_USUAL = (".ssh/authorized_keys", ".ssh/authorized_keys2")  # sshd's own default
_WORD = r"%(.?)"


class KeyFile(Record):
    """A file that sshd reads for one user.

    Attributes:
        path: guest path.
        home: the user's home when the file lies below it.
        shared: it is the same file for every user.
    """

    path: str
    home: Optional[str]
    shared: bool


def add_keys(
    system: System, user: User, keys: Sequence[PublicKey], *, note: Callable[[str], None], path: Optional[str] = None
) -> None:
    """See to it that sshd takes these keys for that user.

    A key that opens a shell by any of the files that sshd reads for him is not added again. One that stands in the
    file with options that keep it from that (`command=`, `from=`, …) is put ahead of everything: Azure gave it for
    entering, and sshd takes the first line.

    Args:
        system: the machine.
        user: whose keys.
        keys: in the order in which they shall stand.
        note: takes what a reader should know.
        path: as sshd's AuthorizedKeysFile (tokens %u %h %U %%), in place of what sshd's configuration says.

    Raises:
        MachineError: sshd reads no file for that user, or only one for all users.
        FileError: a file could not be written; a link below the home is not followed.
    """
    if not keys:
        return
    places = key_files(system, user, note=note)
    if path is None:
        target = _choose(places, user)
        others = [place for place in places if place != target]
    else:
        target, others = _expand(path, user), []
        if target.path not in [place.path for place in places]:
            note(f"by its configuration sshd does not look into {target.path}, which the keys go to")
    files = system.files
    _check_home(files, user, target, note=note)
    present = {pair for place in others for pair in opening(_lines(files, place))}
    folder = posixpath.dirname(target.path)
    if target.home is not None:
        _make_folders(files, folder, home=target.home, owner=user.owner)
    before = files.text(target.path, beneath=target.home) or ""
    data = _with_keys(before, keys, present, lambda text: note(f"{target.path} {text}")).encode(
        errors="surrogateescape"
    )
    if target.home is None:
        _write_outside(files, target.path, data, user)
    elif files.write(target.path, data, mode=0o600, owner=user.owner, beneath=target.home):
        relabel(system, folder if folder != target.home else target.path)
    system.accounts.mended_key_files.add(target.path)


def key_files(system: System, user: User, *, note: Callable[[str], None]) -> tuple[KeyFile, ...]:
    """The files that sshd reads for a user, in its order. Raises FileError: its configuration cannot be read."""
    config = read_config(system.files)
    if config is None:
        return tuple(_expand(word, user) for word in _USUAL)
    groups = frozenset(system.accounts.groups_of(user.name))
    barred = keys_barred(system, user)
    if barred is not None:
        note(f"{barred}: sshd takes no key until that is changed")
    for setting in config.depends_on_caller("authorizedkeysfile", user.name, groups):
        note(f"{setting.place} names other files of keys for some connections: the keys are not put there")
    return tuple(_expand(word, user) for word in _words(config, user.name, groups) if word.lower() != "none")


def keys_barred(system: System, user: User) -> Optional[str]:
    """What keeps sshd from taking any key of the user's, with its place, or None. Raises FileError."""
    config = read_config(system.files)
    if config is None:
        return None
    barred = config.for_user("pubkeyauthentication", user.name, frozenset(system.accounts.groups_of(user.name)))
    if barred is None or "".join(barred.values[:1]).lower() != "no":
        return None
    return f"{barred.place} has `PubkeyAuthentication no`"


def _with_keys(text: str, keys: Sequence[PublicKey], present: set[tuple[str, str]], note: Callable[[str], None]) -> str:
    """The text with those keys, each on a line of its own, that open a shell neither by it nor by another file."""
    lines = list(authorized_lines(text))
    present, held = present | opening(lines), {line.key.pair for line in lines}
    text = ended(text)
    head = ""
    for key in keys:
        if key.pair in present:
            continue
        present.add(key.pair)
        if key.pair in held:
            note("has a given key with options that keep it from a shell: it now stands ahead of that line, without")
            head += key.line + "\n"
        else:
            text += key.line + "\n"
    return head + text


def has_usable_key(system: System, user: User) -> bool:
    """sshd takes a key of the user's, from anywhere, and gives him a shell. A file that cannot be read holds none."""
    try:
        config = read_config(system.files)
        strict = config is None or config.value("strictmodes") != "no"
        places = key_files(system, user, note=lambda _: None)
        usable = [place for place in places if not strict or _is_fit(system, user, place)]
        return bool(opening(line for place in usable for line in _lines(system.files, place)))
    except FileError:
        return False


def _is_fit(system: System, user: User, place: KeyFile) -> bool:
    """StrictModes: the file and the folders up to the home, or to the root, are the user's or root's alone to write."""
    files, here = system.files, place.path
    if files.dry_run and here in system.accounts.mended_key_files and place.home is not None:
        here = place.home  # what is below would be fit by now
    while True:
        found = files.stat(here, beneath=place.home)
        if found is not None and not _is_own(files, user, found):
            return False
        if here in ("/", place.home):
            return True
        here = posixpath.dirname(here)


def _is_own(files: Files, user: User, found: os.stat_result) -> bool:
    """Nobody but the user and root may write there, as far as numbers are known: a dry run's new user has none."""
    whose = not files.privileged or user.uid == -1 or found.st_uid in (0, user.uid)
    return whose and not found.st_mode & 0o022


def _words(config: SshdConfig, name: str, groups: frozenset[str]) -> tuple[str, ...]:
    setting = config.for_user("authorizedkeysfile", name, groups)
    return _USUAL if setting is None or not setting.values else setting.values


def _expand(word: str, user: User) -> KeyFile:
    """A word of AuthorizedKeysFile as the file that it means for a user."""
    values = {"%": "%", "h": user.home, "u": user.name, "U": str(user.uid)}
    text = re.sub(_WORD, lambda found: values.get(found[1], found[0]), word)
    home = posixpath.normpath(user.home)
    path = posixpath.normpath(text if text.startswith("/") else f"{home}/{text}")
    path = "/" + path.lstrip("/")
    below = path.startswith(home.rstrip("/") + "/")
    used = {found[1] for found in re.finditer(_WORD, word)}
    return KeyFile(path, home if below else None, shared=not below and not used & {"h", "u", "U"})


def _choose(places: tuple[KeyFile, ...], user: User) -> KeyFile:
    """The first below the home, where the user can see to it himself; else the first that is his alone."""
    own = [place for place in places if place.home is not None] or [place for place in places if not place.shared]
    if own:
        return own[0]
    if places:
        raise MachineError(
            f"sshd reads {places[0].path} for every user alike, and a key there would open every account to "
            f"{user.name}: let AuthorizedKeysFile in sshd's configuration have a %u or %h",
            reason="failed to provision ssh keys",
        )
    raise MachineError(
        f"sshd reads no file of keys for {user.name}, by `AuthorizedKeysFile none` in its configuration: "
        "name a file there",
        reason="failed to provision ssh keys",
    )


def _lines(files: Files, place: KeyFile) -> Iterator[AuthorizedLine]:
    return authorized_lines(files.text(place.path, beneath=place.home) or "")


def _check_home(files: Files, user: User, target: KeyFile, *, note: Callable[[str], None]) -> None:
    if target.home is None:
        return
    if not files.exists(target.home, beneath=target.home):
        raise MachineError(
            f"the home of {user.name}, {target.home}, is not there: make it, or let `user` make it",
            reason="failed to provision ssh keys",
        )
    found = files.stat(target.home, beneath=target.home)
    if found is None or not stat.S_ISDIR(found.st_mode) or _is_own(files, user, found):
        return
    if found.st_mode & 0o022:
        note(f"others may write into {target.home}, and sshd then takes no key from there: chmod go-w {target.home}")
    else:
        note(f"{target.home} belongs to somebody else, and sshd then takes no key from there: give it to {user.name}")


def _make_folders(files: Files, folder: str, *, home: str, owner: Owner) -> None:
    """The folders between the home and the file: the user's, and nobody else may write there."""
    below = folder[len(home.rstrip("/")) :].strip("/")
    here = home.rstrip("/")
    for part in below.split("/") if below else []:
        here = f"{here}/{part}"
        found = files.stat(here, beneath=home)
        fit = files.is_dir(here, beneath=home) and (found is None or not found.st_mode & 0o022)
        if here == folder or not fit:
            files.mkdir(here, mode=0o700, owner=owner, beneath=home)


def _check_folders(files: Files, folder: str) -> None:
    """StrictModes wants every folder on the way to be root's alone to write."""
    here = folder
    while here != "/":
        found = files.stat(here)
        if found is not None and stat.S_ISDIR(found.st_mode) and found.st_mode & 0o022:
            raise FileError(f"{here} can be written by others, and sshd then takes no keys from it: chmod go-w {here}")
        here = posixpath.dirname(here)


def _write_outside(files: Files, path: str, data: bytes, user: User) -> None:
    if not data:  # all keys are in another file
        return
    _check_folders(files, posixpath.dirname(path))
    files.mkdirs(posixpath.dirname(path))
    found = files.stat(path)
    owner, mode = ROOT_OWNER, 0o644  # sshd reads it with the user's rights
    if found is not None and files.privileged:
        mode = stat.S_IMODE(found.st_mode) & ~0o022
        if found.st_uid == user.uid:
            owner = user.owner
        else:
            mode |= 0o444
    files.write(path, data, mode=mode, owner=owner)
