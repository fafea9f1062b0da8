"""`ssh_host_keys`: create SSH host keys for this VM, in place of those of the image.

VMs created from one image would all have the same identity, and anybody with the image would know their private keys.
So new keys are created once per VM, by `ssh-keygen` or `dropbearkey`. The old keys are replaced only when all new
ones exist. Certificates for host keys are not changed.

A VM on a specialised disk continues an earlier VM, so it keeps its keys, and only missing ones are created. azurelite
knows such a disk by two facts: IMDS has no `osProfile`, and there is no provisioning disc. If a drive or IMDS cannot be
read, new keys are created.
"""

from __future__ import annotations

import logging
from typing import Literal, Union

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.services.services import Services
from azurelite.system.ssh import hostkeys
from azurelite.system.ssh.sshd_config import read_config

SUMMARY = "create the VM's own SSH host keys, and print their fingerprints"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

LOG = logging.getLogger(__name__)
_MADE = "ssh_host_keys"  # key in the memory
_REASON = "failed to provision ssh host keys"
# The same lines as cloud-init's, because programs look for them on the serial console.
_BEGIN = "-----BEGIN SSH HOST KEY FINGERPRINTS-----"
_END = "-----END SSH HOST KEY FINGERPRINTS-----"


class Options(Record):
    """Options of `ssh_host_keys`.

    Attributes:
        types: a list of rsa, ecdsa and ed25519; "auto": the types that `HostKey` in sshd's configuration names, or
            all three without such a line.
        keep: keep existing keys and create only missing ones; safe only for images without host keys.
    """

    types: Union[Literal["auto"], tuple[Literal["rsa", "ecdsa", "ed25519"], ...]] = "auto"
    keep: bool = False

    def __post_init__(self) -> None:
        if not self.types:
            raise ValueError("types must be auto or have at least one type")


def apply(ctx: Context, options: Options) -> None:
    """Create the keys, unless they were created for this VM in an earlier run.

    Raises:
        HandlerError: sshd would have none of the keys that its configuration names.
        CommandError: `ssh-keygen` or `dropbearkey` is not installed or failed; the old keys still exist.
        FileError: the keys could not be written.
    """
    from azurelite.datasource.imds import is_specialised

    kind = hostkeys.server(ctx.system)
    if kind is None:
        ctx.note("no SSH server is installed: no host keys are created")
        return
    types = _types(ctx, kind, options)
    files = ctx.system.files
    keep = options.keep or ctx.memory.recall(_MADE) is not None
    if not keep and is_specialised(ctx.metadata):
        LOG.info("ssh_host_keys: the VM's disk is a specialised one: existing keys are kept")
        keep = True
    paths = {key_type: hostkeys.path_of(kind, key_type) for key_type in types}
    wanted = [key_type for key_type in types if not (keep and files.exists(paths[key_type]))]
    if wanted:
        keys = hostkeys.make(ctx.system, kind, wanted)
        stale = [] if keep else hostkeys.existing(ctx.system, kind)
        files.mkdirs(paths[wanted[0]].rpartition("/")[0])
        for key_type in wanted:
            hostkeys.put(ctx.system, paths[key_type], keys[key_type])
        _clean(ctx, stale, kept=set(paths.values()))
    ctx.memory.remember(_MADE, "made\n")
    if not ctx.system.dry_run:
        _show([keys[t].public for t in wanted] if kind == "dropbear" and wanted else _publics(ctx, kind))
    if wanted and kind == "openssh":
        Services(ctx.system).reload("sshd", "ssh")
    elif wanted:
        Services(ctx.system).restart("dropbear")  # it reads its keys only when it starts


def _types(ctx: Context, kind: str, options: Options) -> tuple[str, ...]:
    """The types to create. For OpenSSH, at least one of them is a type that sshd's configuration uses."""
    config = read_config(ctx.system.files) if kind == "openssh" else None
    named = [setting.values[0] for setting in config.settings if setting.keyword == "hostkey"] if config else []
    named_types = tuple(t for t in hostkeys.TYPES if hostkeys.path_of(kind, t) in named)
    if options.types == "auto":
        types: tuple[str, ...] = named_types if named else hostkeys.TYPES
    else:
        types = tuple(dict.fromkeys(options.types))
    others = [path for path in named if path not in {hostkeys.path_of(kind, t) for t in hostkeys.TYPES}]
    for path in others:
        ctx.note(f"sshd also uses the host key {path}, which is not replaced: remove or replace it yourself")
    if named and not others and not set(types) & set(named_types):
        raise HandlerError(
            f"sshd would have no host key: its configuration uses only {', '.join(named_types)}: "
            "add one of these to `types`",
            reason=_REASON,
        )
    return types


def _clean(ctx: Context, stale: list[str], *, kept: set[str]) -> None:
    """Remove the image's keys of other types, and public keys without a private key."""
    for path in stale:
        if path.removesuffix(".pub") not in kept:
            ctx.system.files.delete(path)
    for path in sorted(kept):
        if ctx.system.files.exists(f"{path}-cert.pub"):
            ctx.note(f"{path}-cert.pub is a certificate for the old host key: have the new one signed")


def _publics(ctx: Context, kind: str) -> list[str]:
    paths = hostkeys.existing(ctx.system, kind)
    return [ctx.system.files.text(path) or "" for path in paths if path.endswith(".pub")]


def _show(publics: list[str]) -> None:
    lines = [line for line in map(hostkeys.fingerprint, publics) if line is not None]
    if lines:
        for line in (_BEGIN, *lines, _END):
            LOG.info("%s", line)
