"""Whether the administrator can log in with what Azure gave: the keys, or the password."""

from __future__ import annotations

from typing import Optional, Sequence

from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import administrator, password_works
from azurelite.handlers.support.checks import find_shell, login_keys
from azurelite.keys.openssh import PublicKey
from azurelite.metadata import SshKey
from azurelite.system.accounts.users import User
from azurelite.system.ssh.login import Verdict, can_log_in


def named_keys(ctx: Context, further: Sequence[str]) -> tuple[list[PublicKey], list[str]]:
    """The administrator's usable keys, from Azure and from the option `keys`, and why others are skipped."""
    given = ctx.metadata.public_ssh_keys or ()
    named = [(f"SSH key {number} of {len(given)}", key) for number, key in enumerate(given, 1)]
    for index, text in enumerate(further):
        named += [(f"`keys[{index}]`", key) for key in SshKey.read_all(text, with_options=True)]
    return login_keys(named)


def administrators_login(ctx: Context, further: Sequence[str], *, planned: Sequence[str] = ()) -> Optional[Verdict]:
    """Whether the administrator can log in by SSH. None if Azure gave no administrator, key or password.

    Args:
        ctx: the run. Its metadata and its system are used.
        further: keys from the configuration.
        planned: the names of handlers that are yet to run: what they will install counts as installed.

    Raises:
        FileError: the stored password cannot be read.
    """
    if not ctx.metadata.username:
        return None
    keys, _ = named_keys(ctx, further)
    with_password = ctx.metadata.has_usable_password
    if not keys and not with_password:
        return None
    try:
        name, user = administrator(ctx)
    except HandlerError as error:
        return Verdict("refused", error.message)
    if user is None and "user" not in planned:
        return Verdict("refused", f"the account {name} does not exist: list `user`")
    return can_log_in(
        ctx.system,
        user or User(name, -1, -1, f"/home/{name}", find_shell(ctx)),
        keys=keys,
        password=(lambda: "user" in planned or password_works(ctx)) if with_password else None,
        installed="ssh_keys" not in planned,
        starting=True,
    )
