"""What lets a user act as root: rules for sudo or doas, checked by their own programs before they count.

It writes one file of azurelite's own where the tool reads a folder of such files, and else adds lines to the tool's
only file. Rules of other users stay; nobody is demoted.
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
    """A file of rules as it should be.

    Attributes:
        path: guest path.
        text: the whole content.
        mode: permission bits that it gets, or None for those that it has.
        folder: made first where it is not there.
        main: path and content of a file that must be made to read `path`'s folder.
    """

    path: str
    text: str
    mode: Optional[int]
    folder: Optional[str] = None
    main: Optional[tuple[str, str]] = None


def tool_of(system: System, wanted: Literal["auto", "sudo", "doas"] = "auto") -> Optional[Tool]:
    """What the guest has: sudo, or else doas, or None. Raises FileError."""
    files = system.files
    sudo = files.is_dir("/etc/sudoers.d") or system.installed("sudo", f"{_WRAPPERS}/sudo")
    if sudo and wanted != "doas":
        return "sudo"
    doas = system.installed("doas", f"{_WRAPPERS}/doas") or any(map(files.exists, _DOAS_FILES))
    doas = doas or files.is_dir("/etc/doas.d")
    return "doas" if doas and wanted != "sudo" else None


def sudo_wish(system: System, name: str, rules: Sequence[str], *, own: bool = False) -> Wish:
    """The file for sudo with these rules of a user in place of those that azurelite wrote for him before.

    Args:
        system: the machine.
        name: a checked user name.
        rules: what stands behind the name, as "ALL=(ALL:ALL) ALL".
        own: the rules are azurelite's own text: in a foreign root no program needs to check them.

    Raises:
        MachineError: visudo refuses the file, or it cannot be read.
    """
    folder = _sudoers_folder(system)
    path = f"{folder}/90-azurelite"
    subject = f'"{name}"'  # in quotes, for sudoers takes a name in capitals for an alias
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
    """The file for doas with these lines at its end, for the last that fits counts.

    Args:
        system: the machine.
        name: a checked user name, for messages.
        rules: whole lines, as 'permit nopass "name"'.
        own: the lines are azurelite's own text: in a foreign root no program needs to check them.

    Raises:
        MachineError: doas refuses the file, or it cannot be read.
    """
    path = _doas_file(system)
    lines = system.files.lines(path)
    if own:  # what azurelite wrote when the wish was another one would win, or lose, by its place alone
        former = {f'permit {word}keepenv "{name}"' for word in ("", "nopass ")}
        lines = [line for line in lines if line in rules or line not in former]
    if not _in_order(rules, lines):
        lines = [*(lines or [_HEADER]), *(rule for rule in rules if rule not in lines)]
    text = "".join(f"{line}\n" for line in lines)
    if system.root.is_host or not own:
        _check(system, "doas", ["doas", "-C", "/dev/stdin"], text, what=f"the rules of {name}")
    return Wish(path, text, 0o600 if system.files.stat(path) is None else None)


def fulfil(system: System, wish: Wish) -> None:
    """Write it, where it is not so already. Raises FileError."""
    files = system.files
    if wish.folder is not None:
        files.mkdirs(wish.folder, mode=0o750)
    data = wish.text.encode(errors="surrogateescape")
    if wish.mode is not None:
        files.write(wish.path, data, mode=wish.mode)
    else:
        files.rewrite(wish.path, data)
    if wish.main is not None:
        files.rewrite_text(wish.main[0], wish.main[1], mode=0o440)


def _sudoers_folder(system: System) -> str:
    """/etc/sudoers.d, or that of a sudo whose things are below /usr/local (FreeBSD)."""
    files = system.files
    if files.is_dir("/etc/sudoers.d") or files.exists("/etc/sudoers"):
        return "/etc/sudoers.d"
    local = files.is_dir("/usr/local/etc/sudoers.d") or files.exists("/usr/local/etc/sudoers")
    return "/usr/local/etc/sudoers.d" if local else "/etc/sudoers.d"


def _including(system: System, folder: str) -> Optional[tuple[str, str]]:
    """The main file of a sudo that does not read the folder yet, with the line that makes it."""
    path = folder[: -len(".d")]
    if not system.files.exists(path):
        return None
    lines = system.files.lines(path)
    place = rf'"?({re.escape(folder)}|sudoers\.d)/?"?'
    if any(re.match(rf"\s*[#@]includedir\s+{place}\s*(#.*)?$", line) for line in lines):
        return None
    if any(re.match(rf"\s*[#@]include\s+\"?{re.escape(folder)}/90-azurelite", line) for line in lines):
        return None
    # With `#`, which every sudo knows; `@` came with 1.9.1.
    return path, "".join(f"{line}\n" for line in [*lines, f"#includedir {folder}"])


def _doas_file(system: System) -> str:
    """A file in /etc/doas.d where doas reads that folder, else its only file, in /etc or /usr/local/etc."""
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
    """Let the tool's own program read the text. Where it is not installed, or cannot read one, nothing can be said."""
    if system.commands.find(tool) is None:
        return
    try:
        _read_by(system, argv, text)
    except CommandError as error:
        try:
            _read_by(system, argv, f"{_HEADER}\n")
        except CommandError:  # one that does not read standard input refuses everything
            LOG.warning("%s cannot check %s here", tool, what)
        else:
            raise MachineError(f"{tool} refuses {what}, and nothing is written: {error}") from error


def _read_by(system: System, argv: list[str], text: str) -> None:
    system.commands.run(argv, timeout=_TIMEOUT, secret_input=Secret(text.encode(errors="surrogateescape")))
