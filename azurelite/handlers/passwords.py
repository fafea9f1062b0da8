"""`passwords`: passwords for accounts that exist, each for itself: one that is refused does not stop the rest.

Nobody's password is made up here: it would have to be printed to be of use, and what azurelite prints others may read.
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
    """A password of an account.

    Attributes:
        name: an account that exists; `root` may be named too.
        password: the hash or the text.
        type: "hash": as crypt(5) knows them, "text": the password itself, "RANDOM": refused.
    """

    name: str = ""
    password: Optional[Secret] = None
    type: Literal["hash", "text", "RANDOM"] = "hash"


class Options(Record):
    """Options of `passwords`.

    Attributes:
        users: accounts, each with `name`, `password` and `type`: "hash" (as crypt(5) knows them, the usual) or "text".
            "RANDOM" is refused, for such a password would have to be printed.
        expire: these passwords must be changed at the first login.
    """

    users: tuple[Entry, ...] = ()
    expire: bool = False


def apply(ctx: Context, options: Options) -> None:
    """Set the passwords that are not set yet.

    Raises:
        HandlerError: some were refused or failed; it names them by place and name, and the others are set.
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
        return "a random password would have to be printed, and secrets are not: give a hash, or use SSH keys"
    if not entry.name or ctx.system.accounts.user(entry.name) is None:
        return "there is no such account: name it in `users` first"
    if entry.password is None:
        return "password is missing"
    if entry.type == "text":
        wrong = unfit(entry.password)
        return None if wrong is None else f"password: {wrong}"
    try:
        fit = is_hash(entry.password.reveal_bytes().decode())
    except UnicodeError:
        fit = False
    return None if fit else "password is no hash as crypt(5) describes them: set `type: text` if it is the password"


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
