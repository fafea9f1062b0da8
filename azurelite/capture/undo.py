"""Undoing the files that the manifest lists: lines are removed singly, and a file only if azurelite made all of it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from typing import Iterable, Optional

from azurelite.errors import FileError
from azurelite.netconf.nics import MARK, PLACES
from azurelite.record import Record
from azurelite.state.manifest import Manifest, Row
from azurelite.system.accounts.users import Owner
from azurelite.system.explain import explained
from azurelite.system.machine import System
from azurelite.system.network.hostnames import HOSTNAME, HOSTS, static_name, write_name
from azurelite.system.owners import shared_folder
from azurelite.system.ssh.sshd_config import BLOCK

RULE_FILES = (
    *(f"{top}/{name}" for top in ("/etc", "/usr/local/etc") for name in ("sudoers.d/90-azurelite", "doas.conf")),
    "/etc/doas.d/azurelite.conf",
)
_OWN_RULE_FILES = tuple(path for path in RULE_FILES if "azurelite" in path)
_NO_NAME = "localhost"
# Handlers whose files are about one VM. The others write what the image's configuration says, or the user data.
_OF_THE_VM = ("certificates", "custom_data", "tags", "random_seed")
_OF_THE_OWNER = ("user_data", "write_files", "run", "")  # "": a plug-in
_GROUPED = ("ssh_host_keys",)  # another group covers them
_OWN_NAME = "127.0.1.1"


class Trace(Record):
    """What is left of the changes of one file.

    Attributes:
        path: guest path.
        way: "lines": remove these lines; "block": sshd's block; "delete": the file; "name": the host name.
        lines: the lines.
        made: azurelite created the file, so that it goes when nothing else is in it.
        group: "" if it goes by default; else the option that removes it.
        doubt: why it cannot be removed; "" if it can.
    """

    path: str
    way: str
    lines: tuple[str, ...] = ()
    made: bool = False
    group: str = ""
    doubt: str = ""

    def __str__(self) -> str:
        what = {"block": "azurelite's block in ", "name": "the host name in "}.get(self.way, "")
        if self.way == "lines":
            what = "1 line of " if len(self.lines) == 1 else f"{len(self.lines)} lines of "
        return what + self.path


def traces(system: System, manifest: Manifest) -> list[Trace]:
    """What is left, in the order of the manifest. A path that cannot be looked at becomes a trace with a doubt."""
    rows: dict[str, list[Row]] = {}
    for row in manifest.of("write"):
        rows.setdefault(row.target, []).append(row)
    found: list[Trace] = []
    for path, all_rows in rows.items():
        try:
            trace = _trace(system, path, all_rows)
        except FileError as error:
            trace = Trace(path, "delete", doubt=error.message)
        found += [trace] if trace is not None else []
    return found


def _trace(system: System, path: str, rows: list[Row]) -> Optional[Trace]:
    files = system.files
    beneath = shared_folder(system, path)
    found = files.stat(path, beneath=beneath or path)
    if found is not None and stat.S_ISLNK(found.st_mode) and beneath is None:
        found = files.stat(path)  # root's own link, such as /etc/hosts on some systems
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    return _of_text(system, path, rows, files.text(path, beneath=beneath) or "")


def _of_text(system: System, path: str, rows: list[Row], text: str) -> Optional[Trace]:
    made = bool(rows[0].made)
    if _is_network_file(path):
        return Trace(path, "delete") if text.startswith(MARK) else None
    if BLOCK.begin in text.split("\n"):
        return Trace(path, "block", made=made)
    if path == HOSTNAME:
        own = [row.lines[0] for row in rows if row.lines]
        return Trace(path, "name") if static_name(system.files) in own else None
    lines = _still_there(text, [line for row in rows for line in row.lines if line])
    if lines:
        return Trace(path, "lines", lines, made=made)
    if all(row.older for row in rows):
        return _of_older(system, path, text)
    return _whole(path, rows[-1], text, made=made)


def _is_network_file(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return any(folder == place and name.startswith(prefix) for place, prefix in PLACES)


def _still_there(text: str, lines: Iterable[str]) -> tuple[str, ...]:
    """Those of the lines that the text still has."""
    there = set(text.split("\n"))
    return tuple(dict.fromkeys(line for line in lines if line in there and not line.startswith(MARK)))


def _of_older(system: System, path: str, text: str) -> Optional[Trace]:
    """The line for the host name, the only one of an older release that can still be told."""
    name = static_name(system.files)
    if path != HOSTS or name is None:
        return None
    short = name.partition(".")[0]
    lines = [line for line in text.split("\n") if line.split()[:1] == [_OWN_NAME] and short in line.split()]
    return Trace(path, "lines", tuple(lines), group="adopted") if lines else None


def _whole(path: str, row: Row, text: str, *, made: bool) -> Optional[Trace]:
    """A file that no other program shares: it goes if azurelite made it, and nobody has changed it since."""
    if not made or row.step in _GROUPED or row.step not in (*_OF_THE_VM, *_OF_THE_OWNER):
        return None
    group = "files" if row.step in _OF_THE_OWNER else ""
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    changed = row.digest is not None and row.digest != digest
    doubt = "somebody has changed it since azurelite wrote it: look at it, and remove it by hand" if changed else ""
    return Trace(path, "delete", group=group, doubt=doubt)


def undo(system: System, trace: Trace) -> None:
    """Remove what is left of one file. Raises FileError."""
    files, path = system.files, trace.path
    if trace.way == "name":
        write_name(files, _NO_NAME)
        return
    if trace.way == "delete":
        _delete(system, path, shared_folder(system, path))
        return
    beneath = shared_folder(system, path)
    text = files.text(path, beneath=beneath)
    if text is None:
        return
    rest = BLOCK.removed(text) if trace.way == "block" else without_lines(text, trace.lines)
    _put(system, path, rest, beneath=beneath, made=trace.made)


def remove_rules(system: System, name: str) -> None:
    """Remove an account's rules from the files that azurelite writes rules to. Raises FileError."""
    for path in RULE_FILES:
        text = system.files.text(path)
        if text is None:
            continue
        own = path in _OWN_RULE_FILES
        mine = [line for line in text.split("\n") if _is_rule(line, name, own=own)]
        if mine:
            _put(system, path, without_lines(text, mine), beneath=None, made=own)


