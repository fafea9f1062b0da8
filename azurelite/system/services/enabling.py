"""Which services start at boot, by the files that say so, and how one is disabled.

Only files are read and changed, so this works on the running system and in a foreign root. A running service is not
stopped.
"""

from __future__ import annotations

import re
from typing import Callable, Iterator, Optional

from azurelite.errors import MachineError
from azurelite.system.changes import Change
from azurelite.system.explain import explained
from azurelite.system.machine import System

# These folders are also where `azurelite.service` puts its own service.
SYSTEMD_OWN = "/etc/systemd/system"  # the administrator's units; the other ones belong to packages
SYSTEMD_SHIPPED = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
DINIT_SHIPPED = ("/usr/local/lib/dinit.d", "/usr/lib/dinit.d", "/lib/dinit.d")
RUNIT_SERVICES = ("/etc/sv", "/etc/runit/sv")
# Where s6's supervisor finds its services at boot; the later ones are those of hand-made systems.
S6_SCANNED = ("/etc/s6-linux-init/current/run-image/service", "/etc/s6-linux-init/run-image/service", "/etc/s6/svc")
S6_COMPILER = "s6-db-reload"
FINIT_FOLDER = "/etc/finit.d"
INITTAB = "/etc/inittab"

_SHIPPED = ("/run/systemd/system", *SYSTEMD_SHIPPED)
SYSTEMD_UNITS = (SYSTEMD_OWN, *_SHIPPED)
_WANTING = r".*\.(wants|requires|upholds)"
_STARTING = ("2", "3", "4", "5", "S")  # run levels that start services; 0, 1 and 6 end them


def is_enabled(system: System, init: str, name: str) -> Optional[bool]:
    """Tell whether the service starts at boot; None where there is no such service. Raises FileError."""
    way = _way(system, init, name)
    return _ENABLED[way](system, name) if way in _ENABLED else None


def disable(system: System, init: str, name: str) -> bool:
    """Disable an enabled service. True when something changed.

    Raises:
        FileError: the files cannot be changed.
        MachineError: what starts it cannot be changed by files.
    """
    return _DISABLE[_way(system, init, name)](system, name)


def _way(system: System, init: str, name: str) -> str:
    """Return how the service is started: systemd also runs init scripts, where there is no unit of that name."""
    old = init == "systemd" and _unit(system, name) is None and system.files.exists(f"/etc/init.d/{name}")
    return "sysvinit" if old else init


# systemd


def _unit(system: System, name: str) -> Optional[str]:
    paths = (f"{folder}/{name}.service" for folder in SYSTEMD_UNITS)
    return next((path for path in paths if system.files.exists(path) or system.root.link_target(path)), None)


def _wanting(system: System, name: str, folders: tuple[str, ...]) -> Iterator[str]:
    """Yield the links that start a unit: those of its name, and those of other names that lead to it."""
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
    masked = system.root.link_target(f"{SYSTEMD_OWN}/{name}.service") == "/dev/null"
    return not masked and next(_wanting(system, name, SYSTEMD_UNITS), None) is not None


def _systemd_disable(system: System, name: str) -> bool:
    changed = _delete(system, list(_wanting(system, name, (SYSTEMD_OWN,))))
    if next(_wanting(system, name, _SHIPPED), None) is None and not _presets_come(system):
        return changed
    own = f"{SYSTEMD_OWN}/{name}.service"
    if system.root.link_target(own) is None and system.files.exists(own):
        raise MachineError(
            f"cannot mask {own}: it is a file, and a preset or a link in /usr starts it: remove that file"
        )
    system.files.mkdirs(SYSTEMD_OWN)
    return system.files.link(own, "/dev/null") or changed


def _presets_come(system: System) -> bool:
    """Tell whether systemd will apply its presets: at the first boot they enable what is not masked."""
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


# sysvinit: links whose names say when they are run; OpenWrt's are in one folder. BusyBox often runs the scripts
# themselves, in /etc/init.d.


def _sysv_enabled(system: System, name: str) -> Optional[bool]:
    return _listed(system, name, _starts(system, name), "/etc/init.d")


def _sysv_disable(system: System, name: str) -> bool:
    changed = False
    for path in _starts(system, name):
        folder, _, entry = path.rpartition("/")
        target = system.root.link_target(path)
        ending = f"{folder}/K{100 - int(entry[1:3]):02d}{name}"
        if folder == "/etc/init.d":  # the script itself: keep it, under a name that is not run at boot
            found = system.files.stat(path)
            system.files.write(ending, system.files.read(path) or b"", mode=(found.st_mode & 0o777) if found else 0o755)
        elif folder != "/etc/rc.d" and target is not None:  # without any link an upgrade would make new ones
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


# runit: a folder among those that are supervised. Removing it would stop the service at once; a file `down` in it
# is only read when its supervisor starts.


def _runit_enabled(system: System, name: str) -> Optional[bool]:
    folders = _supervised(system, name)
    up = [folder for folder in folders if not system.files.exists(f"{folder}/down")]
    return _listed(system, name, up, *RUNIT_SERVICES, "/usr/share/runit/sv")


