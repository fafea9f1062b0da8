"""Password hashes, computed and compared by the host's libcrypt or openssl, never by azurelite's own code.

Python 3.13 removed its `crypt` module. New hashes are SHA-512 crypt (`$6$`), which every libc of the last fifteen
years supports: the guest that gets them may be older than the host.
"""

from __future__ import annotations

import os
import re
from typing import Optional, Sequence

from azurelite.errors import CommandError
from azurelite.metadata import Secret
from azurelite.system.process import Commands

# Of glibc and libxcrypt; of distributions without glibc's; of FreeBSD; None: musl has it in libc.
LIBRARIES: tuple[Optional[str], ...] = ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so.5", None)
MOST = 255  # bytes of a password: the limit of musl's crypt
_LETTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HASH = r"\$[A-Za-z0-9-]{1,12}(\$[A-Za-z0-9./=,+-]+)+"
_BY_OPENSSL = {"1": "-1", "5": "-5", "6": "-6"}


def unfit(password: Secret) -> Optional[str]:
    """Why this password cannot be used, or None. The text does not contain the password."""
    try:
        data = password.reveal_bytes()
    except UnicodeEncodeError:
        return "it contains a character that cannot be encoded as UTF-8"
    if not data:
        return "it is empty"
    if any(byte in data for byte in (b"\n", b"\r", b"\0")):
        return "it contains a line break or a NUL character"
    return f"it is longer than {MOST} bytes" if len(data) > MOST else None


def is_hash(text: str) -> bool:
    """Whether it has the form of a hash in crypt(5): `$`, a method, `$`, and so on."""
    return len(text) <= 400 and re.fullmatch(_HASH, text) is not None


def make_hash(commands: Commands, password: Secret, *, libraries: Sequence[Optional[str]] = LIBRARIES) -> str:
    """A new SHA-512 hash of a password.

    Raises:
        CommandError: neither libcrypt nor openssl can do it.
    """
    salt = "".join(_LETTERS[byte & 63] for byte in os.urandom(16))
    made = _crypt(commands, password, f"$6${salt}", libraries)
    if made is None:
        raise CommandError("cannot hash a password because libcrypt and openssl are missing: install one of them")
    return made


def fits(commands: Commands, password: Secret, stored: str, *, libraries: Sequence[Optional[str]] = LIBRARIES) -> bool:
    """Whether the password matches the stored hash. Also False if the hash's method is not supported here."""
    if unfit(password) is not None or not stored or stored[0] in "!*":
        return False
    made = _crypt(commands, password, stored, libraries)
    return made is not None and made == stored


def _crypt(commands: Commands, password: Secret, setting: str, libraries: Sequence[Optional[str]]) -> Optional[str]:
    made = _by_library(password.reveal_bytes(), setting, libraries)
    return made if made is not None else _by_openssl(commands, password, setting)


def _by_library(password: bytes, setting: str, libraries: Sequence[Optional[str]]) -> Optional[str]:
    import ctypes

    for name in libraries:
        try:
            crypt = ctypes.CDLL(name).crypt
        except (OSError, AttributeError):
            continue
        crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        crypt.restype = ctypes.c_char_p
        made: Optional[bytes] = crypt(password, setting.encode(errors="replace"))
        if made is not None and not made.startswith(b"*"):  # crypt returns `*0` or `*1` on failure
            return made.decode("ascii", "replace")
    return None


def _by_openssl(commands: Commands, password: Secret, setting: str) -> Optional[str]:
    method, _, rest = setting[1:].partition("$")
    if setting[:1] != "$" or method not in _BY_OPENSSL or commands.find("openssl") is None:
        return None
    fields = rest.split("$")
    salt = "$".join(fields[:2]) if fields[0].startswith("rounds=") else fields[0]
    if not re.fullmatch(r"(rounds=[0-9]{1,9}\$)?[A-Za-z0-9./]{1,16}", salt):
        return None
    line = Secret(password.reveal_bytes() + b"\n")
    argv = ["openssl", "passwd", _BY_OPENSSL[method], "-salt", salt, "-stdin"]
    try:
        return commands.run(argv, timeout=30.0, secret_input=line).strip() or None
    except CommandError:
        return None
