"""`ssh_keys`: the administrator's public keys, in the file that sshd reads for him.

Keys are added, never taken away; a key that lets somebody in already is not added again. One that stands there with
options as `command=` or `from=` is put ahead of that line without them, and that is noted. One bad key is skipped and
named, the others land. X.509 certificates and keys in PEM are converted; OpenSSH's certificates open nothing here.
"""

from __future__ import annotations

import logging
import re
from typing import Optional

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import administrator, password_works
from azurelite.handlers.support.checks import login_keys
from azurelite.keys.openssh import PublicKey
from azurelite.metadata import SshKey
from azurelite.record import Record
from azurelite.system.ssh.authorized import add_keys, keys_barred

SUMMARY = "let the administrator's SSH keys in"
NEEDS = ("username",)
USES = ("public_ssh_keys", "password", "disable_password_authentication")
FREQUENCY: Frequency = "instance"
REQUIRED = True

LOG = logging.getLogger(__name__)
_REASON = "failed to provision ssh keys"


class Options(Record):
    """Options of `ssh_keys`.

    Attributes:
        keys: further public keys for the administrator, beside those that Azure gives.
        path: the file, from the root or from his home, with sshd's tokens %u (name), %h (home), %U (number) and %%;
            "auto": where sshd looks, by `AuthorizedKeysFile` in its configuration, else .ssh/authorized_keys.
    """

    keys: tuple[str, ...] = ()
    path: str = "auto"

    def __post_init__(self) -> None:
        if not self.path.strip() or not self.path.isprintable() or self.path.endswith("/"):
            raise ValueError("path must be the path of a file")
        if ".." in self.path.split("/"):
            raise ValueError("path must not have `..`")
        if re.search("%(?![%hUu])", self.path):
            raise ValueError("path has a `%` that is none of %u, %h, %U and %%")


def apply(ctx: Context, options: Options) -> None:
    """Add the keys that are missing.

    Raises:
        HandlerError: there is neither a key that sshd would take nor a password to enter by, no key could be used,
            there is no account to give them to, or it is one of the system's.
        MachineError: sshd reads no file of keys for the administrator, or one for everybody.
        FileError: the file could not be written; a link below the home is not followed.
    """
    if not ctx.metadata.public_ssh_keys and not options.keys:
        _expect_another_way_in(ctx, "Azure gave no SSH key")
        return
    name, user = administrator(ctx)
    if user is None:
        raise HandlerError(f"there is no account {name} to give keys to", reason=_REASON)
    barred = keys_barred(ctx.system, user)
    if barred is not None:
        _expect_another_way_in(ctx, barred)
    path: Optional[str] = None if options.path == "auto" else options.path
    add_keys(ctx.system, user, _usable_keys(ctx, options), note=ctx.note, path=path)


def _expect_another_way_in(ctx: Context, lacking: str) -> None:
    """Without a key, the password that Azure gave is the way in, where the account has it."""
    if password_works(ctx):
        LOG.info("%s: the password is the way in", lacking)
        return
    why = "Azure gave no password"
    if ctx.metadata.disable_password_authentication is True:
        why = "Azure forbids passwords"
    elif ctx.metadata.password:
        why = "the account does not have the password that it gave (`user` sets it, ahead of ssh_keys)"
    raise HandlerError(
        f"{lacking}, and {why}: nobody could enter (`required: false` if somebody can all the same)",
        reason=_REASON,
    )


def _usable_keys(ctx: Context, options: Options) -> list[PublicKey]:
    given = ctx.metadata.public_ssh_keys or ()
    named = [(f"SSH key {number} of {len(given)}", key) for number, key in enumerate(given, 1)]
    named += [(f"`keys[{index}]`", SshKey.read(text)) for index, text in enumerate(options.keys)]
    usable, wrong = login_keys(named)
    if not usable:
        raise HandlerError("; ".join(wrong), reason=_REASON, data={"error": "no usable key"})
    for said in wrong:
        ctx.note(said)
    return usable
