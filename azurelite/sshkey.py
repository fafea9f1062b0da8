"""Public SSH keys as text: reading, repairing, comparing. Pure; it knows nothing of files."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

# Type -> how many strings (RFC 4251, 5) its key is made of, after the type itself.
_KEY_FIELDS = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
_STRING = 0  # stands for a field that carries its own length; other numbers are widths in bytes
# What an OpenSSH certificate adds behind nonce and key: serial, type, id, principals, validity, options, signature.
_CERTIFICATE_TAIL = (8, 4, _STRING, _STRING, 8, 8, _STRING, _STRING, _STRING, _STRING, _STRING)


def _layouts() -> dict[str, tuple[int, ...]]:
    layouts = {}
    for kind, count in _KEY_FIELDS.items():
        layouts[kind] = (_STRING,) * (1 + count)
        name = kind.partition("@")[0]
        layouts[f"{name}-cert-v01@openssh.com"] = (_STRING,) * (2 + count) + _CERTIFICATE_TAIL
    return layouts


_LAYOUTS = _layouts()
_LONGEST = 65536  # characters; RSA keys of 16384 bits take under 3000


@dataclass(frozen=True)
class PublicKey:
    """A key that sshd takes.

    Attributes:
        kind: as "ssh-ed25519".
        blob: the key, base64 in one piece.
        comment: printable text, maybe empty.
    """

    kind: str
    blob: str
    comment: str = ""

    @property
    def line(self) -> str:
        """The line for authorized_keys, with no line end."""
        return f"{self.kind} {self.blob} {self.comment}".rstrip()


def parse_key(text: str) -> PublicKey:
    """Read a key as a platform hands it over.

    Azure's portal breaks the base64 of keys it made by CR LF every 64 characters, and blanks have been seen in
    there too: the pieces are put together until they make a whole key. What follows is the comment, on one line.

    Args:
        text: type, base64, comment.

    Raises:
        ValueError: saying what is wrong without repeating the key.
    """
    if len(text) > _LONGEST:
        raise ValueError("it is too long for a key")
    kind, *pieces = text.split() or [""]
    if kind == "ssh-dss":
        raise ValueError("DSA keys are refused by today's sshd: make an ed25519 or RSA key")
    if kind not in _LAYOUTS:
        raise ValueError("it does not begin with a type of OpenSSH public keys")
    blob = ""
    for used, piece in enumerate(pieces, 1):
        blob += piece
        if _is_whole(blob, kind):
            comment = "".join(character for character in " ".join(pieces[used:]) if character.isprintable())
            return PublicKey(kind, blob, comment)
    raise ValueError("its base64 part is damaged or cut off")


def repaired(text: str) -> str:
    """The key on one line. What is no key comes back on one line too, for whoever must say what is wrong with it."""
    try:
        return parse_key(text).line
    except ValueError:
        return " ".join(text.split())


def _is_whole(blob: str, kind: str) -> bool:
    """The base64 decodes to exactly the fields of that type, the first of them its name (RFC 4253, 6.6)."""
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    name = len(kind).to_bytes(4, "big") + kind.encode()
    if not data.startswith(name):
        return False
    at = 0
    for width in _LAYOUTS[kind]:
        at += width or 4 + int.from_bytes(data[at : at + 4], "big")
        if at > len(data):
            return False
    return at == len(data)


def known_blobs(authorized_keys: str) -> set[tuple[str, str]]:
    """The (type, base64) pairs in an authorized_keys file, whatever options stand before them."""
    found = set()
    for line in authorized_keys.splitlines():
        words = line.split()
        for kind, blob in zip(words, words[1:]):
            if kind in _LAYOUTS:
                found.add((kind, blob))
                break
    return found
