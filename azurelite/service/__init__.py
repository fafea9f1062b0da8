"""Install or remove the service that runs azurelite at every boot.

The places are in `layouts.py`, the texts are the files in `units/`, and `pieces.py` checks, writes and removes one
piece. Nothing is started here: a service that is installed starts at the next boot.
"""

from __future__ import annotations

import re
from typing import Optional

from azurelite.errors import ConfigError, MachineError
from azurelite.record import Record
from azurelite.service import inittab, sysv
from azurelite.service.layouts import LAYOUTS
from azurelite.service.pieces import check, place, state, take_away, units_folder
from azurelite.system.machine import System
from azurelite.system.services.detect import installed

INITS = tuple(LAYOUTS)
_FOLDERS = (
    "/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/bin", "/opt/azurelite/bin", "/opt/azurelite",
    "/opt/bin", "/opt",
)  # fmt: skip
_PROGRAMS = tuple(f"{folder}/azurelite{ending}" for ending in ("", ".pyz") for folder in _FOLDERS)
# It is written into scripts, quoted or not, and into the init systems' own files: no character that is special there.
_PLAIN_PATH = r"/[A-Za-z0-9._+/-]+"


class Installed(Record):
    """The result of `install` or `remove`.

    Attributes:
        init: the init system; for `remove` without one, all from which something was removed, joined by ", ".
        notes: what is unusual, or has to be done by hand.
    """

    init: str
    notes: tuple[str, ...]


def install(
    system: System, *, init: Optional[str] = None, program: Optional[str] = None, early: bool = False
) -> Installed:
    """Install the service that runs azurelite at every boot. The changes are in the system's journal.

    Args:
        system: the guest.
        init: one of INITS; None: the one that is found.
        program: guest path of the azurelite program; None: the one that is found.
        early: also install the unit that sets the host name from the provisioning disc before the network starts.

    Raises:
        ConfigError: no such init system, no program, or no early unit for this init system.
        MachineError: another file has the place, or it cannot be changed.
    """
    chosen = _chosen(system, init)
    layout = LAYOUTS[chosen](system)
    if early and not layout.early:
        raise ConfigError(
            f"--early: {chosen} has no unit that runs before the network, only systemd has: leave --early out and see "
            "contrib/initramfs in azurelite's sources"
        )
    if layout.lacking is not None:
        raise MachineError(layout.lacking)
    notes: list[str] = []
    units = layout.wanted(early=early)
    check(system, units)
    wanted = chosen == "busybox" or layout.needs_program(system, early=early)
    path = _program(system, program, notes) if wanted else ""
    mark = len(system.journal)
    place(system, units, path)
    if chosen == "sysvinit":
        sysv.enable(system)
    if chosen == "busybox":
        inittab.enable(system, path)
    if len(system.journal) > mark:
        layout.tell(system, notes)
    return Installed(chosen, tuple(notes))


def remove(system: System, *, init: Optional[str] = None) -> Installed:
    """Undo `install`. Files of a package or an administrator stay, but are no longer started at boot.

    Args:
        system: the guest.
        init: only for this init system; None: for all.

    Raises:
        ConfigError: no such init system.
        MachineError: something cannot be changed.
    """
    if init is not None:
        _known(init)
    found: list[str] = []
    notes: list[str] = []
    for name in (init,) if init is not None else INITS:
        mark = len(system.journal)
        layout = LAYOUTS[name](system)
        units = layout.wanted(early=True)
        if name == "sysvinit" and not any(state(system, unit) == "foreign" for unit in units):
            sysv.disable(system)
        if name == "busybox":
            inittab.disable(system)
        take_away(system, units, notes)
        if len(system.journal) > mark:
            found.append(name)
            layout.tell(system, notes)
    return Installed(", ".join(found) or init or "none", tuple(dict.fromkeys(notes)))


def _chosen(system: System, init: Optional[str]) -> str:
    if init is not None:
        return _known(init)
    found = installed(system)
    if found not in INITS:
        raise ConfigError(f"no init system was found in this guest: {_remedy()}")
    return found


def _known(init: str) -> str:
    if init not in INITS:
        raise ConfigError(f"unknown init system {init!r}: {_remedy()}")
    return init


def _remedy() -> str:
    return (
        f"give --init one of {', '.join(INITS)}; or let another one run `azurelite provision --detach` once per boot, "
        f"as the examples in {units_folder()} do"
    )


def _program(system: System, given: Optional[str], notes: list[str]) -> str:
    """Return the guest path of the program that the unit runs."""
    if given is not None:
        if not re.fullmatch(_PLAIN_PATH, given):
            raise ConfigError("--program must be an absolute path of only letters, digits and . _ + - /")
        if not system.files.is_executable(given):
            raise ConfigError(f"--program {given}: no executable file of the guest: correct the path")
        found: Optional[str] = given
    else:
        found = next((path for path in _PROGRAMS if system.files.is_executable(path)), None)
        if found is None and system.root.is_host:
            found = system.commands.find("azurelite")
    if found is None or not re.fullmatch(_PLAIN_PATH, found):
        raise ConfigError(
            "azurelite is not installed in this guest: install it, or give its path with --program (searched for an "
            f"executable azurelite or azurelite.pyz in {', '.join(_FOLDERS)})"
        )
    _look_at_interpreter(system, found, notes)
    return found


def _look_at_interpreter(system: System, program: str, notes: list[str]) -> None:
    """Note a missing Python: a program copied from another machine's virtual environment names one."""
    first = (system.files.read(program) or b"").partition(b"\n")[0]
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    if words and words[0].startswith("/") and not system.files.is_executable(words[0]):
        notes.append(f"{program} needs {words[0]}, which does not exist: install it, or install azurelite again")
    elif (
        len(words) > 1
        and words[0].endswith("/env")
        and words[1].isidentifier()
        and not any(system.files.is_executable(f"{folder}/{words[1]}") for folder in _FOLDERS)
    ):
        notes.append(f"{program} needs {words[1]}, which is in none of {', '.join(_FOLDERS)}: install it")
