"""The pieces of a service in a guest: files, links that enable it, its own folder.

All of them are checked before the first one is changed, and files that are not azurelite's stay as they are. A file
that `service install` wrote has a mark; one of a package has the same text without the mark.
"""

from __future__ import annotations

import os
import re
from typing import Literal, Optional, Union

from azurelite.errors import MachineError
from azurelite.record import Record
from azurelite.system.changes import Change
from azurelite.system.explain import explained
from azurelite.system.machine import System

MARK = "# Put here by `azurelite service install`, which writes it anew; `azurelite service remove` takes it away."
# The path of the program in the plain files.
_PROGRAM = rb"/usr/(?:local/)?bin/azurelite(?:\.pyz)?(?![\w./-])"
_ANY_PROGRAM = rb"/[A-Za-z0-9._+/-]*azurelite(?:\.pyz)?(?![\w./-])"


def units_folder() -> str:
    """Return where the plain files are, for a message; for azurelite.pyz, how to unpack them."""
    package = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(package, "units")
    if os.path.isdir(folder):
        return folder
    return (
        f"azurelite/service/units in {os.path.dirname(os.path.dirname(package))} (`python3 -m zipfile -e` unpacks it)"
    )


def plain(unit: str) -> bytes:
    """Return a unit as a package has it.

    Args:
        unit: its path below `units/`, as "systemd/azurelite.service"; empty: a file without content.
    """
    if not unit:
        return b""
    from importlib.resources import files

    found = files("azurelite.service").joinpath("units")
    for part in unit.split("/"):
        found = found.joinpath(part)
    return found.read_bytes()


def marked(unit: str, program: str) -> bytes:
    """Return a unit as `service install` writes it: with the mark, and with the program's path in the guest."""
    text = re.sub(_PROGRAM, lambda _: program.encode(), plain(unit))
    first, newline, rest = text.partition(b"\n")
    mark = MARK.encode() + b"\n"
    return first + newline + mark + rest if first.startswith(b"#!") else mark + text


def names_program(unit: str) -> bool:
    """Tell whether the unit names the program's path."""
    return re.search(_PROGRAM, plain(unit)) is not None


def is_marked(data: Optional[bytes]) -> bool:
    """Tell whether `service install` wrote it."""
    return data is not None and MARK.encode() in data.splitlines()[:2]


def runs_it(data: bytes) -> bool:
    """Tell whether it runs `azurelite provision`: also a distribution's own text, or an older release's."""
    lines = [line for line in data.splitlines() if not line.lstrip().startswith(b"#")]
    text = b"\n".join(lines)
    return (
        b"azurelite" in text and re.search(rb"(azurelite(_command|\.pyz)?|command)\}?\"? provision\b", text) is not None
    )


def is_plain(data: bytes, unit: str) -> bool:
    """Tell whether it is the unit as a package has it, with any path of the program."""
    return re.sub(_ANY_PROGRAM, b"", data) == re.sub(_ANY_PROGRAM, b"", plain(unit))


State = Literal["absent", "ours", "packaged", "foreign"]


class Text(Record):
    """A file.

    Attributes:
        path: its guest path.
        unit: the path of its text below `units/`; empty: a file without content.
        mode: permission bits.
        plain: its format has no comments, so it has no mark.
    """

    path: str
    unit: str
    mode: int = 0o644
    plain: bool = False


class Link(Record):
    """A symbolic link. Another link to a file of the same name is accepted, unless `exact`.

    Attributes:
        path: its guest path.
        target: what it points to.
        exact: the init system starts what the link points to, and not a service of the link's name.
    """

    path: str
    target: str
    exact: bool = False


class Unit(Record):
    """The pieces of one service.

    Attributes:
        texts: its files; the first one decides to whom all of them belong.
        inner: links that are part of it.
        enabling: links and files that have the init system start it.
        folder: the folder that only this service uses.
        superseded: a file that `service install` wrote before a package brought its own.
    """

    texts: tuple[Text, ...] = ()
    inner: tuple[Link, ...] = ()
    enabling: tuple[Union[Link, Text], ...] = ()
    folder: Optional[str] = None
    superseded: Optional[str] = None


def state(system: System, unit: Unit) -> State:
    """Return whose unit is in the guest; another text that runs azurelite is a package's. Raises FileError."""
    if not unit.texts:
        return "packaged"
    head = unit.texts[0]
    if unit.folder is not None and _link(system, unit.folder) is not None:
        return "foreign"
    if _link(system, head.path) is not None:
        return "foreign"
    data = system.files.read(head.path)
    if data is None:
        return "absent"
    if is_marked(data):
        return "ours"
    return "packaged" if is_plain(data, head.unit) or (runs_it(data) and _can_be(data, head.unit)) else "foreign"


def is_mask(system: System, path: str) -> bool:
    """Tell whether an administrator has masked the unit: by a link in its place, or by an empty file."""
    return _link(system, path) is not None or system.files.read(path) == b""


def check(system: System, units: tuple[Unit, ...]) -> None:
    """Check that all units can be written. Raises MachineError: another file has the place."""
    for unit in units:
        whose = state(system, unit)
        if whose == "foreign":
            _refuse(system, unit.texts[0].path)
        for text in unit.texts if whose in ("absent", "ours") else ():
            _check_parent(system, text.path)
            if whose == "absent" and not _is_free(system, text):
                _refuse(system, text.path)
        for link in (*unit.inner, *(piece for piece in unit.enabling if isinstance(piece, Link))):
            _check_parent(system, link.path)
            target = _link(system, link.path)
            if _is_there(system, link.path) and (target is None or not _as_good(target, link)):
                _refuse(system, link.path)
        for piece in unit.enabling:
            if isinstance(piece, Text) and not _is_free(system, piece):
                _refuse(system, piece.path)


