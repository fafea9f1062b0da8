"""`certificates`: the certificates that Azure has for the VM (from a key vault, or uploaded), as files.

They are asked for in a dry run, too, for asking changes nothing. `openssl` must be installed.
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

SUMMARY = "write the VM's certificates and their private keys to files"
NEEDS: tuple[str, ...] = ()
FREQUENCY: Frequency = "instance"
REQUIRED = False

_ENDINGS = {"azurelite": ("crt", "key"), "waagent": ("crt", "prv")}
_KEY_MODES = {"0600": 0o600, "0640": 0o640, "0400": 0o400, "0440": 0o440}


class Options(Record):
    """Options of `certificates`.

    Attributes:
        directory: the folder, made with mode 0755 where it is missing.
        owner: whose the files are: USER, USER:GROUP or :GROUP, as "root:ssl-cert".
        key_mode: mode of the private keys.
        names: "azurelite": THUMBPRINT.crt and THUMBPRINT.key; "waagent": THUMBPRINT.crt and THUMBPRINT.prv.
        thumbprints: only these (40 hex digits each); all when left out.
    """

    directory: str = "/etc/ssl/azurelite"
    owner: str = "root:root"
    key_mode: Literal["0600", "0640", "0400", "0440"] = "0600"
    names: Literal["azurelite", "waagent"] = "azurelite"
    thumbprints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = self.directory.split("/")
        if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]) or "\0" in self.directory:
            raise ValueError("directory must be an absolute path without `..`")
        if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?", self.owner):
            raise ValueError("owner must be USER, USER:GROUP or :GROUP")
        if not all(re.fullmatch(r"[0-9A-Fa-f]{40}", thumbprint) for thumbprint in self.thumbprints):
            raise ValueError("thumbprints must be 40 hex digits each")


def apply(ctx: Context, options: Options) -> None:
    """Fetch the certificates and write them.

    Raises:
        FabricError: they cannot be fetched or opened.
        HandlerError: one that `thumbprints` names is not among them; the others are written.
        MachineError: no such owner, or the files cannot be written.
    """
    owner = find_owner(ctx.system, options.owner)
    found = {one.thumbprint: one for one in ctx.fabric.fetch_certificates(ctx.system.commands)}
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
            f"Azure has no certificate {', '.join(missing)} for this VM ({len(found)} others): name those it has",
            reason="failed to install certificates",
        )


def _files(one: Certificate, options: Options) -> list[tuple[str, bytes, int]]:
    certificate, key = (f"{one.thumbprint}.{ending}" for ending in _ENDINGS[options.names])
    files = [(certificate, one.certificate_pem.encode(), 0o644)]
    if one.private_key_pem is not None:
        files.append((key, one.private_key_pem.reveal_bytes(), _KEY_MODES[options.key_mode]))
    return files
