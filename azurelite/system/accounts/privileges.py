"""Rules for sudo or doas that let a user act as root, checked by visudo or doas before they are written.

If the tool reads a folder of files, azurelite writes a file of its own there; else it adds lines to the tool's only
file. Rules of other users stay.
"""

from __future__ import annotations

import logging
import re
from typing import Literal, Optional, Sequence

from azurelite.errors import CommandError, MachineError
from azurelite.metadata import Secret
from azurelite.record import Record
from azurelite.system.machine import System

LOG = logging.getLogger(__name__)

Tool = Literal["sudo", "doas"]

_HEADER = "# written by azurelite"
_WRAPPERS = "/run/wrappers/bin"  # NixOS's folder of set-uid programs
_DOAS_FILES = ("/etc/doas.conf", "/usr/local/etc/doas.conf")
_TIMEOUT = 30.0  # seconds


class Wish(Record):
    """The target state of a file of rules.

    Attributes:
        path: guest path.
        text: the whole content.
        mode: permission bits to set, or None to keep those of the file.
        folder: created first if missing.
        main: path and new content of a main file that does not include `path`'s folder yet.
    """

    path: str
    text: str
    mode: Optional[int]
    folder: Optional[str] = None
    main: Optional[tuple[str, str]] = None


def tool_of(system: System, wanted: Literal["auto", "sudo", "doas"] = "auto") -> Optional[Tool]:
    """The tool of the guest: sudo, else doas, else None. Raises FileError."""
    files = system.files
    sudo = files.is_dir("/etc/sudoers.d") or system.installed("sudo", f"{_WRAPPERS}/sudo")
    if sudo and wanted != "doas":
        return "sudo"
    doas = system.installed("doas", f"{_WRAPPERS}/doas") or any(map(files.exists, _DOAS_FILES))
    doas = doas or files.is_dir("/etc/doas.d")
    return "doas" if doas and wanted != "sudo" else None


def sudo_wish(system: System, name: str, rules: Sequence[str], *, own: bool = False) -> Wish:
    """The file for sudo with these rules of a user, replacing those that azurelite wrote for the user before.

    Args:
        system: the machine.
        name: a checked user name.
        rules: what follows the name, as "ALL=(ALL:ALL) ALL".
        own: the rules are azurelite's own text, which needs no check in a foreign root.

    Raises:
        MachineError: visudo rejects the file, or it cannot be read.
    """
    folder = _sudoers_folder(system)
    path = f"{folder}/90-azurelite"
    subject = f'"{name}"'  # quoted, because sudoers reads a name in capitals as an alias
    lines = system.files.lines(path) or [_HEADER]
    new = [f"{subject} {rule}" for rule in rules]
    if not _in_order(new, lines) or sum(line.partition(" ")[0] == subject for line in lines) != len(new):
        lines = [line for line in lines if line.partition(" ")[0] != subject] + new
    text = "".join(f"{line}\n" for line in lines)
    if system.root.is_host or not own:
        _check(system, "visudo", ["visudo", "-c", "-f", "-"], text, what=f"the rules of {name}")
    main = _including(system, folder)
    if main is not None and system.root.is_host:
        _check(system, "visudo", ["visudo", "-c", "-f", "-"], main[1], what=f"{main[0]} with a line for {folder}")
    missing = None if system.files.is_dir(folder) else folder
    return Wish(path, text, 0o440, folder=missing, main=main)


