"""The root file system in which other agents run: Debian's packages, kept in the cache of the boot tests' roots."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from boot.roots import BuildError, Root

RootError = BuildError
AGENTS = ("cloud-init", "curl", "eject", "hostname", "procps", "udev", "waagent")


@dataclass(frozen=True)
class PeerRoot(Root):
    """As a root that boots, with the agents, and as the packages leave it."""

    suite: str = "bookworm"
    init: str = "systemd"
    client: str = "dhclient"

    @property
    def name(self) -> str:
        """A name for people and files."""
        return f"{self.suite}-agents"

    @property
    def packages(self) -> tuple[str, ...]:
        """What it has beside the base."""
        return tuple(sorted({*super().packages, *AGENTS}))

    @property
    def scripts(self) -> tuple[Path, ...]:
        """None: each run configures its own agent."""
        return ()


if __name__ == "__main__":
    sys.stdout.write(f"{PeerRoot().build()}\n")
