"""Which init system a guest has: the one that runs here, and the one that is installed.

The two answers differ where an image is built in a chroot or in a container: nothing runs there, whatever is installed.
Folders alone prove neither. Packages bring /etc/sv, /etc/runit and /etc/rc2.d into images that have another init
system, or none yet.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Iterator, Optional

from azurelite.system.explain import explained
from azurelite.system.machine import System
from azurelite.system.root import Root

# Names of first processes.
_NAMES = (
    ("systemd", r"systemd"),
    ("openrc", r"openrc(-init)?"),
    ("finit", r"finit"),
    ("dinit", r"dinit"),
    ("runit", r"runit(-init)?|runsvdir"),
    ("s6", r"s6-(svscan|linux-init|rc|rc-init|overlay-[a-z0-9-]+)"),
    ("busybox", r"busybox[\w.-]*"),
)
_ANY_INIT = ("init", "linuxrc")  # names of a first process that do not say which one it is
_FIRST = ("/sbin/init", "/bin/init", "/linuxrc")  # where the kernel finds it
_FOLDERS = ("/sbin", "/usr/sbin", "/bin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin")
SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
# Programs that are first processes and nothing else, or that are installed only together with one; and what they start.
_PROGRAMS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("openrc", ("openrc-init", "openrc"), ("/etc/runlevels",)),
    ("finit", ("finit",), ()),
    ("dinit", ("dinit",), ("/etc/dinit.d",)),
    ("runit", ("runit-init",), ("/etc/runit/2",)),
    ("s6", ("s6-svscan", "s6-linux-init"), ("/etc/s6", "/etc/s6-linux-init")),
)
_LEVELS = ("/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc3.d")  # sysvinit's
# What an init system leaves in /run, for a first process that is only called "init".
_RUNS = (("systemd", "/run/systemd/system"), ("openrc", "/run/openrc/softlevel"), ("dinit", "/run/dinitctl"))
_S6_INIT = "/etc/s6-linux-init/"
_LINKS = 8  # from /sbin/init on
_SCRIPTS = 3  # that start one another
_SCRIPT_LIMIT = 65536  # bytes
_PROGRAM_LIMIT = 8 * 1024 * 1024  # bytes; all of these programs are smaller
_DATA = ("/dev/", "/etc/", "/proc/", "/run/", "/sys/", "/var/")  # folders without programs


def running(system: System) -> str:
    """Return the init system that runs here and can be told to reload a service.

    Returns:
        One of `installed`'s names, "unknown" where process 1 is an init system that is not recognised, or "none": in a
        root that is not the running system's, in a chroot, in a container whose first process is no init system.
    """
    root = system.root
    if not root.is_host:
        return "none"
    if _is_freebsd(root):  # has no /proc, so nothing says whether this is a jail; `service` asks each service itself
        return "freebsd"
    if not _has_root_of_process_1(root):
        return "none"
    exe = (root.link_target("/proc/1/exe") or "").replace(" (deleted)", "")  # since an upgrade
    called = _first_argument(root)
    program = os.path.basename(exe or called)  # only root may read the link
    found = _named(program)
    if found == "busybox" and os.path.basename(called or "init") not in _ANY_INIT:
        return "none"  # BusyBox's shell is the same file
    if found is None and program not in _ANY_INIT:
        return "none"
    if found in (None, "busybox"):
        found = next((init for init, mark in _RUNS if _is_there(root, mark)), found)
    return found or _by_files(root) or "unknown"


def installed(system: System) -> str:
    """Return the init system that starts services when the guest boots, or "none". Raises FileError.

    Returns:
        "systemd", "openrc", "sysvinit", "runit", "s6", "dinit", "finit", "busybox", "freebsd" or "none". Where the
        guest is booted, this is what runs.
    """
    found = running(system)
    return found if found not in ("none", "unknown") else _by_files(system.root) or "none"


# What runs


def _has_root_of_process_1(root: Root) -> bool:
    """Tell whether process 1 has this root: in a chroot it has another one, or /proc is not mounted."""
    try:
        first, here = os.stat(f"{root.path}/proc/1/root/"), os.stat(root.path)
    except PermissionError:  # an ordinary user's dry run
        return True
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (here.st_dev, here.st_ino)


def _first_argument(root: Root) -> str:
    """Return what process 1 was called as."""
    try:
        data = root.read("/proc/1/cmdline", limit=4096) or b""
    except OSError:
        return ""
    return (data.partition(b"\0")[0].split() or [b""])[0].decode(errors="replace")


# What is installed


def _by_files(root: Root) -> Optional[str]:
    if _is_freebsd(root):
        return "freebsd"
    if _is_there(root, "/etc/s6-overlay") and _kind(root, "/init") == "s6":  # whatever else the container's image has
        return "s6"
    first = next((path for path in _FIRST if _is_there(root, path) or _target(root, path) is not None), None)
    found = _kind(root, first) if first is not None else None
    there = first is not None and _is_there(root, first)
    if found is None and not there and any(_is_there(root, path) for path in SYSTEMD):
        return "systemd"
    # OpenRC is also run by other first processes.
    rows = [(init, names, places) for init, names, places in _PROGRAMS if _has(root, names) and _holds(root, places)]
    if found in (None, "busybox", "sysvinit") and any(init == "openrc" for init, _, _ in rows):
        return "openrc"
    # Many packages bring links into /etc/rc2.d, but sysvinit cannot boot without an inittab. It comes before the
    # programs: Debian's packages of runit and s6 are also installed as supervisors below it.
    if found is None and there and _is_there(root, "/etc/inittab") and any(_is_there(root, path) for path in _LEVELS):
        return "sysvinit"
    return found or next((init for init, _, _ in rows), None)


def _kind(root: Root, path: str, depth: int = 0) -> Optional[str]:
    """Return which init system the program at `path` belongs to: by its name, as a script, or as a copy."""
    for here in _followed(root, path):
        found = _named(os.path.basename(here))
        if found is not None:
            return found
        if here.startswith(_S6_INIT):
            return "s6"
        if here.endswith("/sysvinit/init"):  # Debian's and Devuan's
            return "sysvinit"
        path = here
    script = _script(root, path)
    return _by_copy(root, path) if script is None else _by_script(root, script, depth)


def _followed(root: Root, path: str) -> Iterator[str]:
    """Yield the path, then the target of each symbolic link; links in their folders are resolved inside the root."""
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        try:
            path = os.path.join(root.host_path(folder)[len(root.path.rstrip("/")) :] or "/", name)
        except OSError:  # links in a circle
            return
        yield path
        target = root.link_target(path)
        if target is None:
            return
        path = os.path.join(os.path.dirname(path), target)


def _script(root: Root, path: str) -> Optional[str]:
    """Return the commands of a script, without comments; None for anything else."""
    try:
        data = root.read(path, limit=_SCRIPT_LIMIT) or b""
    except OSError:
        return None
    if not data.startswith(b"#!"):
        return None
    lines = data.decode(errors="replace").splitlines()[1:]
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def _by_script(root: Root, text: str, depth: int) -> Optional[str]:
    """Return what a script starts in the end, as s6-linux-init's and hand-made ones do."""
    started = "\n".join(re.findall(r"(?:^|[\s;&|(])exec\s+([^;&|\n]*)", text))
    found = _by_words(started)
    if found is not None:
        return found
    for word in _words(started) if depth < _SCRIPTS else ():
        followed = word.startswith("/") and _named(os.path.basename(word)) is None
        found = _kind(root, word, depth + 1) if followed else None
        if found is not None:
            return found
    return _by_words(text)