def _runit_disable(system: System, name: str) -> bool:
    return _keep_down(system, _supervised(system, name))


def _supervised(system: System, name: str) -> list[str]:
    lists = [f"/etc/runit/runsvdir/{entry}" for entry in system.files.names("/etc/runit/runsvdir")]
    paths = [f"{folder}/{name}" for folder in (*lists, "/etc/service", "/service", "/var/service")]
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
        raise MachineError(
            f"cannot disable {name}: s6-rc's database is compiled: take it out of its bundle and compile again"
        )
    changed = _delete(system, bundled)
    changed = _keep_down(system, _s6_folders(system, name)) or changed
    if compiled and changed:
        compile_s6(system, name)
    return changed


def compile_s6(system: System, name: str) -> None:
    """Compile the database: s6-rc starts what is in it, not what is in the folders. Raises CommandError."""
    system.perform(Change("service", name, "compile the database of services"), [S6_COMPILER])


def _bundled(system: System, name: str) -> list[str]:
    bundles = ("/etc/s6/adminsv/default", "/etc/s6/sv/default", "/etc/s6-overlay/s6-rc.d/user")
    paths = (f"{bundle}/contents.d/{own}" for bundle in bundles for own in (name, f"{name}-srv"))
    return [path for path in paths if system.files.exists(path)]


def _s6_folders(system: System, name: str) -> list[str]:
    paths = tuple(f"{folder}/{name}" for folder in S6_SCANNED)
    return [path for path in _distinct(system, paths) if system.files.is_dir(path)]


# dinit: links in boot.d


def _dinit_enabled(system: System, name: str) -> Optional[bool]:
    paths = [f"{folder}/boot.d/{name}" for folder in ("/etc/dinit.d", *DINIT_SHIPPED)]
    starting = [path for path in paths if _is_there(system, path)]
    return _listed(system, name, starting, "/etc/dinit.d", *DINIT_SHIPPED)


def _dinit_disable(system: System, name: str) -> bool:
    if any(_is_there(system, f"{folder}/boot.d/{name}") for folder in DINIT_SHIPPED):
        raise MachineError(f"cannot disable {name}: the distribution starts it, and dinit has no way to mask it")
    return _delete(system, [f"/etc/dinit.d/boot.d/{name}"])


# finit and BusyBox: lines of a configuration file. Such a line is made a comment: finit's own `initctl disable` only
# knows the links in `enabled`.


def _finit_lines(system: System, name: str) -> dict[str, list[int]]:
    """Return the files that start the service, and the numbers of the lines that do."""
    folders = (FINIT_FOLDER, f"{FINIT_FOLDER}/enabled")
    files = [f"{one}/{entry}" for one in folders for entry in system.files.names(one) if entry.endswith(".conf")]
    found = {path: _finit_numbers(_lines(system, path), name) for path in ("/etc/finit.conf", *files)}
    return {path: numbers for path, numbers in found.items() if numbers}


def _finit_numbers(lines: list[str], name: str) -> list[int]:
    numbers: list[int] = []
    for number, line in enumerate(lines):
        words = line.partition(" -- ")[0].split()
        if not words or words[0] not in ("service", "task", "run", "sysv"):
            continue
        called = next((word[5:] for word in words[1:] if word.startswith("name:")), None)
        program = next((word for word in words[1:] if word.startswith("/")), "").rpartition("/")[2]
        if name == (called or program):
            end = number
            while lines[end].rstrip().endswith("\\") and end + 1 < len(lines):
                end += 1
            numbers += range(number, end + 1)
    return numbers


def _finit_enabled(system: System, name: str) -> Optional[bool]:
    folders = (FINIT_FOLDER, f"{FINIT_FOLDER}/available")
    there = any(_is_there(system, f"{folder}/{name}.conf") for folder in folders)
    return _known(list(_finit_lines(system, name)), there)


def _finit_disable(system: System, name: str) -> bool:
    changed = False
    for path, numbers in _finit_lines(system, name).items():
        if system.root.link_target(path) is not None:  # made by `initctl enable`
            changed = system.files.delete(path) or changed
        else:
            changed = _comment_out(system, path, numbers) or changed
    return changed


def _busybox_enabled(system: System, name: str) -> Optional[bool]:
    if _inittab_numbers(system, name):
        return True
    if any(_inittab_starts(line.lstrip("# "), name) for line in _lines(system, INITTAB)):
        return bool(_starts(system, name))
    return _sysv_enabled(system, name)


def _busybox_disable(system: System, name: str) -> bool:
    changed = _comment_out(system, INITTAB, _inittab_numbers(system, name))
    return _sysv_disable(system, name) or changed


def _inittab_numbers(system: System, name: str) -> list[int]:
    return [number for number, line in enumerate(_lines(system, INITTAB)) if _inittab_starts(line, name)]


def _inittab_starts(line: str, name: str) -> bool:
    """Tell whether the line starts this program; lines with `sysinit` bring the machine up and are never disabled."""
    match = re.match(r"[^#:]*:[^:]*:(?:once|respawn|wait|askfirst):-?(.*)", line)
    words = re.sub(r"^(\S*/)?sh\s+-c\s+", "", match[1]).strip("'\" ").split() if match else []
    program = words[0].rpartition("/")[2] if words else ""
    return program in (name, f"{name}.pyz")


