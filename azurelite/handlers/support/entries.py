"""The entries of the handler `users`, groups and accounts, and the checks that an account must pass."""

from __future__ import annotations

from typing import Any, Iterator, Literal, Optional, Union

from azurelite.handlers import Context
from azurelite.handlers.support.checks import (
    days_of,
    wrong_comment,
    wrong_doas_rule,
    wrong_group,
    wrong_name,
    wrong_path,
    wrong_sudo_rule,
    wrong_uid,
)
from azurelite.metadata import Secret
from azurelite.record import Record, replace
from azurelite.system.accounts.libcrypt import is_hash, unfit

_REPLACEABLE = (
    *("comment", "uid", "primary_group", "groups", "shell", "home", "sudo_rules", "doas_rules", "hashed_password"),
    *("plain_text_password", "expire_date", "inactive"),
)
_MOST_TRIALS = 50  # items of a list that are tried one by one; a longer list is used whole or not at all


class Group(Record):
    """A group to create.

    Attributes:
        name: its name.
        members: accounts to add to it.
    """

    name: str = ""
    members: tuple[str, ...] = ()


class Account(Record):
    """An account to create, or to complete if it exists.

    Attributes:
        name: the login name.
        comment: the full name or purpose.
        uid: the user id; the next free one when left out.
        primary_group: the main group; a group with the account's name when left out.
        groups: further groups.
        create_groups: create those of `groups` and the `primary_group` that do not exist.
        shell: the login shell; when left out, the first of bash, ash and sh that exists.
        home: the home folder; /home/NAME when left out.
        create_home: create the home folder.
        system: a service account, with a user id below those of people.
        sudo: "nopasswd", "password", "auto" (as in `user`) or "none".
        sudo_rules: instead of `sudo`, the text after the user name in sudoers, for example
            "ALL=(root) NOPASSWD: /sbin/reboot".
        doas_rules: whole lines of doas.conf for this account.
        ssh_authorized_keys: public keys to log in with.
        lock_password: true: lock the existing password and set none; "new": the same, but an account that has a
            password is not locked; when left out, an existing account is not locked.
        hashed_password: the password as a hash as in crypt(5).
        plain_text_password: the password itself.
        password_for_existing: set the given password also if the account existed already.
        expire_date: the last day on which a new account can be used, for example "2030-12-31".
        inactive: for a new account, days after the expiry of its password in which it can still be changed.
    """

    name: str = ""
    comment: str = ""
    uid: Optional[int] = None
    primary_group: Optional[str] = None
    groups: tuple[str, ...] = ()
    create_groups: bool = True
    shell: Optional[str] = None
    home: Optional[str] = None
    create_home: bool = True
    system: bool = False
    sudo: Literal["auto", "nopasswd", "password", "none"] = "none"
    sudo_rules: tuple[str, ...] = ()
    doas_rules: tuple[str, ...] = ()
    ssh_authorized_keys: tuple[str, ...] = ()
    lock_password: Optional[Union[bool, Literal["new"]]] = None
    hashed_password: Optional[Secret] = None
    plain_text_password: Optional[Secret] = None
    password_for_existing: bool = True
    expire_date: Optional[str] = None
    inactive: Optional[Union[int, str]] = None


def shown(name: str) -> str:
    """An untrusted name in printable characters, in quotes."""
    return f"'{name[:64].encode('unicode_escape').decode()}'"


def refusals(ctx: Context, account: Account) -> Iterator[str]:
    """Everything that is wrong with the entry of an account; nothing is changed."""
    name = wrong_name(account.name)
    if name is not None:
        yield name
        return
    yield from _wrong_identity(ctx, account)
    yield from filter(None, (wrong_comment(account.comment),))
    yield from _wrong_paths(ctx, account)
    for group in (*account.groups, *filter(None, (account.primary_group,))):
        wrong = wrong_group(group)
        if wrong is not None:
            yield f"group {shown(group)}: {wrong}"
        elif not account.create_groups and not ctx.system.accounts.has_group(group):
            yield f"the group {group} does not exist: create it, or set `create_groups: true`"
    yield from _wrong_rules(account)
    yield from _wrong_times(account)
    yield from _wrong_passwords(ctx, account)


