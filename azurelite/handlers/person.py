"""Whose account the handlers work on: the administrator that Azure names, and never an account of the system."""

from __future__ import annotations

import re
from typing import Optional

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.system.users import User

# What useradd, sudoers and authorized_keys all take without quoting; 32 is the length that utmp has room for.
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}"


def administrator(ctx: Context) -> tuple[str, Optional[User]]:
    """The administrator's name, checked, and his account if there is one already.

    Raises:
        HandlerError: a name that no person's account may have.
    """
    name = ctx.metadata.username or ""
    if not re.fullmatch(_NAME, name) or name.endswith("."):
        raise _refused(name, "letters, digits, `_`, `.`, `-`, at most 32, and a letter or `_` first")
    if name == "ALL":
        raise _refused(name, "sudo takes it for everybody")
    user = ctx.system.accounts.user(name)
    if user is None and ctx.system.accounts.is_system_group(name):
        raise _refused(name, "it belongs to a group of the system")
    if user is not None and ctx.system.accounts.is_system_account(user):
        raise _refused(name, "it belongs to an account of the system")
    return name, user


def _refused(name: str, why: str) -> HandlerError:
    shown = name[:64].encode("unicode_escape").decode()
    return HandlerError(
        f"the user name '{shown}' is refused: {why}", reason="failed to provision user", data={"user": shown}
    )
