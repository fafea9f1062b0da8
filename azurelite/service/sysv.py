"""Enable and disable a System V init script: the links whose names say when it runs.

On the running system the distribution's own program makes them, by the script's LSB header. In a foreign root they are
made here, after the network and before sshd; the distribution's program renumbers them when it next runs.
"""

from __future__ import annotations

import re
from typing import Optional

from azurelite.system.changes import Change
from azurelite.system.machine import System

_NAME = "azurelite"
_LEVELS = ("2", "3", "4", "5")
_ALL_LEVELS = ("0", "1", "2", "3", "4", "5", "6", "S")
_OURS = rf"([SK])\d\d{_NAME}"
_START = r"S(\d\d)(.+)"
_NETWORK = ("network", "networking", "ifupdown", "dhcpcd", "NetworkManager", "network-manager", "connman", "wicked")
_SSHD = ("ssh", "sshd", "dropbear", "opensshd")
_USUAL = 15  # as the script's line `chkconfig:` says: Red Hat's network is 10, its sshd 55
# Debian's list of scripts that are started in parallel: a script that is not listed is not started.
_PARALLEL = "/etc/init.d/.depend.start"
_ENABLING = (
    ("update-rc.d", ("update-rc.d", _NAME, "defaults")),
    ("chkconfig", ("chkconfig", "--add", _NAME)),
    ("insserv", ("insserv", _NAME)),
)
_DISABLING = (
    ("update-rc.d", ("update-rc.d", "-f", _NAME, "remove")),
    ("chkconfig", ("chkconfig", "--del", _NAME)),
    ("insserv", ("insserv", "-r", _NAME)),
)


def enable(system: System) -> None:
    """Enable the script in run levels 2 to 5.

    Raises:
        FileError: the links cannot be made.
        CommandError: the distribution's program failed.
    """
    wanting = [level for level in _LEVELS if not _starts(system, level)]
    if not wanting:
        return
    for level in wanting:  # links that keep it disabled would prevent both
        for entry in _own(system, level):
            system.files.delete(f"{_folder(system, level)}/{entry}")
    if _by_program(system, _ENABLING, "enable"):
        return
    for level in wanting:
        folder = _folder(system, level)
        number = place_among(system.files.names(folder))
        system.files.mkdirs(folder)
        system.files.link(f"{folder}/S{number:02d}{_NAME}", f"{_script_from(folder)}/{_NAME}")
    _rewrite(system, with_name(system.files.read(_PARALLEL)))


def disable(system: System) -> None:
    """Disable the script in all run levels. Raises FileError, CommandError."""
    there = [(level, entry) for level in _ALL_LEVELS for entry in _own(system, level)]
    if there and _by_program(system, _DISABLING, "disable"):
        return
    for level, entry in there:
        system.files.delete(f"{_folder(system, level)}/{entry}")
    _rewrite(system, without_name(system.files.read(_PARALLEL)))


def place_among(names: list[str]) -> int:
    """Return a number after the network's and before sshd's; where both cannot be, after the network's.

    Args:
        names: what is in the run level's folder.
    """
    starts = [(int(match[1]), match[2]) for match in (re.fullmatch(_START, name) for name in names) if match]
    network = max((number for number, name in starts if name in _NETWORK), default=None)
    sshd = min((number for number, name in starts if name in _SSHD), default=None)
    if network is None:
        return _USUAL if sshd is None else min(sshd, _USUAL)
    # Scripts with the same number run in the order of their names: azurelite before dropbear, ssh and sshd.
    lowest = min(network + 1, 99)
    return lowest if sshd is None or sshd <= lowest else min(max(lowest, _USUAL), sshd)


def with_name(listed: Optional[bytes]) -> Optional[bytes]:
    """Return Debian's list with azurelite before sshd; None where there is no such list."""
    if listed is None:
        return None
    lines = listed.decode(errors="surrogateescape").splitlines()
    targets = next((line.split()[2:] for line in lines if line.startswith("TARGETS =")), None)
    if targets is None or _NAME in targets:
        return listed
    rules = {line.partition(":")[0] for line in lines}
    after = [name for name in _SSHD if name in targets]
    done = []
    for line in lines:
        name = line.partition(":")[0]
        done.append(f"{line} {_NAME}" if line.startswith("TARGETS =") or name in after else line)
    done += [f"{name}: {_NAME}" for name in after if name not in rules]
    return "".join(f"{line}\n" for line in done).encode(errors="surrogateescape")


def without_name(listed: Optional[bytes]) -> Optional[bytes]:
    """Return Debian's list without azurelite."""
    if listed is None:
        return None
    text = listed.decode(errors="surrogateescape")
    text = re.sub(rf"^{_NAME}:.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(rf"(?<= ){_NAME}(?= )\s|\s{_NAME}$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^[^\s:=]+:\n", "", text, flags=re.MULTILINE)
    return text.encode(errors="surrogateescape")


def _rewrite(system: System, data: Optional[bytes]) -> None:
    if data is not None:
        system.files.rewrite(_PARALLEL, data)


def _by_program(system: System, ways: tuple[tuple[str, tuple[str, ...]], ...], what: str) -> bool:
    if not system.root.is_host:
        return False
    argv = next((argv for program, argv in ways if system.commands.find(program) is not None), None)
    if argv is None:
        return False
    system.perform(Change("service", _NAME, what), argv)
    return True


def _folder(system: System, level: str) -> str:
    """Return the run level's folder. Red Hat's are in /etc/rc.d, often with links to them in /etc."""
    usual = f"/etc/rc{level}.d"
    other = any(system.files.is_dir(f"/etc/rc.d/rc{one}.d") for one in _ALL_LEVELS)
    return f"/etc/rc.d/rc{level}.d" if other and not system.files.is_dir(usual) else usual


def _script_from(folder: str) -> str:
    return "../../init.d" if folder.startswith("/etc/rc.d/") else "../init.d"


def _own(system: System, level: str) -> list[str]:
    return [entry for entry in system.files.names(_folder(system, level)) if re.fullmatch(_OURS, entry)]


def _starts(system: System, level: str) -> bool:
    return any(entry.startswith("S") for entry in _own(system, level))
