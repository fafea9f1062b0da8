"""The file in which sshd looks for a user's keys, and adding keys to it.

Keys are added, never removed; other lines stay as they are. Inside the home the file belongs to the user and no
symbolic link is followed. Elsewhere it belongs to root, as sshd's StrictModes requires.
"""

from __future__ import annotations

import posixpath
import re
import stat
from typing import Callable, Iterator, Optional, Sequence

from azurelite.errors import FileError, MachineError
from azurelite.keys.openssh import AuthorizedLine, PublicKey, authorized_lines, opening
from azurelite.record import Record
from azurelite.system.accounts.homes import can_be_made
from azurelite.system.accounts.users import ROOT_OWNER, Owner, User
from azurelite.system.blocks import ended
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.selinux import relabel
from azurelite.system.ssh.access import quoted
from azurelite.system.ssh.sshd_config import Setting, SshdConfig, read_config

USUAL = (".ssh/authorized_keys", ".ssh/authorized_keys2")  # sshd's own default
# Settings of sshd by which keys come from elsewhere than from the files. They cannot be evaluated here.
OTHER_SOURCES = ("authorizedkeyscommand", "trustedusercakeys", "authorizedprincipalscommand")
_WORD = r"%(.?)"


class KeyFile(Record):
    """A file that sshd reads for one user.

    Attributes:
        path: guest path.
        home: the user's home if the file is inside it.
        shared: all users share this file.
        is_unreadable: its word in AuthorizedKeysFile has a token that sshd does not know.
    """

    path: str
    home: Optional[str]
    shared: bool
    is_unreadable: bool


def add_keys(
    system: System, user: User, keys: Sequence[PublicKey], *, note: Callable[[str], None], path: Optional[str] = None
) -> None:
    """Make sshd accept these keys for that user.

    A key that already gives a shell through one of the files that sshd reads for the user is not added again. If the
    file has it with options that restrict it (`command=`, `from=`, …), it is added before all other lines: Azure
    provided it for login, and the first matching line counts for sshd.

    Args:
        system: the machine.
        user: whose keys.
        keys: in the order in which they are written.
        note: called with each warning.
        path: overrides sshd's AuthorizedKeysFile, with the same tokens (%u %h %U %%).

    Raises:
        MachineError: sshd reads no file for that user, or only one for all users.
        FileError: a file could not be written, or there is a symbolic link below the home.
    """
    if not keys:
        return
    places = key_files(system, user, note=note)
    if path is None:
        target = _choose(places, user, _line_of(system, user, "authorizedkeysfile"))
        others = [place for place in places if place != target]
    else:
        target, others = _expand(path, user), []
        if target.path not in [place.path for place in places]:
            note(f"sshd does not read {target.path}, where the keys are written: add it to AuthorizedKeysFile")
    files = system.files
    strict = _is_strict(system, user)
    _check_home(files, user, target, note=note if strict else lambda _: None)
    present = {pair for place in others for pair in opening(_lines(files, place))}
    folder = posixpath.dirname(target.path)
    if target.home is not None:
        _make_folders(files, folder, home=target.home, owner=user.owner)
    before = files.text(target.path, beneath=target.home) or ""
    data = _with_keys(before, keys, present, lambda text: note(f"{target.path} {text}")).encode(
        errors="surrogateescape"
    )
    if target.home is None:
        _write_outside(files, target.path, data, user, strict=strict)
    elif files.write(target.path, data, mode=0o600, owner=user.owner, beneath=target.home, shared=True):
        relabel(system, folder if folder != target.home else target.path)
    system.accounts.mended_key_files.add(target.path)


def key_files(system: System, user: User, *, note: Callable[[str], None]) -> tuple[KeyFile, ...]:
    """The files that sshd reads for a user, in its order. Raises FileError: its configuration cannot be read."""
    config = read_config(system.files)
    if config is None:
        return tuple(_expand(word, user) for word in USUAL)
    groups = frozenset(system.accounts.groups_of(user.name))
    barred = _keys_barred(config, user.name, groups)
    if barred is not None:
        note(f"{barred}: sshd rejects all keys: change it to `yes`")
    for setting in config.depends_on_caller("authorizedkeysfile", user.name, groups):
        note(
            f"{setting.place} sets another AuthorizedKeysFile for some connections, where keys are not written: add "
            "them by hand if needed"
        )
    return files_of(config.for_user("authorizedkeysfile", user.name, groups), user)


