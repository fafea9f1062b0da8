"""What a machine writes while it runs and an image should not have, by group: host keys, leases, logs and so on.

This module finds it and names it, and changes nothing. Paths are those of all distributions; what is not there is
skipped.
"""

from __future__ import annotations

import re
import stat
from typing import Callable, Iterator, Literal

from azurelite.capture.erase import files_below
from azurelite.errors import FileError
from azurelite.record import Record
from azurelite.system.accounts.tablefiles import as_number, login_range, table_rows
from azurelite.system.files import Files
from azurelite.system.globs import expand
from azurelite.system.machine import System

# Group, which is also the option of `generalize` -> what it is.
GROUPS = {
    "host-keys": "SSH host keys",
    "machine-id": "the machine id",
    "leases": "leases of DHCP clients",
    "logs": "logs",
    "histories": "histories of shells and other programs",
    "random-seed": "the saved random seed",
    "package-caches": "downloaded packages",
    "agent-traces": "what waagent and cloud-init keep about this VM",
}

Way = Literal["remove", "empty", "content"]


class Leftover(Record):
    """One thing that is left.

    Attributes:
        path: guest path.
        way: "remove" it, "empty" the file, or remove the "content" of the folder.
    """

    path: str
    way: Way = "remove"


def leftovers(system: System, group: str) -> list[Leftover]:
    """What is left of one group, sorted by path. Raises FileError."""
    found = _FINDERS[group](system)
    return sorted(dict.fromkeys(found), key=lambda one: one.path)


_HOST_KEYS = (
    *(f"{folder}/ssh_host_*_key{end}" for folder in ("/etc/ssh", "/usr/local/etc/ssh") for end in ("", ".pub")),
    "/etc/ssh/ssh_host_*_key-cert.pub",
    "/etc/dropbear/dropbear_*_host_key",
)
_LEASES = (
    "/var/lib/dhcp/dhclient*.lease*",
    "/var/lib/dhclient/*.lease*",
    "/var/lib/dhcpcd/*.lease*",
    "/var/lib/dhcpcd/duid",
    "/var/lib/dhcpcd/secret",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/wicked/lease-*.xml",
    "/var/lib/wicked/duid.xml",
    "/var/lib/udhcpc/*.lease*",
    "/var/db/dhclient.leases.*",
    "/var/db/dhcpcd/*.lease*",
)
_SEEDS = (
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/misc/random-seed",
    "/var/lib/random-seed",
    "/var/lib/seedrng/seed*",
    "/etc/random-seed",
    "/etc/urandom.seed",
    "/var/db/entropy-file",
    "/var/db/entropy/*",
    "/entropy",
)
_CACHES = (
    "/var/cache/apt/archives",
    "/var/cache/apk",
    "/etc/apk/cache",
    "/var/cache/dnf",
    "/var/cache/libdnf5",
    "/var/cache/yum",
    "/var/cache/tdnf",
    "/var/cache/zypp/packages",
    "/var/cache/pacman/pkg",
    "/var/cache/xbps",
    "/var/cache/distfiles",
    "/var/cache/pkg",
)
KEPT_IN_CACHES = ("lock", "LOCK", "CACHEDIR.TAG")
_HISTORIES = (
    *(f".{shell}_history" for shell in ("bash", "ash", "sh", "zsh", "ksh", "mksh", "python", "node_repl")),
    *(".mysql_history", ".psql_history", ".sqlite_history", ".rediscli_history"),
    *(".history", ".lesshst", ".viminfo", ".wget-hsts", ".local/share/fish/fish_history"),
    *(".local/state/lesshst", ".local/state/nvim/shada/main.shada", ".python-history"),
)
_AGENTS = ("/var/lib/waagent", "/run/cloud-init", "/etc/sudoers.d/waagent")
_CLOUD = "/var/lib/cloud"
_CLOUD_KEPT = ("seed", "scripts")  # the image brings them
_ROTATED = r"(\.(gz|xz|zst|bz2|old|journal)|\.[0-9]+|-[0-9]{8}.*|\.journal~)$"


