"""User accounts as values."""

from __future__ import annotations

from typing import Optional

from azurelite.record import Record


class User(Record):
    """An account as in /etc/passwd. In a dry run an account to be created has the numbers -1."""

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
    """An account to be created. Password login is locked, key login works.

    Attributes:
        name: validated login name.
        home: guest path of the home folder; created from /etc/skel.
        shell: guest path.
        groups: additional groups, which must exist.
        primary_group: an existing group to use; None creates one with the user's name.
        comment: the full name or the purpose of the account; no `:` and no line break.
        uid: the number, which must be free; None takes the next free one.
        system: a service account: its number is below those for people.
        create_home: create the home if it does not exist.
        home_mode: permission bits of a new home, as 0o750; None uses the guest's default.
        expire_day: last day of login, in days since 1970.
        inactive: days after the password expired during which it may still be renewed.
        former: user id, group id and mode of an existing home that no account owns, and that this account is given.
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
    former: Optional[tuple[int, int, int]] = None


class Owner(Record):
    """The owner of a file. `name` is for messages; a dry run may not know the numbers yet (-1)."""

    name: str
    uid: int
    gid: int


ROOT_OWNER = Owner("root", 0, 0)