def _by_words(text: str) -> Optional[str]:
    names = {os.path.basename(word) for word in _words(text)}
    kinds = {_named(name) for name in names}
    # The small programs of a script are often BusyBox's, whatever it starts in the end.
    if not re.search(r"busybox[\w.-]*[\"']?\s+[\"']?init\b", text):
        kinds.discard("busybox")
    return next((init for init, _ in _NAMES if init in kinds), None)


def _words(text: str) -> list[str]:
    """Return the words that can be programs: no folder of data, no `name=systemd`, but the value of X=/sbin/x."""
    words = re.split(r"[\s\"'`;&|(){}<>]+", text)
    values = [value if value.startswith("/") or not sign else "" for _, sign, value in map(_parted, words)]
    return [word for word in values if word.startswith(_S6_INIT) or (word and not word.startswith(_DATA))]


def _parted(word: str) -> tuple[str, str, str]:
    before, sign, after = word.partition("=")
    return (before, sign, after) if sign else ("", "", word)


def _by_copy(root: Root, path: str) -> Optional[str]:
    """Return whose program this file is a second name or a copy of."""
    here = _stat(root, path)
    if here is None or here.st_size == 0:
        return None
    programs = [(init, name) for init, names, _ in _PROGRAMS for name in names] + [("busybox", "busybox")]
    for init, name in programs:
        for folder in _FOLDERS:
            other = _stat(root, f"{folder}/{name}")
            if other is None or other.st_size != here.st_size:
                continue
            same = (other.st_dev, other.st_ino) == (here.st_dev, here.st_ino)
            if same or _content(root, path) == _content(root, f"{folder}/{name}") is not None:
                return init
    return None


def _content(root: Root, path: str) -> Optional[bytes]:
    try:
        return root.read(path, limit=_PROGRAM_LIMIT)
    except OSError:
        return None


def _named(program: str) -> Optional[str]:
    return next((init for init, name in _NAMES if re.fullmatch(name, program)), None)


def _is_freebsd(root: Root) -> bool:
    return _is_there(root, "/etc/rc.subr") and _is_there(root, "/etc/defaults/rc.conf")


def _has(root: Root, names: tuple[str, ...]) -> bool:
    return any(_is_there(root, f"{folder}/{name}") for folder in _FOLDERS for name in names)


def _holds(root: Root, places: tuple[str, ...]) -> bool:
    return not places or any(_is_there(root, place) for place in places)


def _is_there(root: Root, path: str) -> bool:
    return _stat(root, path) is not None


def _stat(root: Root, path: str) -> Optional[os.stat_result]:
    """Return what `path` leads to; None also where links lead in a circle. Raises FileError."""
    with explained("look at", path):
        try:
            return root.stat(path)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return None


def _target(root: Root, path: str) -> Optional[str]:
    try:
        return root.link_target(path)
    except OSError:  # links in a circle
        return None