def files_of(setting: Optional[Setting], user: User) -> tuple[KeyFile, ...]:
    """The files that a line AuthorizedKeysFile names for a user; None: sshd's default."""
    words = USUAL if setting is None or not setting.values else setting.values
    return tuple(_expand(word, user) for word in words if word.lower() != "none")


def principals_files(system: System, user: User) -> tuple[KeyFile, ...]:
    """The files that any line AuthorizedPrincipalsFile names for a user. Raises FileError."""
    config = read_config(system.files)
    groups = frozenset(system.accounts.groups_of(user.name))
    lines = config.possible("authorizedprincipalsfile", user.name, groups) if config is not None else ()
    return tuple(place for line in lines if line is not None for place in files_of(line, user))


def _keys_barred(config: SshdConfig, name: str, groups: frozenset[str]) -> Optional[str]:
    """The setting that makes sshd reject all keys of the user, with file and line, or None."""
    barred = config.for_user("pubkeyauthentication", name, groups)
    if barred is None or "".join(barred.values[:1]).lower() != "no":
        return None
    return f"{barred.place} has `PubkeyAuthentication no`"


def _line_of(system: System, user: User, keyword: str) -> Optional[Setting]:
    """The line of sshd's configuration that applies to a user from any address, or None. Raises FileError."""
    config = read_config(system.files)
    groups = frozenset(system.accounts.groups_of(user.name))
    return None if config is None else config.for_user(keyword, user.name, groups)


def _is_strict(system: System, user: User) -> bool:
    """Whether sshd checks owner and permissions (StrictModes), at least for some connections of the user."""
    config = read_config(system.files)
    lines = config.possible("strictmodes", user.name, frozenset(system.accounts.groups_of(user.name))) if config else ()
    return not lines or any(line is None or "".join(line.values[:1]).lower() != "no" for line in lines)


def has_other_source(system: System, user: User) -> bool:
    """Whether sshd may know keys of the user from elsewhere than from files. Raises FileError."""
    config = read_config(system.files)
    groups = frozenset(system.accounts.groups_of(user.name))
    lines = [s for name in OTHER_SOURCES for s in (config.possible(name, user.name, groups) if config else ())]
    return any(line is not None and line.values and line.values[0].lower() != "none" for line in lines)


def _with_keys(text: str, keys: Sequence[PublicKey], present: set[tuple[str, str]], note: Callable[[str], None]) -> str:
    """The text with those keys added, one a line, that do not yet give a shell through it or another file."""
    lines = list(authorized_lines(text))
    present, held = present | opening(lines), {line.key.pair for line in lines}
    text = ended(text)
    head = ""
    for key in keys:
        if key.options:
            text += _line_with_options(text, key, key.pair in present, note)
            continue
        if key.pair in present:
            continue
        present.add(key.pair)
        if key.pair in held:
            note("has a key with options that prevent a shell: added the key without options before that line")
            head += key.line + "\n"
        else:
            text += key.line + "\n"
    return head + text


def _line_with_options(text: str, key: PublicKey, has_shell: bool, note: Callable[[str], None]) -> str:
    """The line to add for a key with options; "" if the text has it, or the key without options."""
    start = f"{key.options} {key.kind} {key.blob}"
    if any(f"{line.strip()} ".startswith(f"{start} ") for line in text.split("\n")):
        return ""
    if has_shell:
        note("has a key without the options that are configured for it: remove that line, so that the options apply")
        return ""
    return key.line + "\n"


def _expand(word: str, user: User) -> KeyFile:
    """The file that a word of AuthorizedKeysFile means for a user."""
    values = {"%": "%", "h": user.home, "u": user.name, "U": str(user.uid)}
    text = re.sub(_WORD, lambda found: values.get(found[1], found[0]), word)
    home = posixpath.normpath(user.home)
    path = posixpath.normpath(text if text.startswith("/") else f"{home}/{text}")
    path = "/" + path.lstrip("/")
    below = path.startswith(home.rstrip("/") + "/")
    used = {found[1] for found in re.finditer(_WORD, word)}
    shared = not below and not used & {"h", "u", "U"}
    return KeyFile(path, home if below else None, shared=shared, is_unreadable=not used <= {*values})