def doas_wish(system: System, name: str, rules: Sequence[str], *, own: bool = False) -> Wish:
    """The file for doas with these lines at its end: the last matching line counts.

    Args:
        system: the machine.
        name: a checked user name, for messages.
        rules: whole lines, as 'permit nopass "name"'.
        own: the lines are azurelite's own text, which needs no check in a foreign root.

    Raises:
        MachineError: doas rejects the file, or it cannot be read.
    """
    path = _doas_file(system)
    lines = system.files.lines(path)
    if own:  # lines that azurelite wrote for another configuration would win or lose by position
        former = {f'permit {word}keepenv "{name}"' for word in ("", "nopass ")}
        lines = [line for line in lines if line in rules or line not in former]
    if not _in_order(rules, lines):
        lines = [*(lines or [_HEADER]), *(rule for rule in rules if rule not in lines)]
    text = "".join(f"{line}\n" for line in lines)
    if system.root.is_host or not own:
        _check(system, "doas", ["doas", "-C", "/dev/stdin"], text, what=f"the rules of {name}")
    return Wish(path, text, 0o600 if system.files.stat(path) is None else None)


def fulfil(system: System, wish: Wish) -> None:
    """Write the file unless it is already as wanted. Raises FileError."""
    files = system.files
    if wish.folder is not None:
        files.mkdirs(wish.folder, mode=0o750)
    data = wish.text.encode(errors="surrogateescape")
    if wish.mode is not None:
        files.write(wish.path, data, mode=wish.mode, shared=True)
    else:
        files.rewrite(wish.path, data, shared=True)
    if wish.main is not None:
        files.rewrite_text(wish.main[0], wish.main[1], mode=0o440)


def _sudoers_folder(system: System) -> str:
    """/etc/sudoers.d, or the folder of a sudo installed below /usr/local (FreeBSD)."""
    files = system.files
    if files.is_dir("/etc/sudoers.d") or files.exists("/etc/sudoers"):
        return "/etc/sudoers.d"
    local = files.is_dir("/usr/local/etc/sudoers.d") or files.exists("/usr/local/etc/sudoers")
    return "/usr/local/etc/sudoers.d" if local else "/etc/sudoers.d"


def _including(system: System, folder: str) -> Optional[tuple[str, str]]:
    """Path and new text of sudo's main file with a line that includes the folder; None if none is needed."""
    path = folder[: -len(".d")]
    if not system.files.exists(path):
        return None
    lines = system.files.lines(path)
    place = rf'"?({re.escape(folder)}|sudoers\.d)/?"?'
    if any(re.match(rf"\s*[#@]includedir\s+{place}\s*(#.*)?$", line) for line in lines):
        return None
    if any(re.match(rf"\s*[#@]include\s+\"?{re.escape(folder)}/90-azurelite", line) for line in lines):
        return None
    # With `#`, which every version of sudo supports; `@` came with 1.9.1.
    return path, "".join(f"{line}\n" for line in [*lines, f"#includedir {folder}"])


def _doas_file(system: System) -> str:
    """A file in /etc/doas.d if that folder exists, else doas's only file, in /etc or /usr/local/etc."""
    files = system.files
    if files.is_dir("/etc/doas.d"):
        return "/etc/doas.d/azurelite.conf"
    there = next((path for path in _DOAS_FILES if files.exists(path)), None)
    if there is not None:
        return there
    local = files.is_executable("/usr/local/bin/doas") and files.is_dir("/usr/local/etc")
    return _DOAS_FILES[1] if local else _DOAS_FILES[0]


def _in_order(wanted: Sequence[str], lines: Sequence[str]) -> bool:
    rest = iter(lines)
    return all(any(line == rule for line in rest) for rule in wanted)


def _check(system: System, tool: str, argv: list[str], text: str, *, what: str) -> None:
    """Check the text with the tool's own program, if it is installed and can check text on standard input."""
    if system.commands.find(tool) is None:
        return
    try:
        _read_by(system, argv, text)
    except CommandError as error:
        try:
            _read_by(system, argv, f"{_HEADER}\n")
        except CommandError:  # it rejects everything, so it does not support standard input
            LOG.warning("%s written unchecked, because this %s cannot read standard input: update it", what, tool)
        else:
            raise MachineError(f"{tool} rejects {what}, nothing was written: {error}") from error


def _read_by(system: System, argv: list[str], text: str) -> None:
    system.commands.run(argv, timeout=_TIMEOUT, secret_input=Secret(text.encode(errors="surrogateescape")))
