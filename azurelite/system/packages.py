"""Package managers: which one a guest has, what is installed, and installing packages.

The manager is chosen by the installed programs, not by the distribution's name. The caller checks package names: none
may begin with `-`, because not every manager supports `--`.
"""

from __future__ import annotations

import re
from typing import Callable, Mapping, Optional, Sequence, Union

from azurelite.clock import Deadline
from azurelite.errors import CommandError
from azurelite.record import Record, field
from azurelite.system.changes import Change
from azurelite.system.machine import System
from azurelite.system.package_locks import LOCKS, held_lock, wait_for_locks

_ASK = 60.0  # seconds for the list of installed packages
_ATTEMPTS = 5  # of one command, while other programs take the lock first


class Package(Record):
    """A wanted package; `version` as the manager writes it, None for any."""

    name: str
    version: Optional[str] = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name} {self.version}"


_NAME = r"@?[A-Za-z0-9][A-Za-z0-9+._:/~-]{0,199}(?<!-)"  # apt removes a package whose name ends with `-`
_VERSION = r"[A-Za-z0-9][A-Za-z0-9+._:~^-]{0,99}"


def package_of(entry: Union[str, Sequence[str]]) -> Package:
    """The package that "NAME", "NAME=VERSION" or [NAME, VERSION] means. Raises ValueError; the name comes before it."""
    words = entry.split("=", 1) if isinstance(entry, str) else list(entry)
    if not 1 <= len(words) <= 2 or not re.fullmatch(_NAME, words[0]):
        raise ValueError("must be the name of a package, NAME=VERSION or [NAME, VERSION]")
    if len(words) == 2 and not re.fullmatch(_VERSION, words[1]):
        raise ValueError("has an invalid version")
    return Package(*words)


class Manager(Record):
    """A package manager and its commands.

    Attributes:
        name: its program, which must be installed.
        listing: the command that lists installed packages; empty if they are read from files.
        read: parses a line of that list to name and version; None for any other line.
        install: the command to which packages are appended.
        update: the command that fetches the package index.
        upgrade: the command that upgrades all packages; None if it has none.
        version: the format of a name with a version; None if it does not support versions.
        also: other programs that must be installed.
        env: additional environment variables.
    """

    name: str
    listing: Sequence[str]
    read: Callable[[str], Optional[tuple[str, str]]]
    install: Sequence[str]
    update: Sequence[str]
    upgrade: Optional[Sequence[str]]
    version: Optional[str] = None
    also: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def words(self, package: Package) -> str:
        """The package as the manager's argument."""
        if package.version is None or self.version is None:
            return package.name
        return self.version.format(name=package.name, version=package.version)


def _tabs(line: str) -> Optional[tuple[str, str]]:
    name, _, version = line.partition("\t")
    return (name, version) if name else None


def _dpkg(line: str) -> Optional[tuple[str, str]]:
    name, state, version = [*line.split("\t"), "", ""][:3]
    return (name, version) if state == "installed" else None


def _joined(line: str) -> Optional[tuple[str, str]]:
    """NAME-VERSION, and -rREVISION where there is one, as apk writes it."""
    name, _, version = line.strip().rpartition("-")
    if version.startswith("r") and version[1:].isdigit():
        name, _, upstream = name.rpartition("-")
        version = f"{upstream}-{version}"
    return (name, version) if name else None


def _xbps(line: str) -> Optional[tuple[str, str]]:
    words = line.split()
    return _joined(words[1]) if len(words) > 1 and words[0] == "ii" else None


def _blank(line: str) -> Optional[tuple[str, str]]:
    words = line.split()
    return (words[0], words[1]) if len(words) == 2 else None


def _dash(line: str) -> Optional[tuple[str, str]]:
    name, dash, rest = line.partition(" - ")
    return (name.strip(), rest.split(" ")[0]) if dash else None


_RPM = ("rpm", "-qa", "--queryformat", r"%{NAME}\t%{VERSION}-%{RELEASE}\n")
_DPKG = ("dpkg-query", "--show", "--showformat", r"${Package}\t${db:Status-Status}\t${Version}\n")
_KEEP = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
# At first boot the distribution's own timers hold the apt lock: wait for it.
_APT = ("apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", *_KEEP)


def _like_dnf(name: str, *options: str) -> Manager:
    start = (name, "-y", *options)
    return Manager(
        name,
        _RPM,
        _tabs,
        (*start, "install"),
        (*start, "makecache"),
        (*start, "update" if name in ("tdnf", "yum") else "upgrade"),
        "{name}-{version}",
        also=("rpm",),
    )