def without_flaws(ctx: Context, account: Account) -> tuple[Optional[Account], list[str]]:
    """The account without its wrong fields, groups and rules, None if it is refused; and what was wrong with it."""
    quiet = replace(ctx, note=lambda _: None)

    def count(one: Account) -> int:
        return len(list(refusals(quiet, one)))

    problems = list(refusals(ctx, account))
    for name in _REPLACEABLE if problems else ():
        given = getattr(account, name)
        smaller: list[Optional[tuple[str, ...]]] = [None]
        if isinstance(given, tuple) and len(given) <= _MOST_TRIALS:
            smaller = [tuple(item for item in given if item != odd) for odd in given]
        for value in smaller:
            trial = replace(account, **{name: _smaller(account, name, value)})
            if count(trial) < count(account):
                account = trial
    return (None if count(account) else account), problems


def _smaller(account: Account, name: str, value: Optional[tuple[str, ...]]) -> Any:
    """The default of a field; of a list the items that are both in it now and in `value`."""
    if value is None:
        return getattr(Account(), name)
    return tuple(item for item in getattr(account, name) if item in value)


def _wrong_paths(ctx: Context, account: Account) -> Iterator[str]:
    home, shell = account.home, account.shell
    wrong = wrong_path(home) if home is not None else None
    if wrong is not None:
        yield f"home {wrong}"
    if shell is None:
        return
    wrong = wrong_path(shell)
    if wrong is not None:
        yield f"shell {wrong}"
    elif not ctx.system.files.is_executable(shell):
        yield f"the shell {shell} does not exist: install it, or change `shell`"


def _wrong_rules(account: Account) -> Iterator[str]:
    for number, rule in enumerate(account.sudo_rules):
        wrong = wrong_sudo_rule(rule)
        if wrong is not None:
            yield f"sudo_rules[{number}] {wrong}"
    for number, rule in enumerate(account.doas_rules):
        wrong = wrong_doas_rule(rule, account.name)
        if wrong is not None:
            yield f"doas_rules[{number}] {wrong}"


def _wrong_identity(ctx: Context, account: Account) -> Iterator[str]:
    accounts = ctx.system.accounts
    user = accounts.user(account.name)
    if user is not None:
        if user.uid == 0 or (accounts.is_system_account(user) and not account.system):
            yield "it is a system account: choose another name"
        if account.uid is not None and user.uid not in (-1, account.uid):
            ctx.note(f"the account {account.name} exists and keeps its uid {user.uid}")
        return
    if accounts.is_system_group(account.name) and not account.system and account.primary_group is None:
        yield "it is the name of a system group: choose another name"
    if account.uid is not None:
        wrong = wrong_uid(account.uid)
        owner = accounts.name_of(account.uid)
        if wrong is None and owner is not None:
            wrong = f"uid {account.uid} belongs to {owner}: choose another uid"
        if wrong is not None:
            yield wrong


def _wrong_times(account: Account) -> Iterator[str]:
    if account.expire_date is not None and days_of(account.expire_date) is None:
        yield 'expire_date must be a date such as "2030-12-31"'
    if account.inactive is not None and not 0 <= inactive_days(account.inactive) < 100000:
        yield "inactive must be a number of days"


def _wrong_passwords(ctx: Context, account: Account) -> Iterator[str]:
    if account.hashed_password is not None and account.plain_text_password is not None:
        yield "hashed_password and plain_text_password exclude each other: remove one"
    if account.hashed_password is not None:
        try:
            text = account.hashed_password.reveal_bytes().decode()
        except UnicodeError:
            text = ""
        if not is_hash(text):
            yield "hashed_password is not a hash as in crypt(5): create one with `openssl passwd -6`"
    if account.plain_text_password is not None:
        wrong = unfit(account.plain_text_password)
        if wrong is not None:
            yield f"plain_text_password: {wrong}"
    if account.hashed_password is not None or account.plain_text_password is not None:
        obstacle = ctx.system.accounts.passwords.obstacle()
        if obstacle is not None:
            yield obstacle


def inactive_days(days: Union[int, str]) -> int:
    """The number of days in `inactive`, -1 if it is not a number."""
    if isinstance(days, int):
        return days
    return int(days) if days.isascii() and days.isdigit() and len(days) < 10 else -1
