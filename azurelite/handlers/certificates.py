"""`certificates`: write the VM's certificates (from a key vault, or uploaded) to files.

A dry run fetches them as well, because fetching changes nothing. `openssl` must be installed.
"""

from __future__ import annotations

import re
from typing import Literal

from azurelite.config.load import Frequency
from azurelite.errors import HandlerError
from azurelite.fabric.certificates import Certificate
from azurelite.handlers import Context
from azurelite.record import Record
from azurelite.system.owners import find_owner, shared_folder
from azurelite.system.root import is_plain_path

SUMMARY = "write the VM's certificates and their private keys to files"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_ENDINGS = {"azurelite": ("crt", "key"), "waagent": ("crt", "prv")}
_KEY_MODES = {"0600": 0o600, "0640": 0o640, "0400": 0o400, "0440": 0o440}


class Options(Record):
    """Options of `certificates`.

    Attributes:
        directory: the folder; it is created with mode 0755 if missing.
        owner: the owner of the files: USER, USER:GROUP or :GROUP, for example "root:ssl-cert".
        key_mode: mode of the private keys.
        names: "azurelite": THUMBPRINT.crt and THUMBPRINT.key; "waagent": THUMBPRINT.crt and THUMBPRINT.prv.
        thumbprints: write only these certificates (40 hex digits each); all when left out.
    """

    directory: str = "/etc/ssl/azurelite"
    owner: str = "root:root"
    key_mode: Literal["0600", "0640", "0400", "0440"] = "0600"
    names: Literal["azurelite", "waagent"] = "azurelite"
    thumbprints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_plain_path(self.directory):
            raise ValueError("directory must be an absolute path without `..`")
        if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?", self.owner):
            raise ValueError("owner must be USER, USER:GROUP or :GROUP")
        if not all(re.fullmatch(r"[0-9A-Fa-f]{40}", thumbprint) for thumbprint in self.thumbprints):
            raise ValueError("each of thumbprints must be 40 hex digits")


def apply(ctx: Context, options: Options) -> None:
    """Fetch the certificates and write them.

    Raises:
        FabricError: they cannot be fetched or decrypted.
        HandlerError: Azure has no certificate for an entry of `thumbprints`; the others are written.
        MachineError: the owner does not exist, or a file cannot be written.
    """
    owner = find_owner(ctx.system, options.owner)
    reading = ctx.fabric.reading
    share = reading.within(reading.remaining() / 2)  # the steps after this one need time, too
    found = {one.thumbprint: one for one in ctx.fabric.fetch_certificates(ctx.system.commands, share)}
    wanted = [thumbprint.upper() for thumbprint in options.thumbprints] or list(found)
    chosen = [found[thumbprint] for thumbprint in dict.fromkeys(wanted) if thumbprint in found]
    if not found and not wanted:
        ctx.note("Azure has no certificates for this VM")
    if chosen:
        ctx.system.files.mkdirs(options.directory)
        beneath = shared_folder(ctx.system, f"{options.directory}/any")
        for one in chosen:
            for name, data, mode in _files(one, options):
                path = f"{options.directory}/{name}"
                ctx.system.files.write(path, data, mode=mode, owner=owner, beneath=beneath)
    missing = [thumbprint for thumbprint in wanted if thumbprint not in found]
    if missing:
        raise HandlerError(
            f"this VM has no certificate {', '.join(missing)} ({len(found)} others): correct `thumbprints`",
            reason="failed to install certificates",
        )


def _files(one: Certificate, options: Options) -> list[tuple[str, bytes, int]]:
    certificate, key = (f"{one.thumbprint}.{ending}" for ending in _ENDINGS[options.names])
    files = [(certificate, one.certificate_pem.encode(), 0o644)]
    if one.private_key_pem is not None:
        files.append((key, one.private_key_pem.reveal_bytes(), _KEY_MODES[options.key_mode]))
    return files