MANAGERS = (
    Manager(
        "apt-get",
        _DPKG,
        _dpkg,
        (*_APT, "install"),
        (*_APT, "update"),
        (*_APT, "dist-upgrade"),
        "{name}={version}",
        also=("dpkg-query",),
        env={"DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_SUSPEND": "1"},
    ),
    _like_dnf("dnf5"),
    _like_dnf("dnf"),
    _like_dnf("tdnf"),
    _like_dnf("microdnf"),
    _like_dnf("yum"),
    Manager(
        "zypper",
        _RPM,
        _tabs,
        ("zypper", "--non-interactive", "install", "--auto-agree-with-licenses"),
        ("zypper", "--non-interactive", "refresh"),
        ("zypper", "--non-interactive", "update", "--auto-agree-with-licenses"),
        "{name}={version}",
        also=("rpm",),
        env={"ZYPP_LOCK_TIMEOUT": "300"},
    ),
    Manager(
        "apk",
        ("apk", "info", "-v"),
        _joined,
        ("apk", "add"),
        ("apk", "update"),
        ("apk", "upgrade"),
        "{name}={version}",
    ),
    Manager(
        "pacman",
        ("pacman", "-Q"),
        _blank,
        ("pacman", "-S", "--noconfirm", "--needed"),
        ("pacman", "-Sy"),
        ("pacman", "-Su", "--noconfirm"),
    ),
    Manager(
        "xbps-install",
        ("xbps-query", "-l"),
        _xbps,
        ("xbps-install", "-y"),
        ("xbps-install", "-S"),
        ("xbps-install", "-yu"),
        "{name}-{version}",
        also=("xbps-query",),
    ),
    Manager(
        "emerge",
        (),
        _tabs,
        ("emerge", "--ask=n", "--quiet", "--noreplace"),
        ("emerge", "--quiet", "--sync"),
        ("emerge", "--ask=n", "--quiet", "--update", "--deep", "--newuse", "@world"),
        "={name}-{version}",
    ),
    Manager(
        "eopkg",
        ("eopkg", "list-installed", "--no-color"),
        _dash,
        ("eopkg", "install", "-y"),
        ("eopkg", "update-repo"),
        ("eopkg", "upgrade", "-y"),
    ),
    Manager("opkg", ("opkg", "list-installed"), _dash, ("opkg", "install"), ("opkg", "update"), None),
    Manager(
        "pkg",
        ("pkg", "query", "%n\t%v"),
        _tabs,
        ("pkg", "install", "-y"),
        ("pkg", "update"),
        ("pkg", "upgrade", "-y"),
        "{name}-{version}",
        env={"ASSUME_ALWAYS_YES": "yes"},
    ),
)


class Packages:
    """The packages of the running system.

    Args:
        system: the guest; its root is the running system's.
        manager: its package manager.
    """

    def __init__(self, system: System, manager: Manager) -> None:
        self._system = system
        self._manager = manager

    def missing(self, packages: Sequence[Package]) -> list[Package]:
        """Those that are not installed in the wanted version. Raises CommandError."""
        there = self._installed()
        return [package for package in packages if not _is_among(package, there)]

    def update(self, *, timeout: float) -> None:
        """Fetch the package index. Raises CommandError."""
        self._perform("the package index", "update", self._manager.update, timeout)

    def upgrade(self, *, timeout: float) -> bool:
        """Upgrade all packages; False if this manager has no command for it. Raises CommandError."""
        if self._manager.upgrade is not None:
            self._perform("all packages", "upgrade", self._manager.upgrade, timeout)
        return self._manager.upgrade is not None

    def install(self, packages: Sequence[Package], *, timeout: float) -> None:
        """Install them with one command. Raises CommandError: a package is unavailable, or the network is down."""
        words = [self._manager.words(package) for package in packages]
        names = " ".join(str(package) for package in packages)
        self._perform(names, "install", (*self._manager.install, *words), timeout)

    def _perform(self, target: str, verb: str, argv: Sequence[str], timeout: float) -> None:
        self._system.journal.record(Change("package", target, f"{verb}, by {self._manager.name}"))
        if not self._system.dry_run:
            self._run(argv, self._system.commands.within(self._system.clock, timeout))

    def _run(self, argv: Sequence[str], left: Deadline) -> None:
        """Run the package manager once its locks are free. If another program takes a lock first, wait again."""
        root, name = self._system.root, self._manager.name
        for attempt in range(1, _ATTEMPTS + 1):
            wait_for_locks(root, name, left, waiting=self._system.commands.waiting)
            try:
                self._system.commands.run(argv, timeout=left.remaining(), env=self._manager.env)
                return
            except CommandError:
                if attempt == _ATTEMPTS or held_lock(root, LOCKS.get(name, ())) is None:
                    raise

    def _installed(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, version in self._portage() if not self._manager.listing else self._listed():
            found.setdefault(name, set()).add(version)
        return found

    def _listed(self) -> list[tuple[str, str]]:
        lines = self._system.commands.run(self._manager.listing, timeout=_ASK).split("\n")
        return [pair for pair in map(self._manager.read, lines) if pair is not None]

    def _portage(self) -> list[tuple[str, str]]:
        """Portage has a folder CATEGORY/NAME-VERSION for each; users write a package with or without category."""
        import re

        found = []
        for category in self._system.files.names("/var/db/pkg"):
            for entry in self._system.files.names(f"/var/db/pkg/{category}"):
                parts = re.fullmatch(r"(.+)-(\d[^-]*(-r\d+)?)", entry)
                if parts:
                    found += [(name, parts[2]) for name in (parts[1], f"{category}/{parts[1]}")]
        return found


def _is_among(package: Package, there: Mapping[str, set[str]]) -> bool:
    """Whether it is installed.

    NAME:ARCHITECTURE and NAME/RELEASE are listed as NAME; a version without a release matches all its releases.
    """
    plain = package.name.partition(":")[0].partition("/")[0]
    versions = there.get(package.name, there.get(plain, set()))
    wanted = package.version
    return any(wanted is None or version == wanted or version.startswith(f"{wanted}-") for version in versions)


def find_manager(system: System) -> Optional[Manager]:
    """The package manager of the running system, or None."""
    return next(
        (manager for manager in MANAGERS if all(system.commands.find(p) for p in (manager.name, *manager.also))), None
    )
