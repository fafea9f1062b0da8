"""Public SSH keys as text: reading, repairing, comparing. Pure; it knows nothing of files."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

# The fields of keys and certificates: a number above 0 is a width in bytes, the others carry their own length.
_ANY, _FILLED, _BYTES_32 = 0, -1, -32
# Type -> the fields (RFC 4251, 5) of the key itself, after the type's name.
_KEY_FIELDS = {
    "ssh-ed25519": (_BYTES_32,),
    "ssh-rsa": (_FILLED, _FILLED),
    "ecdsa-sha2-nistp256": (_FILLED, _FILLED),
    "ecdsa-sha2-nistp384": (_FILLED, _FILLED),
    "ecdsa-sha2-nistp521": (_FILLED, _FILLED),
    "sk-ssh-ed25519@openssh.com": (_BYTES_32, _FILLED),
    "sk-ecdsa-sha2-nistp256@openssh.com": (_FILLED, _FILLED, _FILLED),
}
# What an OpenSSH certificate adds behind nonce and key: serial, type, id, principals, validity, options, signature.
_CERTIFICATE_TAIL = (8, 4, _ANY, _ANY, 8, 8, _ANY, _ANY, _ANY, _FILLED, _FILLED)


def _layouts() -> dict[str, tuple[int, ...]]:
    layouts: dict[str, tuple[int, ...]] = {}
    for kind, key_fields in _KEY_FIELDS.items():
        layouts[kind] = (_FILLED, *key_fields)
        certificate = f"{kind.partition('@')[0]}-cert-v01@openssh.com"
        layouts[certificate] = (_FILLED, _FILLED, *key_fields, *_CERTIFICATE_TAIL)
    return layouts


_LAYOUTS = _layouts()
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_OTHER_COATS = ("-----BEGIN ", "---- BEGIN ")
_LONGEST = 16384  # characters; RSA keys of 16384 bits take under 3000


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
        text: type, base64, comment; or a certificate or public key in PEM, or RFC 4716's form.

    Raises:
        ValueError: saying what is wrong without repeating the key.
    """
    if len(text) > _LONGEST:
        raise ValueError("it is too long for a key")
    if text.lstrip().startswith(_OTHER_COATS):  # Azure hands over a certificate where one was given in place of a key
        from azurelite.x509key import convert

        text = convert(text)
    kind, *pieces = text.split() or [""]
    if kind == "ssh-dss":
        raise ValueError("DSA keys are refused by today's sshd: make an ed25519 or RSA key")
    if kind not in _LAYOUTS:
        raise ValueError("it does not begin with a type of OpenSSH public keys")
    wanted = _blob_length("".join(pieces), kind)
    blob = ""
    for used, piece in enumerate(pieces, 1):
        blob += piece
        if len(blob) == wanted and _is_base64(blob):
            comment = "".join(character for character in " ".join(pieces[used:]) if character.isprintable())
            return PublicKey(kind, blob, comment)
        if len(blob) >= wanted:
            break
    raise ValueError("its base64 part is damaged or cut off")


def repaired(text: str) -> str:
    """The key on one line. What is no key comes back on one line too, for whoever must say what is wrong with it."""
    try:
        return parse_key(text).line
    except ValueError:
        return " ".join(text.split())


def _blob_length(text: str, kind: str) -> int:
    """How many characters of base64 the key at the start of `text` has, by the fields that its type has.

    Raises:
        ValueError: the text does not begin with a key of that type (RFC 4253, 6.6), or not with a whole one.
    """
    usable = next((i for i, character in enumerate(text) if character not in _ALPHABET), len(text))
    data = base64.b64decode(text[: usable - usable % 4] + _rest(text[usable - usable % 4 : usable]))
    name = len(kind).to_bytes(4, "big") + kind.encode()
    at = 0 if data.startswith(name) else len(data) + 1
    for field in _LAYOUTS[kind]:
        length = field if field > 0 else int.from_bytes(data[at : at + 4], "big")
        if (field == _FILLED and length == 0) or (field == _BYTES_32 and length != 32):
            at = len(data) + 1
        at += length if field > 0 else 4 + length
        if at > len(data):
            raise ValueError("its base64 part is damaged or cut off")
    return (at + 2) // 3 * 4


def _rest(characters: str) -> str:
    """The last characters ahead of the padding, made whole; one alone is none of base64's."""
    return characters + "=" * (4 - len(characters)) if len(characters) > 1 else ""


def _is_base64(blob: str) -> bool:
    try:
        base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def known_blobs(authorized_keys: str) -> set[tuple[str, str]]:
    """The (type, base64) pairs in an authorized_keys file, whatever options stand before them.

    A line of a certificate authority is none: its key signs certificates and opens nothing itself.
    """
    found = set()
    for line in authorized_keys.split("\n"):  # as sshd splits them
        words = line.split()
        if words and (words[0].startswith("#") or "cert-authority" in words[0].lower().split(",")):
            continue
        for kind, blob in zip(words, words[1:]):
            if kind in _LAYOUTS:
                found.add((kind, blob))
                break
    return found
