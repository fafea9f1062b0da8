"""`users`: create groups and accounts in addition to the administrator's. If one is refused, the others still are.

An account that exists already is added to the groups, and gets the keys, rules and password given here. Its uid,
home, shell and lock are not changed. root and the system accounts are refused, but may be members of groups.
"""

from __future__ import annotations

from typing import Iterator, Sequence

from azurelite.config.load import Frequency
from azurelite.errors import AzureliteError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.checks import days_of, find_shell, given_rules, grant, login_keys, right_of, wrong_group
from azurelite.handlers.support.creation import create_account
from azurelite.handlers.support.entries import Account, Group, inactive_days, shown, without_flaws
from azurelite.metadata import SshKey
from azurelite.record import Record
from azurelite.system.accounts.users import NewUser, User
from azurelite.system.ssh.authorized import add_keys

SUMMARY = "create further groups and accounts"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False


class Options(Record):
    """Options of `users`.

    Attributes:
        groups: groups to create: `name`, and `members` to add to it.
        accounts: accounts to create or complete: `name`, `comment`, `uid`, `primary_group`, `groups`, `create_groups`,
            `shell`, `home`, `create_home`, `system`, `sudo` (as in `user`, but "none" when left out), `sudo_rules`,
            `doas_rules`, `ssh_authorized_keys`, `lock_password`, `hashed_password`, `plain_text_password`,
            `password_for_existing`, `expire_date`, `inactive`.
    """

    groups: tuple[Group, ...] = ()
    accounts: tuple[Account, ...] = ()


def apply(ctx: Context, options: Options) -> None:
    """Create the groups, then the accounts, then the memberships.

    Raises:
        HandlerError: some were refused or failed; it lists their positions and names. The others are created.
    """
    _create(ctx, options, lenient=False)


def apply_leniently(ctx: Context, options: Options) -> None:
    """The same for user data: an account with a wrong field is created without the field. Raises HandlerError."""
    _create(ctx, options, lenient=True)


def _create(ctx: Context, options: Options, *, lenient: bool) -> None:
    refused: list[tuple[str, str]] = []  # an entry and its problem
    usable = []
    for number, group in enumerate(options.groups):
        place = f"groups[{number}] {shown(group.name)}"
        wrong = wrong_group(group.name)
        if wrong is not None:
            refused.append((place, wrong))
            continue
        try:
            ctx.system.accounts.ensure_group(group.name)
            usable.append((place, group))
        except AzureliteError as error:
            refused.append((place, error.message))
    for number, account in enumerate(options.accounts):
        fit, problems = without_flaws(ctx, account)
        try:
            if fit is not None and (lenient or not problems):
                _ensure(ctx, fit)
        except AzureliteError as error:
            problems.append(error.message)
        if problems:
            refused.append((f"accounts[{number}] {shown(account.name)}", "; ".join(problems)))
    for place, group in usable:
        refused += [(place, problem) for problem in _join(ctx, group)]
    _check_logins(ctx, options.accounts)
    if refused:
        raise HandlerError(_each_problem_once(refused), reason="failed to provision user")


def _each_problem_once(refused: Sequence[tuple[str, str]]) -> str:
    entries: dict[str, list[str]] = {}
    for place, problem in refused:
        entries.setdefault(problem, []).append(place)
    return "; ".join(f"{', '.join(places)}: {problem}" for problem, places in entries.items())


def _ensure(ctx: Context, account: Account) -> None:
    """Create or complete the account. Raises AzureliteError."""
    accounts = ctx.system.accounts
    name = account.name
    rights = [given_rules(ctx, name, account.sudo_rules, "sudo")] if account.sudo_rules else []
    rights += [given_rules(ctx, name, account.doas_rules, "doas")] if account.doas_rules else []
    right = None if account.sudo_rules else right_of(ctx, name, account.sudo)
    user = accounts.user(name)
    if user is None:
        accounts.check_home(name, _home(account), create=account.create_home)
    for group in (*account.groups, *filter(None, (account.primary_group,))):
        accounts.ensure_group(group)
    existed = user is not None
    if user is None:
        user = create_account(ctx, _new(ctx, account))
    else:
        accounts.adopt(user)
        if not account.system:
            accounts.complete(user, home=account.create_home, note=ctx.note)
        for group in account.groups:
            accounts.ensure_member(user, group)
    locks = _locks(ctx, account, existed=existed)
    if account.password_for_existing or not existed:
        _give_password(ctx, account, locks=locks)
    if locks:
        accounts.passwords.lock(name)
    for rule in (right, *rights):
        grant(ctx, rule)
    _add_keys(ctx, account, user)


