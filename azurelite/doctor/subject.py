"""What the checks look at: one guest, and the few facts that several checks ask for."""

from __future__ import annotations

import re
from typing import Iterator, Optional

from azurelite.config.load import Config, load_config
from azurelite.errors import ConfigError
from azurelite.record import Record
from azurelite.system.machine import System
from azurelite.system.services.services import Services

MOST_NAMES = 500  # of a folder of a foreign image: homes, kernels, files of rules
_TEXT_LIMIT = 256 * 1024  # bytes of one configuration file


class Account(Record):
    """A line of /etc/passwd with its password field.

    Attributes:
        name, uid, home, shell: as in the line.
        password: the field of /etc/shadow, else that of /etc/passwd.
    """

    name: str
    uid: int
    home: str
    shell: str
    password: str

    @property
    def can_use_shell(self) -> bool:
        """Whether its shell lets it log in."""
        return self.shell.rpartition("/")[2] not in ("nologin", "false", "sync", "halt", "shutdown")


class Subject:
    """A guest that is examined.

    Args:
        system: the guest; nothing is changed.

    Attributes:
        system, files, services: the guest.
        live: it is the running system.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.files = system.files
        self.services = Services(system)
        self.live = system.root.is_host
        self._config: Optional[Config] = None

    def text(self, path: str) -> str:
        """The start of a text file; "" if it is absent. What cannot be read is "" as well."""
        return self.system.root.text(path, limit=_TEXT_LIMIT)

    def lines(self, path: str) -> list[str]:
        """The lines of a configuration file without comments and empty lines."""
        return [line for line in self.text(path).splitlines() if line.strip() and line.strip()[0] not in "#;"]

    def names(self, folder: str) -> list[str]:
        """The first names in a folder. Raises FileError."""
        return self.files.names(folder)[:MOST_NAMES]

    def first(self, *paths: str) -> Optional[str]:
        """The first of these paths that exists. Raises FileError."""
        return next((path for path in paths if self.files.exists(path)), None)

    def enabled(self, *names: str) -> Optional[bool]:
        """Whether one of these services starts at boot; None where there is none of them. Raises FileError."""
        answers = [self.services.enabled(name) for name in names]
        return True if True in answers else False if False in answers else None

    @property
    def azurelite_enabled(self) -> bool:
        """Whether azurelite is installed in this guest and starts at boot. Raises FileError."""
        return self.services.enabled("azurelite") is True

    def plan(self) -> list[str]:
        """The names of the handlers in the guest's configuration; [] if it has mistakes."""
        try:
            self._config = self._config or load_config(self.system.root)
        except ConfigError:
            return []
        return [entry.name for entry in self._config.handlers]

    def accounts(self) -> Iterator[Account]:
        """The accounts in the guest's files. Raises FileError."""
        shadow = dict(line.split(":", 2)[:2] for line in self.files.lines("/etc/shadow") if ":" in line)
        for line in self.files.lines("/etc/passwd"):
            fields = line.split(":")
            if len(fields) == 7 and re.fullmatch(r"\d{1,10}", fields[2]):
                name, field = fields[0], fields[1]
                password = shadow.get(name, "*") if field == "x" else field
                yield Account(name, int(fields[2]), fields[5], fields[6], password)

    def unit_enabled(self, unit: str) -> bool:
        """Whether a systemd unit of any kind ("ssh.socket") is wanted by another one, and not masked."""
        folders = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
        if self.system.root.link_target(f"{folders[0]}/{unit}") == "/dev/null":
            return False
        for folder in folders:
            for inner in self.names(folder):
                if inner.endswith((".wants", ".requires")) and unit in self.files.names(f"{folder}/{inner}"):
                    return True
        return False
