"""Whether sshd accepts a key of an account: its settings for keys, and owner and permissions of the files.

Sources: OpenSSH's auth2-pubkey.c, auth2-pubkeyfile.c and `safe_path` in misc.c. sshd opens the file with the user's
permissions. With StrictModes, the file and all folders above it, up to the home or to `/`, must belong to the user or
to root, and nobody else may write to them.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import Collection, Iterator, NamedTuple, Optional

from azurelite.keys.openssh import PublicKey, authorized_lines, opening
from azurelite.system.accounts.tablefiles import as_number, table_rows
from azurelite.system.explain import explained
from azurelite.system.files import Files
from azurelite.system.ssh.access import Obstacle, Person, first_word, quoted
from azurelite.system.ssh.authorized import OTHER_SOURCES, KeyFile, files_of
from azurelite.system.ssh.revoked import revoked_obstacles
from azurelite.system.ssh.sshd_config import Setting, matches_list

_RSA_ALGORITHMS = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
_ACL = "system.posix_acl_access"


OPTIONS = "options"  # the keyword of an obstacle that is in the options of a key


def key_obstacles(
    person: Person, keys: Optional[Collection[PublicKey]] = None, *, installed: bool = True
) -> list[Obstacle]:
    """What keeps the account from logging in with one of these keys; [] if one of them is accepted.

    Args:
        person: the account.
        keys: None: any key in the files.
        installed: False: the keys are yet to be written to the files.

    Raises:
        FileError: a file cannot be read.
    """
    off = person.turned_off("pubkeyauthentication")
    if off is not None and off.certain:
        return [off]
    found = [off] if off is not None else []
    usable, problems = _usable_algorithms(person, keys)
    if keys is not None and not usable:
        return [*found, *problems]
    found += [one for one in problems if not one.certain]
    if keys is None:
        found += revoked_obstacles(person, None)
    if not installed:
        return found
    return [*found, *_file_obstacles(person, None if keys is None else {key.pair for key in usable})]


def _usable_algorithms(person: Person, keys: Optional[Collection[PublicKey]]) -> tuple[list[PublicKey], list[Obstacle]]:
    """The keys that sshd accepts or may accept by type, size and RevokedKeys, and why others are not accepted."""
    usable: list[PublicKey] = []
    problems: list[Obstacle] = []
    one_is_fine = False
    for key in keys or ():
        wrong = [*_type_obstacles(person, key), *_size_obstacles(person, key), *revoked_obstacles(person, key)]
        problems += wrong
        if not any(one.certain for one in wrong):
            usable.append(key)
            one_is_fine = one_is_fine or not wrong
    return usable, [] if one_is_fine else problems


def _type_obstacles(person: Person, key: PublicKey) -> Iterator[Obstacle]:
    names = _RSA_ALGORITHMS if key.kind == "ssh-rsa" else (key.kind,)
    lines = person.possible("pubkeyacceptedalgorithms")
    accepted = [(line, _accepted(line, names)) for line in lines]
    refusing = [line for line, names in accepted if names == ()]
    weak = [line for line, names in accepted if names is None or names == ("ssh-rsa",)]
    line = next((line for line in (*refusing, *weak) if line is not None), None)
    if line is not None:
        text = f"{quoted(line)}: add {names[0]}, the type of the key"
        yield Obstacle(text, len(refusing) == len(lines), "pubkeyacceptedalgorithms")


def _accepted(line: Optional[Setting], names: tuple[str, ...]) -> Optional[tuple[str, ...]]:
    """Which of these algorithms a line accepts; None if that depends on sshd's default."""
    value = "".join(line.values[:1]) if line is not None else ""
    if value.startswith("+"):
        return names
    if value.startswith(("-", "^")):
        return names if value[0] == "^" or not any(matches_list(name, value[1:]) for name in names) else None
    return tuple(name for name in names if not value or matches_list(name, value))


