"""`ssh_keys`: install the administrator's SSH public keys, in the file that sshd reads for that account.

Keys are added, never removed. A key that already permits login is not added again. If the file has a key only with
options such as `command=` or `from=`, it is added without options before that line, and a note says so. An invalid
key is skipped with a note; the others are installed. X.509 certificates and PEM keys are converted. OpenSSH
certificates are skipped, because they do not permit login from this file. If no key can be used but the password works,
that is a note.

Before Ready is reported, azurelite checks whether sshd lets the administrator in. If it certainly does not, `ssh_keys`
fails with the reason; with `required: false` the reason is a note.
"""

from __future__ import annotations

import logging
import re
from typing import Optional

from azurelite.config.load import Frequency
from azurelite.errors import FileError, HandlerError, MachineError
from azurelite.handlers import Context
from azurelite.handlers.support.administrator import administrator, password_works
from azurelite.handlers.support.login import named_keys
from azurelite.record import Record
from azurelite.system.ssh.authorized import add_keys, has_other_source
from azurelite.system.ssh.login import can_log_in

SUMMARY = "install the administrator's SSH keys"
NEEDS = ("username",)
USES = ("public_ssh_keys", "password", "disable_password_authentication")
FREQUENCY: Frequency = "instance"
REQUIRED = True

LOG = logging.getLogger(__name__)
_REASON = "failed to provision ssh keys"


class Options(Record):
    """Options of `ssh_keys`.

    Attributes:
        keys: further public keys for the administrator, in addition to those from Azure; they may have options before
            them, as in authorized_keys (`from=`, `command=`, `restrict`, …).
        path: the file, absolute or relative to the home folder, with sshd's tokens %u (user name), %h (home), %U
            (user id) and %%; "auto": the `AuthorizedKeysFile` of sshd's configuration, else .ssh/authorized_keys.
    """

    keys: tuple[str, ...] = ()
    path: str = "auto"

    def __post_init__(self) -> None:
        if not self.path.strip() or not self.path.isprintable() or self.path.endswith("/"):
            raise ValueError("path must be the path of a file")
        if ".." in self.path.split("/"):
            raise ValueError("path must not contain `..`")
        if re.search("%(?![%hUu])", self.path):
            raise ValueError("path has an unknown token after `%`: use %u, %h, %U or %%")


def apply(ctx: Context, options: Options) -> None:
    """Add the missing keys.

    Raises:
        HandlerError: there is neither a key that sshd would accept nor a password to log in with, or the account does
            not exist or is a system account.
        MachineError: sshd reads no key file for the administrator, or one file for all users; and no password works.
        FileError: the file could not be written (symbolic links in the home folder are not followed), and no password
            works.
    """
    if not ctx.metadata.public_ssh_keys and not options.keys:
        _require_password(ctx, "Azure gave no SSH key")
        return
    name, user = administrator(ctx)
    if user is None:
        failed = any(step.name == "user" and step.status == "failed" for step in ctx.outcome.steps)
        why = ", because `user` failed" if failed else ": list `user` before `ssh_keys`"
        raise HandlerError(f"the account {name} does not exist{why}", reason=_REASON)
    path: Optional[str] = None if options.path == "auto" else options.path
    keys, wrong = named_keys(ctx, options.keys)
    if not keys:
        _require_password(ctx, "; ".join(wrong), data={"error": "no usable key"})
    for said in wrong:
        ctx.note(said)
    try:
        add_keys(ctx.system, user, keys, note=ctx.note, path=path)
    except FileError as error:
        if not password_works(ctx) and can_log_in(ctx.system, user, keys=keys).state != "fine":
            raise
        ctx.note(f"no key was installed, but the administrator can log in otherwise: {error.message}")
    except MachineError as error:
        known = has_other_source(ctx.system, user) or can_log_in(ctx.system, user, keys=keys).state == "fine"
        if not password_works(ctx) and not known:
            raise
        ctx.note(f"no key was installed, but the administrator may be able to log in otherwise: {error.message}")


def _require_password(ctx: Context, lacking: str, *, data: Optional[dict[str, str]] = None) -> None:
    """Check that the administrator can log in with Azure's password instead of a key. Raises HandlerError."""
    if password_works(ctx):
        name = ctx.metadata.username
        LOG.info("ssh_keys: no key is installed, but %s has Azure's password (%s)", name, lacking)
        return
    why, reason = "Azure gave no password", _REASON
    if ctx.metadata.disable_password_authentication is True:
        why = "Azure forbids passwords"
    elif ctx.metadata.password:
        why, reason = _why_not_azures(ctx), "failed to provision password"
    raise HandlerError(
        f"{lacking}, and {why}, so nobody could log in: deploy the VM with a whole public key, "
        "or set `required: false` if there is another way",
        reason=reason,
        data=data,
    )


def _why_not_azures(ctx: Context) -> str:
    """Why Azure's password does not work for the account, with the remedy."""
    name, user = administrator(ctx)
    if user is None:
        return "the account does not exist (list `user` before `ssh_keys`)"
    if ctx.system.accounts.passwords.state(name) in ("set", "locked"):
        return f"{name} has another password than Azure's (set `password: always` in `user`)"
    return f"{name} does not have Azure's password (list `user` before `ssh_keys`)"
