"""`ssh_keys`: the administrator's public keys in ~/.ssh/authorized_keys.

Keys are added, never taken away; a key that is there already is not added again. One bad key is skipped and
named, the others land.
"""

from __future__ import annotations

from dataclasses import dataclass

from azurelite.config import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.person import administrator
from azurelite.sshkey import PublicKey, known_blobs, parse_key

SUMMARY = "let the administrator's SSH keys in"
NEEDS = ("username",)
USES = ("public_ssh_keys", "disable_password_authentication")
FREQUENCY: Frequency = "instance"
REQUIRED = True


@dataclass(frozen=True)
class Options:
    """There is nothing to choose yet."""


def apply(ctx: Context, options: Options) -> None:
    """Add the keys that are missing.

    Raises:
        HandlerError: there is no key to enter by, no key could be used, there is no account to
            give them to, or it is one of the system's.
        FileError: the file could not be written; a link below the home is not followed.
    """
    del options
    if not ctx.metadata.public_ssh_keys:
        raise _other_way_in(ctx)
    name, user = administrator(ctx)
    if user is None:
        raise HandlerError(f"there is no account {name} to give keys to", reason="failed to provision ssh keys")
    keys = _usable_keys(ctx)
    folder = f"{user.home}/.ssh"
    path = f"{folder}/authorized_keys"
    ctx.system.files.mkdir(folder, mode=0o700, owner=user.owner, beneath=user.home)
    before = (ctx.system.files.read(path, beneath=user.home) or b"").decode(errors="surrogateescape")
    present = known_blobs(before)
    after = before if not before or before.endswith("\n") else before + "\n"
    for key in keys:
        if (key.kind, key.blob) not in present:
            present.add((key.kind, key.blob))
            after += key.line + "\n"
    data = after.encode(errors="surrogateescape")
    ctx.system.files.write(path, data, mode=0o600, owner=user.owner, beneath=user.home)


def _other_way_in(ctx: Context) -> HandlerError:
    """Without a key there is no way in at all: passwords are forbidden, or nothing of azurelite sets one yet."""
    forbidden = ctx.metadata.disable_password_authentication
    why = "forbids passwords" if forbidden else "would have a password, which azurelite does not set yet"
    return HandlerError(
        f"Azure gave no SSH key and {why}: nobody could enter (`required: false` if somebody can all the same)",
        reason="failed to provision ssh keys",
    )


def _usable_keys(ctx: Context) -> list[PublicKey]:
    given = ctx.metadata.public_ssh_keys or ()
    usable = []
    wrong = []
    for number, key in enumerate(given, 1):
        try:
            usable.append(parse_key(key.key_data))
        except ValueError as error:
            wrong.append(f"SSH key {number} of {len(given)} is skipped: {error}")
    if given and not usable:
        raise HandlerError("; ".join(wrong), reason="failed to provision ssh keys", data={"error": "no usable key"})
    for text in wrong:
        ctx.note(text)
    return usable
