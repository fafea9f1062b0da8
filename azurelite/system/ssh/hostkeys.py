"""SSH host keys: generating and installing them, and their fingerprints.

The generators write to a temporary folder that only root can read; `files` then writes the keys to the guest. So
no program touches a foreign root, and the old keys stay until all new ones exist.
"""

from __future__ import annotations

import os
import re
from typing import Optional, Sequence

from azurelite.record import Record
from azurelite.system.explain import explained
from azurelite.system.machine import System
from azurelite.system.scratch import scratch_folder

TYPES = ("rsa", "ecdsa", "ed25519")
_OPENSSH = "/etc/ssh"
_DROPBEAR = "/etc/dropbear"
_NAMES = {
    "openssh": r"ssh_host_([a-z0-9]+_)?key(\.pub)?",
    "dropbear": r"dropbear_[a-z0-9]+_host_key",
}
_FOLDERS = {"openssh": _OPENSSH, "dropbear": _DROPBEAR}
_PROGRAMS = {"openssh": "ssh-keygen", "dropbear": "dropbearkey"}
_TIMEOUT = 120.0  # seconds; RSA takes long on a small VM with little entropy


class HostKey(Record):
    """A key as files.

    Attributes:
        private: content of the private key file.
        public: the line of the public key, "" if unknown.
    """

    private: bytes
    public: str


def server(system: System) -> Optional[str]:
    """The SSH server of the guest: "openssh", "dropbear", or None."""
    files = system.files
    config = any(files.exists(f"{folder}/sshd_config") for folder in (_OPENSSH, "/usr/etc/ssh"))
    if config or system.installed("sshd", "/usr/lib/ssh/sshd"):
        return "openssh"
    if files.is_dir(_DROPBEAR) or system.installed("dropbear"):
        return "dropbear"
    return None


def path_of(kind: str, key_type: str) -> str:
    """The guest path of a private key of a server (see `server`)."""
    return f"{_OPENSSH}/ssh_host_{key_type}_key" if kind == "openssh" else f"{_DROPBEAR}/dropbear_{key_type}_host_key"


def existing(system: System, kind: str) -> list[str]:
    """The guest paths of all private and public host keys, without certificates. Raises FileError."""
    folder = _FOLDERS[kind]
    return [f"{folder}/{name}" for name in system.files.names(folder) if re.fullmatch(_NAMES[kind], name)]


def make(system: System, kind: str, types: Sequence[str]) -> dict[str, HostKey]:
    """Generate keys, by type. A dry run generates none and returns empty ones.

    Raises:
        CommandError: the program is not installed, or failed.
        FileError: no space for temporary files.
    """
    program = _PROGRAMS[kind]
    system.commands.need(program)
    if system.dry_run:
        return {key_type: HostKey(b"", "") for key_type in types}
    with scratch_folder() as folder:
        return {key_type: _make(system, kind, key_type, folder) for key_type in types}


def _make(system: System, kind: str, key_type: str, folder: str) -> HostKey:
    path = os.path.join(folder, key_type)
    if kind == "openssh":
        words = ["ssh-keygen", "-q", "-t", key_type, "-N", "", "-C", "", "-f", path]
        system.commands.run(words, timeout=_TIMEOUT)
        return HostKey(_read(path), _read(f"{path}.pub").decode().strip())
    said = system.commands.run(["dropbearkey", "-t", key_type, "-f", path], timeout=_TIMEOUT)
    public = next((line for line in said.splitlines() if line.startswith(("ssh-", "ecdsa-"))), "")
    return HostKey(_read(path), " ".join(public.split()[:2]))


def _read(path: str) -> bytes:
    with explained("read", path), open(path, "rb") as file:
        return file.read()


def put(system: System, path: str, key: HostKey) -> None:
    """Write a private key, for OpenSSH also `PATH.pub`, replacing the old ones. Raises FileError."""
    system.files.write(path, key.private, mode=0o600, secret=True)
    if path.startswith(_OPENSSH):
        system.files.write(f"{path}.pub", f"{key.public}\n".encode(), mode=0o644)


def fingerprint(public: str) -> Optional[str]:
    """A public key's line as `ssh-keygen -l` shows it: "256 SHA256:… comment (ED25519)"; None if it is not a key."""
    import base64
    import hashlib

    from azurelite.keys.x509 import ssh_fields

    kind, _, rest = public.strip().partition(" ")
    blob, _, comment = rest.partition(" ")
    try:
        data = base64.b64decode(blob, validate=True)
    except ValueError:
        return None
    fields = ssh_fields(data)
    if not fields or fields[0] != kind.encode():
        return None
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    name = {"ssh-rsa": "RSA", "ssh-ed25519": "ED25519"}.get(kind, "ECDSA" if kind.startswith("ecdsa-") else kind)
    bits = 256
    if kind == "ssh-rsa" and len(fields) > 2:
        bits = int.from_bytes(fields[2], "big").bit_length()
    elif kind.startswith("ecdsa-sha2-nistp"):
        bits = int(kind.rpartition("p")[2])
    return f"{bits} SHA256:{digest} {comment.strip() or 'no comment'} ({name})"
