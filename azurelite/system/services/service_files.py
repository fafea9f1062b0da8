"""Which services start at boot, by the files that say so, and taking one off that list.

Files alone are read and changed, so this holds for the running system and a foreign root alike. A service that runs
goes on running.
"""

from __future__ import annotations

import re
from typing import Callable, Iterator, Optional

from azurelite.errors import MachineError
from azurelite.system.changes import Change
from azurelite.system.explain import explained
from azurelite.system.machine import System

_OWN = "/etc/systemd/system"
_SHIPPED = ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_UNITS = (_OWN, *_SHIPPED)
_DINIT = ("/usr/local/lib/dinit.d", "/usr/lib/dinit.d", "/lib/dinit.d")  # the distribution's
_WANTING = r".*\.(wants|requires|upholds)"
_STARTING = ("2", "3", "4", "5", "S")  # run levels that start services; 0, 1 and 6 end them


def is_enabled(system: System, init: str, name: str) -> Optional[bool]:
    """The service starts at boot; None where there is no such service. Raises FileError."""
    return _ENABLED[_way(system, init, name)](system, name)


def disable(system: System, init: str, name: str) -> bool:
    """Take an enabled service off the list of those that start. True when something changed.

    Raises:
        FileError: the files cannot be changed.
        MachineError: what starts it is not to be changed by files.
    """
    return _DISABLE[_way(system, init, name)](system, name)


def _way(system: System, init: str, name: str) -> str:
    """systemd runs old init scripts, too, where there is no unit of that name."""
    old = init == "systemd" and _unit(system, name) is None and system.files.exists(f"/etc/init.d/{name}")
    return "sysvinit" if old else init


# systemd


def _unit(system: System, name: str) -> Optional[str]:
    paths = (f"{folder}/{name}.service" for folder in _UNITS)
    return next((path for path in paths if system.files.exists(path) or system.root.link_target(path)), None)


def _wanting(system: System, name: str, folders: tuple[str, ...]) -> Iterator[str]:
    """The links that start a unit: those of its name, and those of other names that lead to it."""
    for folder in _distinct(system, folders):
        for inner in system.files.names(folder):
            if re.fullmatch(_WANTING, inner):
                for entry in system.files.names(f"{folder}/{inner}"):
                    path = f"{folder}/{inner}/{entry}"
                    target = (system.root.link_target(path) or "").rpartition("/")[2]
                    if f"{name}.service" in (entry, target):
                        yield path


def _systemd_enabled(system: System, name: str) -> Optional[bool]:
    if _unit(system, name) is None:
        return None
    masked = system.root.link_target(f"{_OWN}/{name}.service") == "/dev/null"
    return not masked and next(_wanting(system, name, _UNITS), None) is not None


def _systemd_disable(system: System, name: str) -> bool:
    changed = _delete(system, list(_wanting(system, name, (_OWN,))))
    if next(_wanting(system, name, _SHIPPED), None) is None and not _presets_come(system):
        return changed
    own = f"{_OWN}/{name}.service"
    if system.root.link_target(own) is None and system.files.exists(own):
        raise MachineError(f"{own} would be started all the same, by what the distribution ships: remove that file")
    system.files.mkdirs(_OWN)
    return system.files.link(own, "/dev/null") or changed


def _presets_come(system: System) -> bool:
    """At the very first boot systemd enables services anew by its presets; only a masked one stays off then."""
    data = system.files.read("/etc/machine-id")
    return data is None or data.strip() == b"uninitialized"


# OpenRC: links in run levels


def _openrc_enabled(system: System, name: str) -> Optional[bool]:
    return _listed(system, name, _levels(system, name), "/etc/init.d")


def _openrc_disable(system: System, name: str) -> bool:
    return _delete(system, _levels(system, name))


def _levels(system: System, name: str) -> list[str]:
    paths = (f"/etc/runlevels/{level}/{name}" for level in system.files.names("/etc/runlevels"))
    return [path for path in paths if _is_there(system, path)]


# sysvinit: links whose names say when they are run; OpenWrt's are in one folder.
# BusyBox often runs the scripts themselves.


def _sysv_enabled(system: System, name: str) -> Optional[bool]:
    return _listed(system, name, _starts(system, name), "/etc/init.d")


def _sysv_disable(system: System, name: str) -> bool:
    changed = False
    for path in _starts(system, name):
        folder, _, entry = path.rpartition("/")
        target = system.root.link_target(path)
        ending = f"{folder}/K{100 - int(entry[1:3]):02d}{name}"
        if folder == "/etc/init.d":  # the script itself: under a name that is not run at boot it is kept
            found = system.files.stat(path)
            system.files.write(ending, system.files.read(path) or b"", mode=(found.st_mode & 0o777) if found else 0o755)
        elif folder != "/etc/rc.d" and target is not None:  # with no link at all an upgrade would make new ones
            system.files.link(ending, target)
        changed = system.files.delete(path) or changed
    return changed


def _starts(system: System, name: str) -> list[str]:
    folders = [f"{base}/rc{level}.d" for base in ("/etc", "/etc/rc.d") for level in _STARTING]
    wanted = re.compile(rf"S\d\d{re.escape(name)}")
    return [
        f"{folder}/{entry}"
        for folder in _distinct(system, (*folders, "/etc/rc.d", "/etc/init.d"))
        for entry in system.files.names(folder)
        if wanted.fullmatch(entry)
    ]


