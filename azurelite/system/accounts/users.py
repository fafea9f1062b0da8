"""User accounts as values."""

from __future__ import annotations

from typing import Optional

from azurelite.record import Record


class User(Record):
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


class NewUser(Record):
    """An account to be made. Its password is locked in the way that still lets sshd take keys.

    Attributes:
        name: validated login name.
        home: guest path of the home folder; made from /etc/skel.
        shell: guest path.
        groups: further groups, which must exist.
        primary_group: an existing group to use; a new one of the user's name when None.
        comment: the full name or what the account is for; no `:` and no line end.
        uid: the number wished for, which must be free; the next free one when None.
        system: an account of a service: a number below people's.
        create_home: make the home where there is none.
        home_mode: permission bits of a home that is made, as 0o750; the guest's own habit when None.
        expire_day: days since 1970 after which nobody can log in to it.
        inactive: days after its password expired in which it may still be renewed.
    """

    name: str
    home: str
    shell: str
    groups: tuple[str, ...] = ()
    primary_group: Optional[str] = None
    comment: str = ""
    uid: Optional[int] = None
    system: bool = False
    create_home: bool = True
    home_mode: Optional[int] = None
    expire_day: Optional[int] = None
    inactive: Optional[int] = None


class Owner(Record):
    """Who a file belongs to. `name` is for people; a dry run may not know the numbers yet (-1)."""

    name: str
    uid: int
    gid: int


ROOT_OWNER = Owner("root", 0, 0)
