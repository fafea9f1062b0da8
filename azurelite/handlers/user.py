"""`user`: the administrator's account, with the password that Azure gives or one that no password fits.

An existing account is adopted: it gains the groups and the rule for sudo or doas, and Azure's password where it has
none that works; it keeps everything else as it is. Accounts of the system (root, daemon, …) are refused.

The password is set even where Azure forbids passwords over SSH, as its own agent and cloud-init do: the serial console
of the portal and `sudo: password` ask for it, and sshd is told by the handler `sshd`.
"""

from __future__ import annotations

import re
from typing import Literal, Optional

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import administrator
from azurelite.handlers.support.checks import GROUP, find_shell, octal, wrong_comment
from azurelite.handlers.support.rights import grant, right_of
from azurelite.metadata import Secret
from azurelite.record import Record
from azurelite.system.accounts.libcrypt import unfit
from azurelite.system.accounts.users import NewUser, User

SUMMARY = "create or adopt the administrator's account"
NEEDS = ("username",)
USES = ("password",)
FREQUENCY: Frequency = "instance"
REQUIRED = True

_REASON = "failed to provision password"


class Options(Record):
    """Options of `user`.

    Attributes:
        groups: further groups, as "wheel".
        create_groups: make those of `groups` that do not exist; otherwise they are noted and left out.
        sudo: "nopasswd" or "password": the rule that is written, and sudo or doas must be there; "none": no rule;
            "auto": "nopasswd" where sudo is installed or has its folder /etc/sudoers.d, or else doas is there; else
            none.
        sudo_by: "sudo" or "doas": the one of them that gets the rule; "auto": sudo where it is there, else doas.
        shell: the login shell; the first of bash, ash and sh that exists when left out.
        home_mode: permissions of a home that is made, in quotes, as "0750"; the system's own habit when left out.
        comment: the full name of an account that is made.
        password: when Azure's password is set. "auto": for an account that is made, and for an adopted one that has no
            password yet; "always": for any, in place of its own; "never".
    """

    groups: tuple[str, ...] = ()
    create_groups: bool = False
    sudo: Literal["auto", "nopasswd", "password", "none"] = "auto"
    sudo_by: Literal["auto", "sudo", "doas"] = "auto"
    shell: Optional[str] = None
    home_mode: Optional[str] = None
    comment: str = ""
    password: Literal["auto", "always", "never"] = "auto"  # noqa: S105

    def __post_init__(self) -> None:
        for group in self.groups:
            if not re.fullmatch(GROUP, group):
                raise ValueError("groups has a name that no group can have")
        if self.shell is not None and not re.fullmatch(r"(/[A-Za-z0-9_.+-]+)+", self.shell):
            raise ValueError("shell must be an absolute path")
        if self.home_mode is not None and octal(self.home_mode) is None:
            raise ValueError('home_mode must be permissions in quotes, as "0750"')
        wrong = wrong_comment(self.comment)
        if wrong is not None:
            raise ValueError(wrong)


def apply(ctx: Context, options: Options) -> None:
    """See to it that the account exists, with its groups, its password and its rule for sudo or doas.

    Raises:
        HandlerError: a name that no person's account may have, a password that none can have, or sudo asked for
            and not installed.
        MachineError: the account could not be made.
    """
    name, user = administrator(ctx)
    password = _usable_password(ctx, name, user, options)
    shell = None if user is not None else _shell(ctx, options)
    right = right_of(ctx, name, options.sudo, by=options.sudo_by)
    if shell is not None:
        ctx.system.accounts.check_home(name, _home(name))
    groups = _usable_groups(ctx, options)
    if shell is not None:
        ctx.system.accounts.create_user(_new_user(ctx, name, shell, groups, options))
    elif user is not None:
        ctx.system.accounts.complete(user)
        for group in groups:
            ctx.system.accounts.ensure_member(user, group)
    if password is not None and _is_to_have(ctx, name, password, options):
        ctx.system.accounts.passwords.set_text(name, password)
    grant(ctx, right)


def _usable_password(ctx: Context, name: str, user: Optional[User], options: Options) -> Optional[Secret]:
    """Azure's password, when it is wished at all. Raises HandlerError where it cannot be set."""
    password = ctx.metadata.password
    if not password or options.password == "never":  # noqa: S105
        return None
    wrong = unfit(password)
    if wrong is not None:
        raise HandlerError(f"the password that Azure gave for {name} is refused: {wrong}", reason=_REASON)
    passwords = ctx.system.accounts.passwords
    if user is None or options.password == "always" or passwords.state(name) in ("none", "empty"):  # noqa: S105
        obstacle = passwords.obstacle()
        if obstacle is not None:
            raise HandlerError(f"{obstacle}; `password: never` does without", reason=_REASON)
    return password


def _is_to_have(ctx: Context, name: str, password: Secret, options: Options) -> bool:
    """Whoever has a password already keeps it, unless told otherwise: nobody is re-keyed by accident."""
    passwords = ctx.system.accounts.passwords
    if options.password == "always" or passwords.fits(name, password):  # noqa: S105
        return True
    state = passwords.state(name)
    if state in ("none", "empty"):
        return True
    what = {"set": "has a password", "locked": "has a locked password"}.get(state, "has its password elsewhere")
    ctx.note(f"the account {name} {what} and keeps it; `password: always` would give it Azure's")
    return False


def _shell(ctx: Context, options: Options) -> str:
    if options.shell is not None and not ctx.system.files.is_executable(options.shell):
        raise HandlerError(f"the shell {options.shell} is not there: install it, or change `shell`")
    return options.shell or find_shell(ctx)


def _home(name: str) -> str:
    return f"/home/{name}"


def _new_user(ctx: Context, name: str, shell: str, groups: tuple[str, ...], options: Options) -> NewUser:
    return NewUser(
        name,
        home=_home(name),
        shell=shell,
        groups=groups,
        primary_group=name if ctx.system.accounts.has_group(name) else None,
        comment=options.comment,
        home_mode=octal(options.home_mode) if options.home_mode is not None else None,
    )


def _usable_groups(ctx: Context, options: Options) -> tuple[str, ...]:
    usable = []
    for group in dict.fromkeys(options.groups):
        if options.create_groups:
            ctx.system.accounts.ensure_group(group)
        if ctx.system.accounts.has_group(group):
            usable.append(group)
        else:
            ctx.note(f"the group {group} does not exist and is left out: make it, or set create_groups")
    return tuple(usable)