def _comment_out(system: System, path: str, numbers: list[int]) -> bool:
    if not numbers:
        return False
    lines = _lines(system, path)
    for number in numbers:
        lines[number] = f"#{lines[number]}"
    return system.files.rewrite(path, "".join(lines).encode(errors="surrogateescape"))


def _lines(system: System, path: str) -> list[str]:
    return (system.files.read(path) or b"").decode(errors="surrogateescape").splitlines(keepends=True)


# FreeBSD: variables; the last assignment counts


_RC_CONF = ("/etc/defaults/rc.conf", "/etc/rc.conf", "/etc/rc.conf.local")


def _freebsd_script(system: System, name: str) -> Optional[str]:
    paths = (f"{folder}/{name}" for folder in ("/etc/rc.d", "/usr/local/etc/rc.d"))
    return next((path for path in paths if system.files.exists(path)), None)


def _freebsd_variable(system: System, script: str, name: str) -> str:
    text = "".join(_lines(system, script))
    match = re.search(r"^rcvar=[\"']?(\w+)[\"']?\s*$", text, re.MULTILINE)
    return match[1] if match else re.sub(r"\W", "_", f"{name}_enable")


def _freebsd_assignments(system: System, script: str, name: str) -> list[tuple[str, str]]:
    """Return the files that assign the variable, and the values, in the order in which they are read."""
    variable = re.escape(_freebsd_variable(system, script, name))
    folders = ("/etc/rc.conf.d", "/usr/local/etc/rc.conf.d")
    default = re.search(rf"\$\{{{variable}:?=[\"']?(\w+)", "".join(_lines(system, script)))
    found = [(script, default[1])] if default else []
    for path in (*_RC_CONF, *(f"{folder}/{name}" for folder in folders)):
        values = re.findall(rf"^\s*{variable}=[\"']?(\w+)", "".join(_lines(system, path)), re.MULTILINE)
        found += [(path, value) for value in values]
    return found


def _freebsd_enabled(system: System, name: str) -> Optional[bool]:
    script = _freebsd_script(system, name)
    if script is None:
        return None
    values = [value for _, value in _freebsd_assignments(system, script, name)]
    return bool(values) and values[-1].lower() in ("yes", "true", "on", "1")


def _freebsd_disable(system: System, name: str) -> bool:
    script = _freebsd_script(system, name) or ""
    variable = _freebsd_variable(system, script, name)
    path = _freebsd_assignments(system, script, name)[-1][0]
    if path in (script, _RC_CONF[0]):
        path = _RC_CONF[1]
    text = "".join(_lines(system, path))
    line = f'{variable}="NO"'
    new, count = re.subn(rf"^\s*{re.escape(variable)}=.*$", line, text, flags=re.MULTILINE)
    if not count:
        new = f"{text}\n{line}\n" if text and not text.endswith("\n") else f"{text}{line}\n"
    return system.files.rewrite(path, new.encode(errors="surrogateescape"))


_ENABLED: dict[str, Callable[[System, str], Optional[bool]]] = {
    "systemd": _systemd_enabled,
    "openrc": _openrc_enabled,
    "sysvinit": _sysv_enabled,
    "busybox": _busybox_enabled,
    "runit": _runit_enabled,
    "s6": _s6_enabled,
    "dinit": _dinit_enabled,
    "finit": _finit_enabled,
    "freebsd": _freebsd_enabled,
}
_DISABLE: dict[str, Callable[[System, str], bool]] = {
    "systemd": _systemd_disable,
    "openrc": _openrc_disable,
    "sysvinit": _sysv_disable,
    "busybox": _busybox_disable,
    "runit": _runit_disable,
    "s6": _s6_disable,
    "dinit": _dinit_disable,
    "finit": _finit_disable,
    "freebsd": _freebsd_disable,
}


def _listed(system: System, name: str, starting: list[str], *sources: str) -> Optional[bool]:
    """Tell whether something starts the service; None where there is no source of that name either."""
    return _known(starting, any(_is_there(system, f"{folder}/{name}") for folder in sources))


def _known(starting: list[str], there: bool) -> Optional[bool]:
    return bool(starting) if starting or there else None


def _is_there(system: System, path: str) -> bool:
    """Tell whether there is a file or any link; in a dry run, whether there would be."""
    folder, _, name = path.rpartition("/")
    return name in system.files.names(folder)


def _delete(system: System, paths: list[str]) -> bool:
    gone = [system.files.delete(path) for path in paths]
    return any(gone)


def _keep_down(system: System, folders: list[str]) -> bool:
    written = [system.files.write(f"{folder}/down", b"", mode=0o644) for folder in folders]
    return any(written)


def _distinct(system: System, paths: tuple[str, ...]) -> list[str]:
    """Return the paths without those that links make the same as an earlier one (/lib is often /usr/lib)."""
    found: dict[str, str] = {}
    for path in paths:
        with explained("look at", path):
            found.setdefault(system.root.host_path(path), path)
    return list(found.values())