def _choose(places: tuple[KeyFile, ...], user: User, line: Optional[Setting]) -> KeyFile:
    """The first file inside the home, which the user can manage; else the first that belongs to this user only."""
    own = [place for place in places if place.home is not None] or [place for place in places if not place.shared]
    if own:
        return own[0]
    if places:
        raise MachineError(
            f"all users share {places[0].path}, so a key in it would let {user.name} in as any of them: put %u or %h "
            "into sshd's AuthorizedKeysFile",
            reason="failed to provision ssh keys",
        )
    where = "sshd's configuration has `AuthorizedKeysFile none`" if line is None else quoted(line)
    raise MachineError(
        f"{where}, which turns key files off for {user.name}: change it to "
        "`AuthorizedKeysFile .ssh/authorized_keys`, or remove the line",
        reason="failed to provision ssh keys",
    )


def _lines(files: Files, place: KeyFile) -> Iterator[AuthorizedLine]:
    return authorized_lines(files.text(place.path, beneath=place.home) or "")


def _check_home(files: Files, user: User, target: KeyFile, *, note: Callable[[str], None]) -> None:
    if target.home is None:
        return
    if not files.exists(target.home, beneath=target.home):
        remedy = "create it, or list `user` before `ssh_keys`"
        if not can_be_made(target.home):
            remedy = f"set another home for {user.name} where the account is stored"
        raise MachineError(
            f"{target.home}, the home of {user.name}, does not exist: {remedy}",
            reason="failed to provision ssh keys",
        )
    found = files.stat(target.home, beneath=target.home)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return
    # Not every sshd minds that a group may write. Whether this one does, the check before Ready finds out.
    if found.st_mode & 0o002:
        note(f"{target.home} is writable by others, so sshd rejects its keys: run `chmod go-w {target.home}`")
    elif files.privileged and user.uid != -1 and found.st_uid not in (0, user.uid):  # -1: a dry run's new user
        note(f"{user.name} does not own {target.home}, so sshd rejects its keys: run `chown {user.name} {target.home}`")


def _make_folders(files: Files, folder: str, *, home: str, owner: Owner) -> None:
    """Create the folders between the home and the file, owned by the user and writable by nobody else."""
    below = folder[len(home.rstrip("/")) :].strip("/")
    here = home.rstrip("/")
    for part in below.split("/") if below else []:
        here = f"{here}/{part}"
        found = files.stat(here, beneath=home)
        fit = files.is_dir(here, beneath=home) and (found is None or not found.st_mode & 0o022)
        if here == folder or not fit:
            files.mkdir(here, mode=0o700, owner=owner, beneath=home)


def _open_folder(files: Files, folder: str) -> Optional[str]:
    """The topmost folder of the path that others than root may write to, None if there is none. Raises FileError."""
    here, found = folder, None
    while here != "/":
        status = files.stat(here)
        if status is not None and stat.S_ISDIR(status.st_mode) and status.st_mode & 0o022:
            found = here
        here = posixpath.dirname(here)
    return found


def _write_outside(files: Files, path: str, data: bytes, user: User, *, strict: bool) -> None:
    if not data:  # all keys are in another file
        return
    beneath = _open_folder(files, posixpath.dirname(path))
    if beneath is not None and strict:
        raise FileError(f"{beneath} is writable by others, so sshd rejects its keys: run `chmod go-w {beneath}`")
    files.mkdirs(posixpath.dirname(path))
    found = files.stat(path)
    owner, mode = ROOT_OWNER, 0o644  # sshd reads it with the user's permissions
    if found is not None and files.privileged:
        mode = stat.S_IMODE(found.st_mode) & ~0o022
        if found.st_uid == user.uid:
            owner = user.owner
        else:
            mode |= 0o444
    # others may plant links in an open folder
    files.write(path, data, mode=mode, owner=owner, beneath=beneath, shared=True)
