"""`user`: create the administrator's account, with Azure's password or with password login locked.

An existing account is adopted: it is added to the groups, gets the rule for sudo or doas, and on the first boot of a
VM id gets Azure's password, as from Azure's own agent. Later boots keep its password: somebody may have changed it.
Nothing else is changed. System accounts (root, daemon, …) are refused.

The password is set even if Azure forbids passwords over SSH, as Azure's own agent and cloud-init do: the portal's
serial console and `sudo: password` need it. The handler `sshd` sets whether sshd accepts it.
"""

from __future__ import annotations

import re
from typing import Literal, Optional

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import NAME, administrator
from azurelite.handlers.support.checks import find_shell, grant, octal, right_of, wrong_comment
from azurelite.handlers.support.creation import create_account
from azurelite.handlers.support.former_vm import note_former_vm
from azurelite.metadata import Secret
from azurelite.record import Record
from azurelite.state.marker import done_before
from azurelite.state.store import KEPT_PASSWORD
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
        groups: further groups, for example "wheel". A group in `DenyGroups` of sshd is left out with a note.
        create_groups: create those of `groups` that do not exist; otherwise they are skipped with a note.
        sudo: "nopasswd" or "password": write such a rule; sudo or doas must be installed. "none": no rule. "auto":
            "nopasswd" if sudo is installed or has its folder /etc/sudoers.d, or if doas is installed; else none.
        sudo_by: the tool that gets the rule: "sudo" or "doas"; "auto": sudo if it is installed, else doas.
        shell: the login shell; when left out, the first of bash, ash and sh that exists.
        home_mode: permissions of a new home folder, in quotes, for example "0750"; the system's default when left out.
        comment: the full name, for a new account.
        password: when to set Azure's password. "auto": for a new account, for one without a password, and for any
            account on the first boot of a VM id; "always": whenever this runs, replacing a changed one; "never".
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
            if not re.fullmatch(NAME, group):
                raise ValueError("groups must be names of letters, digits, `_`, `.` and `-`")
        if self.shell is not None and not re.fullmatch(r"(/[A-Za-z0-9_.+-]+)+", self.shell):
            raise ValueError("shell must be an absolute path")
        if self.home_mode is not None and octal(self.home_mode) is None:
            raise ValueError('home_mode must be octal permissions in quotes, such as "0750"')
        wrong = wrong_comment(self.comment)
        if wrong is not None:
            raise ValueError(wrong)


def apply(ctx: Context, options: Options) -> None:
    """Create or complete the account, with its groups, its password and its rule for sudo or doas.

    Raises:
        HandlerError: the name or the password is not allowed, or sudo is requested and not installed.
        MachineError: the account could not be created.
    """
    name, user = administrator(ctx)
    note_former_vm(ctx, name)
    password = _usable_password(ctx, name, user, options)
    shell = None if user is not None else _shell(ctx, options)
    right = right_of(ctx, name, options.sudo, by=options.sudo_by)
    if shell is not None:
        ctx.system.accounts.check_home(name, _home(name))
    groups = _usable_groups(ctx, name, options)
    if shell is not None:
        create_account(ctx, _new_user(ctx, name, shell, groups, options))
    elif user is not None:
        ctx.system.accounts.adopt(user)
        ctx.system.accounts.complete(user, note=ctx.note)
        for group in groups:
            ctx.system.accounts.ensure_member(user, group)
    if password is not None:
        _set_password(ctx, name, password, options)
    grant(ctx, right)


def _usable_password(ctx: Context, name: str, user: Optional[User], options: Options) -> Optional[Secret]:
    """Azure's password, or None if there is none to set. Raises HandlerError if it cannot be set."""
    password = ctx.metadata.password
    if not password or options.password == "never":  # noqa: S105
        return None
    wrong = unfit(password)
    if wrong is not None:
        raise HandlerError(f"the password of {name} is refused because {wrong}: use another password", reason=_REASON)
    passwords = ctx.system.accounts.passwords
    if user is None or _may_replace(ctx, name, options):
        obstacle = passwords.obstacle()
        if obstacle is not None:
            raise HandlerError(f"{obstacle}, or set `password: never`", reason=_REASON)
    return password


def _may_replace(ctx: Context, name: str, options: Options) -> bool:
    """Whether the password of an existing account is replaced by another one from Azure."""
    state = ctx.system.accounts.passwords.state(name)
    if options.password == "always" or state in ("none", "empty"):  # noqa: S105
        return True
    return state != "elsewhere" and not _is_settled(ctx)


def _is_settled(ctx: Context) -> bool:
    """Whether this is no first boot of this VM, so that the password may be one that somebody chose later."""
    return ctx.memory.recall(KEPT_PASSWORD) is not None or done_before(ctx.system.root, ctx.memory.vm_id) is not None


def _set_password(ctx: Context, name: str, password: Secret, options: Options) -> None:
    """Set the password, or keep the account's with a note. Raises MachineError."""
    passwords = ctx.system.accounts.passwords
    if passwords.fits(name, password) or _may_replace(ctx, name, options):
        passwords.set_text(name, password)
        ctx.memory.remember(KEPT_PASSWORD, "set\n")
        return
    if passwords.state(name) == "elsewhere":
        kept = "its password from another database: change it there"
    else:
        kept = "its password since an earlier run: set `password: always` to replace it with Azure's"
    ctx.note(f"the account {name} keeps {kept}")


def _shell(ctx: Context, options: Options) -> str:
    if options.shell is not None and not ctx.system.files.is_executable(options.shell):
        raise HandlerError(f"the shell {options.shell} does not exist: install it, or change `shell`")
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


def _usable_groups(ctx: Context, name: str, options: Options) -> tuple[str, ...]:
    if not options.groups:
        return ()
    from azurelite.system.ssh.access import denying_line

    usable = []
    for group in dict.fromkeys(options.groups):
        denied = denying_line(ctx.system, name, group)
        if denied is not None:
            ctx.note(f"{name} is not added to {group}, whose members sshd rejects: {denied}")
            continue
        if options.create_groups:
            ctx.system.accounts.ensure_group(group)
        if ctx.system.accounts.has_group(group):
            usable.append(group)
        else:
            ctx.note(f"the group {group} does not exist and is skipped: create it, or set `create_groups: true`")
    return tuple(usable)