def _size_obstacles(person: Person, key: PublicKey) -> Iterator[Obstacle]:
    lines = person.possible("requiredrsasize")
    if key.kind != "ssh-rsa" or lines == (None,):
        return
    import base64

    from azurelite.keys.x509 import ssh_fields

    modulus = int.from_bytes(ssh_fields(base64.b64decode(key.blob))[-1], "big")
    small = [line for line in lines if (as_number(first_word(line)) or 0) > modulus.bit_length()]
    if small and small[0] is not None:
        text = f"{quoted(small[0])}, and the RSA key has {modulus.bit_length()} bits: give a longer key"
        yield Obstacle(text, len(small) == len(lines), "requiredrsasize")


def _file_obstacles(person: Person, wanted: Optional[set[tuple[str, str]]]) -> list[Obstacle]:
    """Why sshd finds no usable key in the files; [] if it finds one."""
    answers = [_in_files(person, line, wanted) for line in person.possible("authorizedkeysfile")]
    problems = [one for answer in answers for one in answer]
    if not problems:
        return []
    other = any(first_word(s) not in ("", "none") for name in OTHER_SOURCES for s in person.possible(name))
    certain = all(any(one.certain for one in answer) for answer in answers) and not other
    return [Obstacle(one.text, one.certain and certain, one.keyword) for one in problems]


def _in_files(person: Person, line: Optional[Setting], wanted: Optional[set[tuple[str, str]]]) -> list[Obstacle]:
    places = files_of(line, person.user)
    problems: list[Obstacle] = []
    doubts: list[Obstacle] = []
    lines = []
    broken: list[Obstacle] = []
    for place in places:
        if place.is_unreadable and line is not None:  # sshd ends the connection, and comes to no later file
            text = f"{quoted(line)}, where sshd does not know a token: use only %u, %h, %U and %%"
            broken = [Obstacle(text, keyword="authorizedkeysfile")]
            break
        entries = list(authorized_lines(_text(person, place)))
        held = opening(entries)
        if not (held if wanted is None else held & wanted):
            lines += entries
            continue
        wrong = list(_unfit(person, place))
        if any(one.certain for one in wrong):
            problems += wrong
        else:
            doubts += wrong
            lines += entries
    open_keys = opening(lines)
    if open_keys if wanted is None else open_keys & wanted:
        return doubts
    if problems or broken:
        return [*broken, *problems]
    limited = {entry.key.pair for entry in lines if entry.options}
    if limited if wanted is None else limited & wanted:
        text = f"the options of {person.user.name}'s key, such as `from=`, decide when it works"
        return [Obstacle(text, certain=False, keyword=OPTIONS)]
    if not places and line is not None:
        text = f"{quoted(line)}, which turns key files off: change it to `AuthorizedKeysFile .ssh/authorized_keys`"
        return [Obstacle(text, keyword="authorizedkeysfile")]
    paths = ", ".join(place.path for place in places)
    text = f"no usable key of {person.user.name} is in {paths}: list `ssh_keys`, or change AuthorizedKeysFile"
    return [Obstacle(text, keyword="authorizedkeysfile")]