def _matches(patterns: tuple[str, ...]) -> Callable[[System], Iterator[Leftover]]:
    def find(system: System) -> Iterator[Leftover]:
        for pattern in patterns:
            for path in expand(pattern, system.files.names) if "*" in pattern else [pattern]:
                found = system.files.stat(path, beneath=path)
                if found is not None and not stat.S_ISDIR(found.st_mode):
                    yield Leftover(path)

    return find


def _machine_id(system: System) -> Iterator[Leftover]:
    """systemd wants an empty file; other init systems make the file themselves when it is missing."""
    with_systemd = any(system.files.exists(f"{lib}/systemd/systemd") for lib in ("/lib", "/usr/lib"))
    found = system.files.stat("/etc/machine-id", beneath="/etc/machine-id")
    fresh = with_systemd and system.root.text("/etc/machine-id").strip() in ("", "uninitialized")
    if found is not None and stat.S_ISREG(found.st_mode) and not fresh:
        yield Leftover("/etc/machine-id", "empty" if with_systemd else "remove")
    yield from _matches(("/var/lib/dbus/machine-id",))(system)


def _logs(system: System) -> Iterator[Leftover]:
    """Old logs are removed; a log that a program may hold open is emptied."""
    for path, found in files_below(system.root, "/var/log"):
        name = path.rpartition("/")[2]
        if re.search(_ROTATED, name) or path == "/var/log/azurelite.log":
            yield Leftover(path)
        elif found.st_size and name != "README":
            yield Leftover(path, "empty")


def people(files: Files) -> list[tuple[str, int, str]]:
    """Name, number and home of root and of each account of a person in /etc/passwd. Raises FileError."""
    lowest, _ = login_range(files, "UID")
    found = []
    for row in table_rows(files, "/etc/passwd", fill=7):
        uid = as_number(row[2])
        if uid is not None and (uid == 0 or (uid >= lowest and uid not in (65534, 65535))) and row[5].startswith("/"):
            found.append((row[0], uid, row[5].rstrip("/") or "/"))
    return found


def _histories(system: System) -> Iterator[Leftover]:
    for _, _, home in people(system.files):
        if home == "/":
            continue
        for name in _HISTORIES:
            path = f"{home}/{name}"
            try:
                found = system.files.stat(path, beneath=home)
            except FileError:  # through a link, which may lead to another user's file
                continue
            if found is not None and not stat.S_ISDIR(found.st_mode):
                yield Leftover(path)


def _caches(system: System) -> Iterator[Leftover]:
    for path in _CACHES:
        files = (name.rpartition("/")[2] for name, _ in files_below(system.root, path))
        if any(name not in KEPT_IN_CACHES for name in files):
            yield Leftover(path, "content")


def _agents(system: System) -> Iterator[Leftover]:
    files = system.files
    for path in _AGENTS:
        if files.stat(path, beneath=path) is not None:
            yield Leftover(path)
    if files.is_dir(_CLOUD, beneath=_CLOUD) and set(files.names(_CLOUD)) - set(_CLOUD_KEPT):
        for name in files.names(_CLOUD):
            if name not in _CLOUD_KEPT:
                yield Leftover(f"{_CLOUD}/{name}")
    for pattern in ("/var/log/cloud-init*.log*", "/var/log/waagent*.log*"):
        for path in expand(pattern, files.names):
            yield Leftover(path)
    if files.stat("/var/log/azure", beneath="/var/log/azure") is not None:
        yield Leftover("/var/log/azure")


_FINDERS: dict[str, Callable[[System], Iterator[Leftover]]] = {
    "host-keys": _matches(_HOST_KEYS),
    "machine-id": _machine_id,
    "leases": _matches(_LEASES),
    "logs": _logs,
    "histories": _histories,
    "random-seed": _matches(_SEEDS),
    "package-caches": _caches,
    "agent-traces": _agents,
}
