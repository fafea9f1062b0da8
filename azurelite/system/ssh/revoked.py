"""Keys that sshd rejects because of `RevokedKeys`: a text with one key a line, or a list in OpenSSH's binary format.

Source: `sshkey_check_revoked` in OpenSSH's authfile.c. sshd rejects every key if it cannot read the file; this is what
sshd_config(5) says as well. The binary format (KRL) is not read here.
"""

from __future__ import annotations

import stat
from typing import Iterator, Optional

from azurelite.errors import FileError
from azurelite.keys.openssh import PublicKey, parse_key
from azurelite.system.machine import System
from azurelite.system.ssh.access import Obstacle, Person, first_word, quoted
from azurelite.system.ssh.sshd_config import Setting

_KEYWORD = "revokedkeys"
_BINARY = b"SSHKRL\n\0"
_NOTHING = "/dev/null"
# Part of the root file system, so that a file which is missing now does not come with a mount.
_ALWAYS_THERE = ("/etc/", "/usr/")


def revoked_obstacles(person: Person, key: Optional[PublicKey]) -> Iterator[Obstacle]:
    """Why sshd rejects a key, or may reject it.

    Args:
        person: the account.
        key: None: a key that is not known.
    """
    lines = person.possible(_KEYWORD)
    found = [_by_line(person.system, line, key) for line in lines]
    certain = all(one is not None and one.certain for one in found)
    yield from (Obstacle(one.text, certain, _KEYWORD) for one in found[:1] if certain and one is not None)
    if not certain:
        yield from (Obstacle(one.text, False, _KEYWORD) for one in found if one is not None)


def _by_line(system: System, line: Optional[Setting], key: Optional[PublicKey]) -> Optional[Obstacle]:
    """The obstacle if this line applies; None if the file does not list the key."""
    if line is None or first_word(line) in ("", "none", _NOTHING):
        return None
    path = line.values[0]
    doubt = Obstacle(f"{quoted(line)}: check that it does not list the key", certain=False)
    try:
        status = system.files.stat(path) if path.startswith("/") else None
        if path.startswith("/") and status is None:
            text = f"{quoted(line)}, which does not exist, so sshd rejects all keys: create it, or remove the line"
            return Obstacle(text, system.live and path.startswith(_ALWAYS_THERE))
        if status is None or not stat.S_ISREG(status.st_mode):
            return doubt
        data = system.files.read(path) or b""
    except FileError:  # such as a list that is too large
        return doubt
    if data.startswith(_BINARY):
        return doubt
    return _in_text(line, data.decode(errors="replace"), key, doubt)


def _in_text(line: Setting, text: str, key: Optional[PublicKey], doubt: Obstacle) -> Optional[Obstacle]:
    for number, entry in enumerate((line.lstrip(" \t") for line in text.split("\n")), 1):
        if not entry or entry.startswith("#"):
            continue
        if key is not None and entry.split()[:2] == [key.kind, key.blob]:
            return Obstacle(f"{quoted(line)}, which lists the key: remove it from line {number}, or give another key")
        try:
            parse_key(entry)
        except ValueError:
            return Obstacle(f"{quoted(line)}, whose line {number} is no key: remove it (sshd rejects all keys)", False)
    return None if key is not None else (doubt if text.strip() else None)