def _locks(ctx: Context, account: Account, *, existed: bool) -> bool:
    """Whether the password of the account is to be locked."""
    if account.lock_password != "new":  # noqa: S105 - no password
        return account.lock_password is True
    return not (existed and ctx.system.accounts.passwords.state(account.name) in ("set", "empty"))


def _home(account: Account) -> str:
    return account.home or f"/home/{account.name}"


def _new(ctx: Context, account: Account) -> NewUser:
    own = account.name if ctx.system.accounts.has_group(account.name) else None
    return NewUser(
        account.name,
        home=_home(account),
        shell=account.shell or find_shell(ctx),
        groups=tuple(dict.fromkeys(account.groups)),
        primary_group=account.primary_group or own,
        comment=account.comment,
        uid=account.uid,
        system=account.system,
        create_home=account.create_home,
        expire_day=days_of(account.expire_date) if account.expire_date is not None else None,
        inactive=inactive_days(account.inactive) if account.inactive is not None else None,
    )


def _give_password(ctx: Context, account: Account, *, locks: bool) -> None:
    passwords = ctx.system.accounts.passwords
    given = account.hashed_password or account.plain_text_password
    if given is None:
        return
    if locks and account.lock_password == "new":  # noqa: S105 - no password
        ctx.note(f"the password of {account.name} is locked, as in cloud-init: set `lock_passwd: false` to use it")
    elif locks:
        ctx.note(f"the password of {account.name} is not set, because `lock_password` is true")
    elif account.hashed_password is not None:
        passwords.set_hash(account.name, account.hashed_password)
    elif account.plain_text_password is not None:
        passwords.set_text(account.name, account.plain_text_password)


def _add_keys(ctx: Context, account: Account, user: User) -> None:
    given = enumerate(account.ssh_authorized_keys, 1)
    keys, wrong = login_keys(
        (f"SSH key {number} of {account.name}", key)
        for number, text in given
        for key in SshKey.read_all(text, with_options=True)
    )
    if wrong and not keys:
        raise HandlerError("; ".join(wrong))
    for problem in wrong:
        ctx.note(problem)
    if keys:
        add_keys(ctx.system, user, keys, note=ctx.note)


def _check_logins(ctx: Context, accounts: Sequence[Account]) -> None:
    """Note accounts that nobody can log in to, although keys or a password were given for them."""
    for account in accounts:
        has_password = bool(account.hashed_password or account.plain_text_password) and not account.lock_password
        user = ctx.system.accounts.user(account.name)
        if user is None or not (has_password or account.ssh_authorized_keys):
            continue
        from azurelite.system.ssh.login import can_log_in

        keys, _ = login_keys(("", SshKey.read(text)) for text in account.ssh_authorized_keys)
        works = has_password and ctx.system.accounts.passwords.state(account.name) == "set"
        verdict = can_log_in(ctx.system, user, keys=keys, password=(lambda: True) if works else None)
        if verdict.state == "refused":
            ctx.note(verdict.reason)


def _join(ctx: Context, group: Group) -> Iterator[str]:
    """Add the members to the group. Yields what went wrong with some of them."""
    for name in dict.fromkeys(group.members):
        user = ctx.system.accounts.user(name)
        if user is None:
            yield f"the member {shown(name)} does not exist: create the account first"
            continue
        try:
            ctx.system.accounts.ensure_member(user, group.name)
        except AzureliteError as error:
            yield error.message