def place(system: System, units: tuple[Unit, ...], program: str) -> None:
    """Write the units; what is already there stays as it is.

    Args:
        system: the guest.
        units: `check` has accepted them.
        program: guest path of the azurelite program.

    Raises:
        FileError: the files cannot be changed.
    """
    for unit in units:
        if unit.superseded is not None:
            system.files.delete(unit.superseded)
        if state(system, unit) != "packaged":
            for text in unit.texts:
                _write(system, text, program)
            for link in unit.inner:
                _make_link(system, link)
        for piece in unit.enabling:
            if isinstance(piece, Link):
                _make_link(system, piece)
            else:
                _write(system, piece, program)


def take_away(system: System, units: tuple[Unit, ...], notes: list[str]) -> None:
    """Remove what `service install` wrote, and what enables a package's unit.

    Args:
        system: the guest.
        units: all that can be there.
        notes: receives messages for the administrator.

    Raises:
        FileError: the files cannot be changed.
    """
    for unit in units:
        whose = state(system, unit)
        if whose == "foreign":
            _note_what_is_kept(system, unit, notes)
            continue
        if whose == "ours" and not _is_this(system, unit.texts[0]):
            continue
        for piece in unit.enabling:
            if isinstance(piece, Text) or _as_good(_link(system, piece.path) or "", piece):
                system.files.delete(piece.path)
        if unit.superseded is not None:
            system.files.delete(unit.superseded)
        if whose == "ours":
            for path in (*(text.path for text in unit.texts), *(link.path for link in unit.inner)):
                system.files.delete(path)
            if unit.folder is not None:
                _remove_folder(system, unit.folder, notes)


def _note_what_is_kept(system: System, unit: Unit, notes: list[str]) -> None:
    left = [piece.path for piece in unit.enabling if _is_there(system, piece.path)]
    if left:
        notes.append(f"kept {', '.join(left)}: {unit.texts[0].path} is not azurelite's")


def _can_be(data: bytes, unit: str) -> bool:
    """Tell whether this init system can run the script: sysvinit cannot run OpenRC's, OpenRC can run both."""
    return b"openrc-run" not in data.partition(b"\n")[0] or unit.startswith("openrc/")


def _is_this(system: System, text: Text) -> bool:
    """Tell whether the marked file is this unit, not that of another init system which uses the same folder."""
    first = (system.files.read(text.path) or b"").partition(b"\n")[0]
    return not first.startswith(b"#!") or first == plain(text.unit).partition(b"\n")[0]


def _write(system: System, text: Text, program: str) -> None:
    system.files.mkdirs(os.path.dirname(text.path))
    data = plain(text.unit) if text.plain else marked(text.unit, program)
    system.files.write(text.path, data, mode=text.mode)


def _make_link(system: System, link: Link) -> None:
    if _as_good(_link(system, link.path) or "", link):
        return
    system.files.mkdirs(os.path.dirname(link.path))
    system.files.link(link.path, link.target)


def _as_good(target: str, link: Link) -> bool:
    if not link.exact:
        return target.rpartition("/")[2] == link.target.rpartition("/")[2]
    folder = os.path.dirname(link.path)
    return target != "" and os.path.normpath(os.path.join(folder, target)) == link.target


def _is_free(system: System, text: Text) -> bool:
    """Tell whether the place is free, or holds the same content."""
    if _link(system, text.path) is not None:
        return False
    if not system.files.exists(text.path):
        return True
    return system.files.read(text.path) == plain(text.unit)


def _check_parent(system: System, path: str) -> None:
    """Check that the folder exists or can be made. Raises MachineError."""
    folder = os.path.dirname(path)
    while folder != "/" and system.files.stat(folder) is None:
        folder = os.path.dirname(folder)
    if not system.files.is_dir(folder):
        raise MachineError(f"cannot write {path}: {folder} is not a folder: move it away, then run again")


def _refuse(system: System, path: str) -> None:
    target = _link(system, path)
    if target == "/dev/null":
        raise MachineError(f"{path} is masked: run `systemctl unmask {os.path.basename(path)}` first")
    if target is None and path.endswith(".service") and not system.files.is_dir(path) and is_mask(system, path):
        raise MachineError(f"{path} is empty, which masks the unit: move it away, then run again")
    what = "is not azurelite's" if target is None else f"is a link to {target}, which is not azurelite's"
    raise MachineError(f"{path} {what}: move it away, then run again")


def _link(system: System, path: str) -> Optional[str]:
    with explained("look at", path):
        return system.root.link_target(path)


def _is_there(system: System, path: str) -> bool:
    return os.path.basename(path) in system.files.names(os.path.dirname(path))


def _remove_folder(system: System, path: str, notes: list[str]) -> None:
    """Remove the service's own folder if it is empty."""
    if system.files.names(path):
        notes.append(f"kept the folder {path}: it holds {', '.join(system.files.names(path))}")
        return
    if not system.files.is_dir(path):
        return
    system.journal.record(Change("delete", path, "empty folder"))
    if not system.dry_run:
        with explained("remove", path), system.files.parent(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)
            os.fsync(folder)
