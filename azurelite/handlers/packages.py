"""`packages`: install packages with the distribution's own tool.

Supported are apt, dnf, yum, tdnf, zypper, apk, pacman, xbps, emerge and others.

Packages that are installed are not requested again, so a later run needs no network. In a foreign root nothing is
installed, because its tools cannot be run on this machine.
"""

from __future__ import annotations

from typing import Union

from azurelite.config.load import Frequency
from azurelite.errors import CommandError, HandlerError, SkippedError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.packages import Package, Packages, find_manager, package_of

SUMMARY = "install packages with the distribution's own tool"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_REASON = "failed to install packages"


class Options(Record):
    """Options of `packages`.

    Attributes:
        install: names of packages; for a specific version "NAME=VERSION" or [NAME, VERSION] in the distribution's
            notation.
        update: download the package lists first, if something is to be installed or upgraded.
        upgrade: upgrade all packages.
        timeout: seconds for each of the three: update, upgrade, install.
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
        """The packages to install, without duplicates. Raises ValueError: a name or version is invalid."""
        found = []
        for number, entry in enumerate(self.install):
            try:
                found.append(package_of(entry))
            except ValueError as error:
                raise ValueError(f"install[{number}] {error}") from error
        return list(dict.fromkeys(found))


def apply(ctx: Context, options: Options) -> None:
    """Install the missing packages.

    Raises:
        SkippedError: the root is not the running system.
        HandlerError: no supported package manager is installed, or it failed (with the end of its output).
    """
    wanted = options.packages()
    if not wanted and not options.upgrade:
        return
    if not ctx.system.root.is_host:
        raise SkippedError("packages are installed on the running system only")
    manager = find_manager(ctx.system)
    if manager is None:
        raise HandlerError("no supported package manager is installed: add the packages to the image")
    if manager.version is None and any(package.version for package in wanted):
        raise HandlerError(f"{manager.name} cannot install specific versions: remove the versions from `install`")
    packages = Packages(ctx.system, manager)
    try:
        missing = packages.missing(wanted)
        if options.update and (missing or options.upgrade):
            packages.update(timeout=options.timeout)
        if options.upgrade and not packages.upgrade(timeout=options.timeout):
            ctx.note(f"{manager.name} has no command that upgrades all packages: `upgrade` is skipped")
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
        # A non-zero status can be success: zypper returns 102 when everything is installed and a reboot is advised.
        ctx.note(f"the packages are installed, but {error}")
