"""`packages`: packages by the distribution's own tool: apt, dnf, yum, tdnf, zypper, apk, pacman, xbps, emerge, …

What is installed already is not asked for again, so a later run needs no network. In a foreign root nothing is
installed: its tools are not this machine's.
"""

from __future__ import annotations

import re
from typing import Union

from azurelite.config.load import Frequency
from azurelite.errors import CommandError, HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.packages import Package, Packages, find_manager

SUMMARY = "install packages by the distribution's own tool"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_NAME = r"@?[A-Za-z0-9][A-Za-z0-9+._:/~-]{0,199}(?<!-)"  # apt removes what a `-` stands behind
_VERSION = r"[A-Za-z0-9][A-Za-z0-9+._:~^-]{0,99}"
_REASON = "failed to install packages"


class Options(Record):
    """Options of `packages`.

    Attributes:
        install: names; for a certain version "NAME=VERSION" or [NAME, VERSION], as the distribution writes it.
        update: fetch the list of what there is first, when something is to be installed or upgraded.
        upgrade: bring all packages up to date.
        timeout: seconds that each of these may take.
    """

    install: tuple[Union[str, tuple[str, ...]], ...] = ()
    update: bool = True
    upgrade: bool = False
    timeout: float = 1800.0

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError("timeout must be more than 0 seconds")
        self.packages()

    def packages(self) -> list[Package]:
        """What is to be installed, each once. Raises ValueError: it cannot be the name of a package."""
        found = []
        for number, entry in enumerate(self.install):
            words = entry.split("=", 1) if isinstance(entry, str) else list(entry)
            if not 1 <= len(words) <= 2 or not re.fullmatch(_NAME, words[0]):
                raise ValueError(f"install[{number}] must be a package's name, NAME=VERSION or [NAME, VERSION]")
            if len(words) == 2 and not re.fullmatch(_VERSION, words[1]):
                raise ValueError(f"install[{number}] has a version that no package can have")
            found.append(Package(*words))
        return list(dict.fromkeys(found))


def apply(ctx: Context, options: Options) -> None:
    """Install what is missing.

    Raises:
        HandlerError: no package manager that is known here, or it could not do it; with its last words.
    """
    wanted = options.packages()
    if not wanted and not options.upgrade:
        return
    if not ctx.system.root.is_host:
        ctx.note("packages are installed on the running system only")
        return
    manager = find_manager(ctx.system)
    if manager is None:
        raise HandlerError("no package manager that azurelite knows is here: put the packages into the image")
    if manager.version is None and any(package.version for package in wanted):
        raise HandlerError(f"{manager.name} installs no certain versions: leave them out of `install`")
    packages = Packages(ctx.system, manager)
    try:
        missing = packages.missing(wanted)
        if options.update and (missing or options.upgrade):
            packages.update(timeout=options.timeout)
        if options.upgrade and not packages.upgrade(timeout=options.timeout):
            ctx.note(f"{manager.name} cannot upgrade everything at once: nothing is upgraded")
        if missing:
            _install(ctx, packages, missing, options.timeout)
    except CommandError as error:
        raise HandlerError(f"packages could not be installed: {error}", reason=_REASON) from error


def _install(ctx: Context, packages: Packages, missing: list[Package], timeout: float) -> None:
    try:
        packages.install(missing, timeout=timeout)
    except CommandError as error:
        if packages.missing(missing):
            raise
        # zypper, for one, ends with 102 when it is done and a reboot is advised.
        ctx.note(f"the packages are installed, but {error}")