def _is_rule(line: str, name: str, *, own: bool) -> bool:
    """Whether it is a rule that azurelite writes for an account: in its own files any, elsewhere only its own words."""
    if not own:
        return line in {f'permit {word}keepenv "{name}"' for word in ("", "nopass ")}
    words = line.split()
    return words[:1] == [f'"{name}"'] or (words[:1] in (["permit"], ["deny"]) and f'"{name}"' in words)


def without_lines(text: str, lines: Iterable[str]) -> str:
    """The text without these lines, each removed once."""
    rest = text.split("\n")
    for line in lines:
        if line in rest:
            rest.remove(line)
    return "\n".join(rest)


def _put(system: System, path: str, rest: str, *, beneath: Optional[str], made: bool) -> None:
    """Write what remains; a file of azurelite's own that has only comments left is deleted."""
    files = system.files
    if made and all(not line.strip() or line.startswith(MARK) for line in rest.split("\n")):
        _delete(system, path, beneath)
        return
    found = files.stat(path, beneath=beneath)
    if beneath is None or found is None:
        files.rewrite_text(path, rest)
        return
    owner = Owner(str(found.st_uid), found.st_uid, found.st_gid)
    data = rest.encode(errors="surrogateescape")
    files.write(path, data, mode=stat.S_IMODE(found.st_mode), owner=owner, beneath=beneath)


def _delete(system: System, path: str, beneath: Optional[str]) -> None:
    with explained("remove", path), system.files.parent(path, beneath=beneath or path) as (folder, name):
        os.unlink(name, dir_fd=folder)
        system.files.durability.note(folder)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is inside a folder."""
    return posixpath.normpath(path).startswith(posixpath.normpath(folder).rstrip("/") + "/")
