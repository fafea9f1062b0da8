"""The administrator's account that Azure names. The names of system accounts and groups are refused."""

from __future__ import annotations

import re
from typing import Optional

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.system.accounts.users import User

# Accepted by useradd, sudoers and authorized_keys without quoting; utmp has room for 32 characters.
NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"


def administrator(ctx: Context) -> tuple[str, Optional[User]]:
    """The administrator's name, checked, and the account, or None if it does not exist yet.

    Raises:
        HandlerError: the name is invalid, or belongs to a system account or group.
    """
    name = ctx.metadata.username or ""
    if not re.fullmatch(NAME, name) or name.endswith("."):
        raise _refused(name, "use at most 32 letters, digits, `_`, `.` and `-`, with a letter or `_` first")
    if name == "ALL":
        raise _refused(name, "it means every user in sudoers")
    user = ctx.system.accounts.user(name)
    if user is None and ctx.system.accounts.is_system_group(name):
        raise _refused(name, "it is the name of a system group")
    if user is not None and ctx.system.accounts.is_system_account(user):
        raise _refused(name, "it is the name of a system account")
    return name, user


def password_works(ctx: Context) -> bool:
    """Whether the administrator's account has the password that Azure gave, and Azure does not forbid passwords.

    In a dry run: whether it would have it. Whether sshd accepts passwords is not checked; the handler `sshd` sets that.

    Raises:
        HandlerError: the name is invalid, or belongs to a system account or group.
        FileError: the stored password cannot be read.
    """
    password = ctx.metadata.password
    if not password or ctx.metadata.disable_password_authentication is True:
        return False
    name, user = administrator(ctx)
    return user is not None and ctx.system.accounts.passwords.fits(name, password)


def _refused(name: str, why: str) -> HandlerError:
    shown = name[:64].encode("unicode_escape").decode()
    return HandlerError(
        f"the user name '{shown}' is refused: {why}", reason="failed to provision user", data={"user": shown}
    )
