"""`passwords`: set passwords of existing accounts. If one is refused, the others are still set.

azurelite generates no passwords: it would have to print them, and others can read what it prints.
"""

from __future__ import annotations

from typing import Literal, Optional

from azurelite.config.load import Frequency
from azurelite.errors import AzureliteError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.entries import shown
from azurelite.metadata import Secret
from azurelite.record import Record
from azurelite.system.accounts.libcrypt import is_hash, unfit

SUMMARY = "set passwords of accounts"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False


class Entry(Record):
    """The password of one account.

    Attributes:
        name: an existing account; `root` is allowed.
        password: the hash or the password itself.
        type: "hash": `password` is a hash as in crypt(5); "text": it is the password itself; "RANDOM": refused.
    """

    name: str = ""
    password: Optional[Secret] = None
    type: Literal["hash", "text", "RANDOM"] = "hash"


class Options(Record):
    """Options of `passwords`.

    Attributes:
        users: accounts, each with `name`, `password` and `type`: "hash" (as in crypt(5), the default) or "text" (the
            password itself). "RANDOM" is refused, because such a password would have to be printed.
        expire: force users to change these passwords at the first login.
    """

    users: tuple[Entry, ...] = ()
    expire: bool = False


def apply(ctx: Context, options: Options) -> None:
    """Set the passwords that are not set yet.

    Raises:
        HandlerError: some were refused or failed; it lists their positions and names. The others are set.
    """
    refused = []
    for number, entry in enumerate(options.users):
        wrong = _wrong(ctx, entry)
        if wrong is None:
            try:
                _set(ctx, entry, expire=options.expire)
            except AzureliteError as error:
                wrong = error.message
        if wrong is not None:
            refused.append(f"users[{number}] {shown(entry.name)}: {wrong}")
    if refused:
        raise HandlerError("; ".join(refused), reason="failed to provision password")


def _wrong(ctx: Context, entry: Entry) -> Optional[str]:
    if entry.type == "RANDOM":
        return "type RANDOM is refused, azurelite prints no passwords: give a hash, or use SSH keys"
    if not entry.name or ctx.system.accounts.user(entry.name) is None:
        return "the account does not exist: create it with the handler `users` first"
    if entry.password is None:
        return "password is missing"
    if entry.type == "text":
        wrong = unfit(entry.password)
        return None if wrong is None else f"password: {wrong}"
    try:
        fit = is_hash(entry.password.reveal_bytes().decode())
    except UnicodeError:
        fit = False
    return None if fit else "`password` is not a hash as in crypt(5): set `type: text` if it is the password itself"


def _set(ctx: Context, entry: Entry, *, expire: bool) -> None:
    passwords = ctx.system.accounts.passwords
    if entry.password is None:
        return
    if entry.type == "text":
        passwords.set_text(entry.name, entry.password)
    else:
        passwords.set_hash(entry.name, entry.password)
    if expire:
        passwords.expire(entry.name)