# runit: a folder among those that are supervised. Taking it away would end the service at once; a file `down` in it
# is only read when its supervisor starts.


def _runit_enabled(system: System, name: str) -> Optional[bool]:
    folders = _supervised(system, name)
    up = [folder for folder in folders if not system.files.exists(f"{folder}/down")]
    return _listed(system, name, up, "/etc/sv", "/etc/runit/sv", "/usr/share/runit/sv")


def _runit_disable(system: System, name: str) -> bool:
    return _keep_down(system, _supervised(system, name))


def _supervised(system: System, name: str) -> list[str]:
    lists = [f"/etc/runit/runsvdir/{entry}" for entry in system.files.names("/etc/runit/runsvdir")]
    paths = [f"{folder}/{name}" for folder in (*lists, "/etc/service", "/var/service")]
    return [path for path in _distinct(system, tuple(paths)) if system.files.is_dir(path)]


# s6: names in a bundle, and folders that are supervised from the start


def _s6_enabled(system: System, name: str) -> Optional[bool]:
    folders = _s6_folders(system, name)
    up = [folder for folder in folders if not system.files.exists(f"{folder}/down")]
    starting = [*_bundled(system, name), *up]
    sources = ("/etc/s6/sv", "/etc/s6/adminsv", "/etc/s6-overlay/s6-rc.d", "/usr/lib/s6/sv")
    known = [_listed(system, own, starting, *sources) for own in (name, f"{name}-srv")]
    return bool(starting) if folders or any(one is not None for one in known) else None


def _s6_disable(system: System, name: str) -> bool:
    bundled = _bundled(system, name)
    compiled = any(path.startswith("/etc/s6/") for path in bundled) and system.files.exists("/etc/s6/rc/compiled")
    if compiled and not system.root.is_host:
        raise MachineError(f"what s6 starts is compiled in this root: take {name} out of its bundle and compile again")
    changed = _delete(system, bundled)
    changed = _keep_down(system, _s6_folders(system, name)) or changed
    if compiled and changed:
        system.perform(Change("service", name, "compile the list of services"), ["s6-db-reload"])
    return changed


def _bundled(system: System, name: str) -> list[str]:
    bundles = ("/etc/s6/adminsv/default", "/etc/s6/sv/default", "/etc/s6-overlay/s6-rc.d/user")
    paths = (f"{bundle}/contents.d/{own}" for bundle in bundles for own in (name, f"{name}-srv"))
    return [path for path in paths if system.files.exists(path)]


def _s6_folders(system: System, name: str) -> list[str]:
    folder = f"/etc/s6-linux-init/current/run-image/service/{name}"
    return [folder] if system.files.is_dir(folder) else []


# dinit: links in boot.d


def _dinit_enabled(system: System, name: str) -> Optional[bool]:
    paths = [f"{folder}/boot.d/{name}" for folder in ("/etc/dinit.d", *_DINIT)]
    starting = [path for path in paths if _is_there(system, path)]
    return _listed(system, name, starting, "/etc/dinit.d", *_DINIT)


def _dinit_disable(system: System, name: str) -> bool:
    if any(_is_there(system, f"{folder}/boot.d/{name}") for folder in _DINIT):
        raise MachineError(f"{name} is started by what the distribution ships, which dinit lets nobody switch off")
    return _delete(system, [f"/etc/dinit.d/boot.d/{name}"])


def _nothing(system: System, name: str) -> Optional[bool]:
    del system, name
    return None


_ENABLED: dict[str, Callable[[System, str], Optional[bool]]] = {
    "systemd": _systemd_enabled,
    "openrc": _openrc_enabled,
    "sysvinit": _sysv_enabled,
    "busybox": _sysv_enabled,
    "runit": _runit_enabled,
    "s6": _s6_enabled,
    "dinit": _dinit_enabled,
    "none": _nothing,
}
_DISABLE: dict[str, Callable[[System, str], bool]] = {
    "systemd": _systemd_disable,
    "openrc": _openrc_disable,
    "sysvinit": _sysv_disable,
    "busybox": _sysv_disable,
    "runit": _runit_disable,
    "s6": _s6_disable,
    "dinit": _dinit_disable,
}


def _listed(system: System, name: str, starting: list[str], *sources: str) -> Optional[bool]:
    """Something starts it; None where there is nothing to start either."""
    there = bool(starting) or any(_is_there(system, f"{folder}/{name}") for folder in sources)
    return bool(starting) if there else None


def _is_there(system: System, path: str) -> bool:
    """There is a file, or a link, wherever it leads; in a dry run, there would be."""
    folder, _, name = path.rpartition("/")
    return name in system.files.names(folder)


def _delete(system: System, paths: list[str]) -> bool:
    gone = [system.files.delete(path) for path in paths]
    return any(gone)


def _keep_down(system: System, folders: list[str]) -> bool:
    written = [system.files.write(f"{folder}/down", b"", mode=0o644) for folder in folders]
    return any(written)


def _distinct(system: System, paths: tuple[str, ...]) -> list[str]:
    """The paths without those that links make the same as an earlier one (/lib is often /usr/lib)."""
    found: dict[str, str] = {}
    for path in paths:
        with explained("look at", path):
            found.setdefault(system.root.host_path(path), path)
    return list(found.values())
