"""azurelite itself: the program, its service and order for the guest's init system, its configuration."""

from __future__ import annotations

import re
from typing import Iterator, Optional

from azurelite import layout
from azurelite.config.load import load_config
from azurelite.doctor.finding import ERROR, NOT_CHECKED, WARNING, Finding
from azurelite.doctor.subject import Subject
from azurelite.errors import ConfigError
from azurelite.handlers import BUILTIN, bind_handlers
from azurelite.record import replace
from azurelite.service import INITS
from azurelite.service.layouts import LAYOUTS
from azurelite.service.pieces import is_plain, runs_it

_REPORTING = "report_ready"
_DATA = ("/etc/", "/run/", "/usr/lib/", "/var/")  # folders of azurelite that are no program
_START = r"S(\d\d)(.+)"
_NETWORK = ("networking", "network", "dhcpcd", "NetworkManager", "network-manager", "connman")
_SSHD = ("ssh", "sshd", "dropbear")


def installed(subject: Subject) -> Iterator[Finding]:
    """The init system is known, and azurelite's service is there and enabled."""
    init = subject.services.init
    if init not in INITS:
        yield Finding(
            "service.enabled",
            ERROR,
            "no init system was found, so nothing starts azurelite",
            "/sbin/init",
            "Install an init system, or have your own run `azurelite provision --detach` at boot.",
        )
        return
    known = subject.services.enabled("azurelite")
    if known is not True:
        yield Finding(
            "service.enabled",
            ERROR,
            f"azurelite's service is {'disabled' if known is False else 'not installed'} ({init})",
            _place(subject, init),
            f"Run `azurelite service install{'' if subject.live else ' --root DIR'}`.",
        )


def program(subject: Subject) -> Iterator[Finding]:
    """The program that the service starts exists."""
    if not subject.azurelite_enabled:
        return
    text = _text(subject, subject.services.init) or ""
    found = re.findall(r"(?<![\w.-])(/[\w./+-]*azurelite(?:\.pyz)?)(?=[\s}\"']|$)", _commands(text), re.MULTILINE)
    named = next((path for path in found if not path.startswith(_DATA)), None)
    if named is not None and not subject.files.is_executable(named):
        yield Finding(
            "service.program",
            ERROR,
            f"the service starts {named}, which does not exist",
            named,
            "Install azurelite in the guest, or run `azurelite service install --program PATH`.",
        )


def order(subject: Subject) -> Iterator[Finding]:
    """The service starts after the network and before sshd, as far as the init system has an order."""
    init = subject.services.init
    wrong = None
    if init == "sysvinit":
        wrong = _by_numbers(subject)
    elif init in ("systemd", "openrc") and subject.azurelite_enabled:
        text = _text(subject, init)
        unit = {"systemd": "systemd/azurelite.service", "openrc": "openrc/azurelite"}[init]
        if text is not None and not is_plain(text.encode(errors="surrogateescape"), unit):
            after = r"(?mi)^After=.*network" if init == "systemd" else r"(?m)^\s*(use|need|after|want)\b.*\bnet"
            before = r"(?m)^Before=.*ssh" if init == "systemd" else r"(?m)^\s*before\b.*\bssh"
            lacking = [what for pattern, what in ((after, "after the network"), (before, "before sshd"))
                       if not re.search(pattern, text)]  # fmt: skip
            wrong = f"the service is not ordered {' and '.join(lacking)}" if lacking else None
    if wrong is not None:
        yield Finding(
            "service.order",
            WARNING,
            wrong,
            _place(subject, init),
            "Run `azurelite service remove`, delete that file, then run `azurelite service install`.",
        )


def switched_on(subject: Subject) -> Iterator[Finding]:
    """No off switch is in the image."""
    if subject.files.exists(layout.DISABLED_SWITCH):
        yield Finding(
            "service.switch",
            ERROR,
            "azurelite is switched off in this image",
            layout.DISABLED_SWITCH,
            "Delete that file before you capture the image.",
        )


def configuration(subject: Subject) -> Iterator[Finding]:
    """The configuration has no mistake, and reports Ready."""
    root = subject.system.root
    foreign: list[str] = []
    try:
        config = load_config(root)
        if not subject.live:  # no code of a foreign root is run, and its plug-ins are not installed here
            foreign = [entry.name for entry in config.handlers if entry.name not in BUILTIN]
            own = tuple(entry for entry in config.handlers if entry.name in BUILTIN)
            bind_handlers(replace(config, handlers=own), root)
        else:
            bind_handlers(config, root)
    except ConfigError as error:
        yield Finding(
            "service.config",
            ERROR,
            f"the configuration has mistakes: {error}",
            f"{layout.ADMIN_CONFIG}/{layout.CONFIG_NAME}",
            "Correct them; `azurelite config check` lists all of them.",
        )
        return
    for name in foreign:
        yield Finding(
            "service.config",
            NOT_CHECKED,
            f"the handler {name} is not one of azurelite's own",
            f"{layout.ADMIN_CONFIG}/{layout.CONFIG_NAME}",
            "Run `azurelite config check` in the guest.",
        )
    if _REPORTING not in [entry.name for entry in config.handlers]:
        yield Finding(
            "service.config",
            WARNING,
            f"the configuration has no {_REPORTING}, so Azure is not told that the VM is ready",
            f"{layout.ADMIN_CONFIG}/{layout.CONFIG_NAME}",
            f"Add {_REPORTING} to `handlers`, unless another program reports.",
        )


def _by_numbers(subject: Subject) -> Optional[str]:
    for folder in ("/etc/rc2.d", "/etc/rc3.d", "/etc/rc.d/rc3.d"):
        starts = [match for name in subject.names(folder) if (match := re.fullmatch(_START, name))]
        at = {match[2]: int(match[1]) for match in starts}
        own = at.get("azurelite")
        if own is None:
            continue
        late = [name for name in _NETWORK if at.get(name, -1) > own]
        early = [name for name in _SSHD if at.get(name, 100) < own]
        if late:
            return f"the service starts before {late[0]} in {folder}"
        if early:
            return f"the service starts after {early[0]} in {folder}"
    return None


def _paths(subject: Subject, init: str) -> list[str]:
    if init not in LAYOUTS:
        return []
    shipped = ["/usr/lib/systemd/system/azurelite.service", "/lib/systemd/system/azurelite.service"]
    units = LAYOUTS[init](subject.system).units
    return [text.path for unit in units for text in unit.texts] + (shipped if init == "systemd" else [])


def _place(subject: Subject, init: str) -> str:
    paths = _paths(subject, init)
    return next((path for path in paths if subject.files.exists(path)), paths[0] if paths else "/etc")


def _text(subject: Subject, init: str) -> Optional[str]:
    """The text of the unit that runs azurelite."""
    for path in _paths(subject, init):
        data = subject.files.read(path)
        if data is not None and runs_it(data):
            return data.decode(errors="surrogateescape")
    return None


def _commands(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
