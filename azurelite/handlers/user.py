"""`user`: the administrator's account. A new one has a locked password that still allows keys.

An existing account is adopted: it gains the groups and the sudo rule and keeps everything else as it is.
Accounts of the system (root, daemon, …) are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Optional

from azurelite.config import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.person import administrator
from azurelite.system.users import NewUser, User

SUMMARY = "create or adopt the administrator's account"
NEEDS = ("username",)
FREQUENCY: Frequency = "instance"
REQUIRED = True

_GROUP_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"
_SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/ash", "/bin/sh")
_SUDOERS = "/etc/sudoers.d/90-azurelite"
_SUDO_PROGRAMS = ("/usr/bin/sudo", "/usr/local/bin/sudo", "/bin/sudo", "/run/wrappers/bin/sudo")


@dataclass(frozen=True)
class Options:
    """Options of `user`.

    Attributes:
        groups: further groups, as "wheel".
        create_groups: make those of `groups` that do not exist; otherwise they are noted and left out.
        sudo: "nopasswd" or "password": the rule that is written, and sudo must be there; "none": no rule;
            "auto": "nopasswd" where sudo is installed or has its folder /etc/sudoers.d, else none.
        shell: the login shell; the first of bash, ash and sh that exists when left out.
    """

    groups: tuple[str, ...] = ()
    create_groups: bool = False
    sudo: Literal["auto", "nopasswd", "password", "none"] = "auto"
    shell: Optional[str] = None

    def __post_init__(self) -> None:
        for group in self.groups:
            if not re.fullmatch(_GROUP_NAME, group):
                raise ValueError("groups has a name that no group can have")
        if self.shell is not None and not re.fullmatch(r"(/[A-Za-z0-9_.+-]+)+", self.shell):
            raise ValueError("shell must be an absolute path")


def apply(ctx: Context, options: Options) -> None:
    """See to it that the account exists, with its groups and its sudo rule.

    Raises:
        HandlerError: a name that no person's account may have, or sudo asked for and not installed.
        MachineError: the account could not be made.
    """
    name, user = administrator(ctx)
    groups = _usable_groups(ctx, options)
    if user is None:
        user = ctx.system.accounts.create_user(_new_user(ctx, name, groups, options))
    else:
        ctx.system.accounts.complete(user)
        for group in groups:
            ctx.system.accounts.ensure_member(user, group)
    _ensure_sudo(ctx, user, options)


def _new_user(ctx: Context, name: str, groups: tuple[str, ...], options: Options) -> NewUser:
    if options.shell is not None and not ctx.system.files.is_executable(options.shell):
        raise HandlerError(f"the shell {options.shell} is not there: install it, or change `shell`")
    shell = options.shell or next((path for path in _SHELLS if ctx.system.files.is_executable(path)), "/bin/sh")
    own_group = name if ctx.system.accounts.has_group(name) else None
    return NewUser(name, home=f"/home/{name}", shell=shell, groups=groups, primary_group=own_group)


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


def _ensure_sudo(ctx: Context, user: User, options: Options) -> None:
    if options.sudo == "none":
        return
    files = ctx.system.files
    if not files.is_dir("/etc/sudoers.d") and not any(files.is_executable(path) for path in _SUDO_PROGRAMS):
        if options.sudo == "auto":
            ctx.note("sudo is not installed: the user gets no rule for it")
            return
        raise HandlerError("sudo is not installed: install it, or set `sudo: none`")
    if not files.is_dir("/etc/sudoers.d"):
        files.mkdir("/etc/sudoers.d", mode=0o750)
    tag = "" if options.sudo == "password" else "NOPASSWD: "
    subject = f'"{user.name}"'  # in quotes, for sudoers takes a name in capitals for an alias
    rule = f"{subject} ALL=(ALL:ALL) {tag}ALL"
    lines = (files.read(_SUDOERS) or b"# written by azurelite\n").decode(errors="surrogateescape").splitlines()
    if rule not in lines:  # rules of administrators that came before stay: nobody is demoted
        lines = [line for line in lines if line.partition(" ")[0] != subject] + [rule]
    data = "".join(f"{line}\n" for line in lines)
    files.write(_SUDOERS, data.encode(errors="surrogateescape"), mode=0o440)