def _text(person: Person, place: KeyFile) -> str:
    """The file's text, through links, as sshd reads it; "" for what is no regular file."""
    files = person.system.files
    if files.dry_run:  # an earlier step would have written it
        return files.text(place.path, beneath=place.home) or ""
    found = files.stat(place.path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return ""
    return files.text(place.path) or ""


class _Part(NamedTuple):
    path: str
    status: os.stat_result


def _unfit(person: Person, place: KeyFile) -> Iterator[Obstacle]:
    """Why sshd would not read the file, or not trust it. Raises FileError."""
    files, user = person.system.files, person.user
    if user.uid == 0:
        return
    real = _real(files, place.path)
    start = place.path
    if files.dry_run and start in person.system.accounts.mended_key_files:
        # An earlier step of this dry run would have fixed what is below the home.
        real = start = place.home or posixpath.dirname(start)
    parts = _parts(files, real)
    if user.uid != -1 and files.privileged:
        ids = _Ids(person)
        for part in parts:
            yield from _unreadable(files, ids, part, start)
    if {first_word(s) for s in person.possible("strictmodes")} == {"no"}:
        return
    sure = "no" not in {first_word(s) for s in person.possible("strictmodes")}
    home = _real(files, user.home)
    for part in parts:
        yield from (Obstacle(one.text, one.certain and sure, "strictmodes") for one in _untrusted(person, part))
        if part.path == home:
            return


def _real(files: Files, path: str) -> str:
    """The guest path without links."""
    with explained("look at", path):
        return files.root.host_path(path)[len(files.root.path.rstrip("/")) :] or "/"


def _parts(files: Files, path: str) -> list[_Part]:
    """The path and all folders above it, from the inside out, as far as they exist.

    Without the top folder of a foreign root, which may be private to whoever prepares the root.
    """
    found = []
    while True:
        status = files.stat(path) if path != "/" or files.root.is_host else None
        if status is not None:
            found.append(_Part(path, status))
        if path == "/":
            return found
        path = posixpath.dirname(path)


class _Ids:
    """The numbers by which the kernel decides what a user may read."""

    def __init__(self, person: Person) -> None:
        self.uid = person.user.uid
        rows = table_rows(person.system.files, "/etc/group")
        names = person.groups
        self.gids = {as_number(row[2]) for row in rows if len(row) > 2 and row[0] in names} | {person.user.gid}
        self.name = person.user.name


def _unreadable(files: Files, ids: _Ids, part: _Part, start: str) -> Iterator[Obstacle]:
    status = part.status
    shift = 6 if status.st_uid == ids.uid else 3 if status.st_gid in ids.gids else 0
    is_folder = stat.S_ISDIR(status.st_mode)
    needed = 1 if is_folder else 4
    if status.st_mode >> shift & needed:
        return
    what, fix = ("enter", "a+x") if is_folder else ("read", "a+r")
    text = f"{ids.name} may not {what} {part.path}, so sshd rejects the keys in {start}: run `chmod {fix} {part.path}`"
    yield Obstacle(text, not _has_acl(files, part.path))


def _has_acl(files: Files, path: str) -> bool:
    try:
        return bool(os.getxattr(files.root.host_path(path), _ACL))
    except OSError:  # there is none, or the file system has none
        return False


def _untrusted(person: Person, part: _Part) -> Iterator[Obstacle]:
    status, user = part.status, person.user
    whose = person.system.files.privileged and user.uid != -1  # otherwise all files belong to who prepares the root
    if whose and status.st_uid not in (0, user.uid):
        owner = person.system.accounts.name_of(status.st_uid) or f"uid {status.st_uid}"
        text = f"{part.path} belongs to {owner}, so sshd rejects the keys of {user.name}"
        yield Obstacle(f"{text}: run `chown {user.name} {part.path}`")
    elif status.st_mode & 0o002 or (status.st_mode & 0o020 and not _is_private_group(person, status)):
        text = f"{part.path} is writable by others, so sshd rejects the keys of {user.name}"
        yield Obstacle(f"{text}: run `chmod go-w {part.path}`")


def _is_private_group(person: Person, status: os.stat_result) -> bool:
    """Whether sshd ignores that the group may write: Debian's does for a group without other members."""
    files = person.system.files
    if not (files.exists("/etc/debian_version") or files.exists("/var/lib/dpkg/status")):
        return False
    owner = person.system.accounts.name_of(status.st_uid)
    users = [row[0] for row in table_rows(files, "/etc/passwd", fill=7) if as_number(row[3]) == status.st_gid]
    groups = [row for row in table_rows(files, "/etc/group", fill=4) if as_number(row[2]) == status.st_gid]
    listed = {name for row in groups for name in row[3].split(",") if name}
    members = {*users, *listed}
    return bool(groups and members) and {*users} <= {person.user.name} and listed <= {owner or ""}
