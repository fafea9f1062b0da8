"""Whose account the handlers work on: the administrator that Azure names, and never an account of the system."""

from __future__ import annotations

import re
from typing import Optional

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.system.accounts.users import User

# What useradd, sudoers and authorized_keys all take without quoting; 32 is the length that utmp has room for.
NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"


def administrator(ctx: Context) -> tuple[str, Optional[User]]:
    """The administrator's name, checked, and his account if there is one already.

    Raises:
        HandlerError: a name that no person's account may have.
    """
    name = ctx.metadata.username or ""
    if not re.fullmatch(NAME, name) or name.endswith("."):
        raise _refused(name, "letters, digits, `_`, `.`, `-`, at most 32, and a letter or `_` first")
    if name == "ALL":
        raise _refused(name, "sudo takes it for everybody")
    user = ctx.system.accounts.user(name)
    if user is None and ctx.system.accounts.is_system_group(name):
        raise _refused(name, "it belongs to a group of the system")
    if user is not None and ctx.system.accounts.is_system_account(user):
        raise _refused(name, "it belongs to an account of the system")
    return name, user


def password_works(ctx: Context) -> bool:
    """The administrator can enter by SSH with the password that Azure gave, as far as his account is concerned.

    True when Azure gave one, does not forbid passwords, and it is the one that his account has (in a dry run: would
    have). Whether sshd takes passwords is the handler `sshd`'s to say.

    Raises:
        HandlerError: a name that no person's account may have.
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
