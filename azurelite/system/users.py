"""User accounts as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from azurelite.system.files import Owner


@dataclass(frozen=True)
class User:
    """An account, as /etc/passwd tells it. In a dry run an account to be made has the numbers -1."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    @property
    def owner(self) -> Owner:
        """The account as the owner of files."""
        return Owner(self.name, self.uid, self.gid)


@dataclass(frozen=True)
class NewUser:
    """An account to be made. Its password is locked in the way that still lets sshd take keys.

    Attributes:
        name: validated login name.
        home: guest path of the home folder; made from /etc/skel.
        shell: guest path.
        groups: further groups, which must exist.
        primary_group: an existing group to use; a new one of the user's name when None.
    """

    name: str
    home: str
    shell: str
    groups: tuple[str, ...] = ()
    primary_group: Optional[str] = None
