"""Public SSH keys as text: reading, repairing, comparing. Pure; it knows nothing of files."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Iterable, Iterator, Optional

from azurelite.record import Record

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
_CERTIFICATE = "-cert-v01@openssh.com"
# What an OpenSSH certificate adds behind nonce and key: serial, type, id, principals, validity, options, signature.
_CERTIFICATE_TAIL = (8, 4, _ANY, _ANY, 8, 8, _ANY, _ANY, _ANY, _FILLED, _FILLED)


def _layouts() -> dict[str, tuple[int, ...]]:
    layouts: dict[str, tuple[int, ...]] = {}
    for kind, key_fields in _KEY_FIELDS.items():
        layouts[kind] = (_FILLED, *key_fields)
        certificate = kind.partition("@")[0] + _CERTIFICATE
        layouts[certificate] = (_FILLED, _FILLED, *key_fields, *_CERTIFICATE_TAIL)
    return layouts


_LAYOUTS = _layouts()
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_OTHER_COATS = ("-----BEGIN ", "---- BEGIN ")
# Options of authorized_keys (sshd(8)) that keep nobody out and leave him his shell.
_FLAGS = (
    "agent-forwarding",
    "port-forwarding",
    "pty",
    "touch-required",
    "user-rc",
    "verify-required",
    "x11-forwarding",
)
_HARMLESS = {"environment", "permitlisten", "permitopen", "tunnel", *_FLAGS, *(f"no-{flag}" for flag in _FLAGS)}
_NARROWING = frozenset({"command", "restrict"})  # they let the key in, to less than a shell
_LONGEST = 16384  # characters; RSA keys of 16384 bits take under 3000


class PublicKey(Record):
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

    @property
    def pair(self) -> tuple[str, str]:
        """What makes two keys the same one."""
        return self.kind, self.blob

    @property
    def is_certificate(self) -> bool:
        """It opens nothing from authorized_keys: sshd takes it from who enters, and trusts who signed it."""
        return self.kind.endswith(_CERTIFICATE)


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
        from azurelite.keys.x509 import convert

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


class AuthorizedLine(Record):
    """A line of an authorized_keys file that holds a whole key.

    Attributes:
        key: the key.
        options: the names of what stands before it, as "command", in small letters.
    """

    key: PublicKey
    options: tuple[str, ...]

    @property
    def opens(self) -> bool:
        """It lets whoever has the key in: from anywhere, for ever, and with a shell.

        An option that sshd does not know spoils the line, so they are those that are known to keep nobody out.
        """
        return not self.key.is_certificate and not set(self.options) - _HARMLESS


def authorized_lines(text: str) -> Iterator[AuthorizedLine]:
    """The lines of an authorized_keys file that hold a key, as sshd reads them; all others are passed over."""
    lines = (line.strip(" \t") for line in text.split("\n"))
    for line in lines:
        if line.startswith("#") or len(line) > _LONGEST:
            continue
        options: tuple[str, ...] = ()
        key = _key_at(line)
        if key is None:
            options, behind = _options_at(line)
            key = _key_at(behind.lstrip(" \t"))
        if key is not None:
            yield AuthorizedLine(key, options)


def opening(lines: Iterable[AuthorizedLine]) -> set[tuple[str, str]]:
    """The (type, base64) pairs of the keys by which one enters with a shell of one's own.

    sshd takes the first line that has the key and lets it in: one behind a line with `command=` has no effect.
    """
    found: dict[tuple[str, str], bool] = {}
    for line in lines:
        if line.opens or _NARROWING.intersection(line.options):
            found.setdefault(line.key.pair, line.opens)
    return {pair for pair, opens in found.items() if opens}


def _key_at(text: str) -> Optional[PublicKey]:
    """The key that a text begins with. Type and base64 stand in one piece each here."""
    words = re.match(r"([^ \t]+)[ \t]+([^ \t]+)", text)
    if words is None or words[1] not in _LAYOUTS:
        return None
    try:
        return parse_key(words[0])
    except ValueError:
        return None


def _options_at(line: str) -> tuple[tuple[str, ...], str]:
    """The names of the options that a line begins with, and what is behind them. A blank in quotes ends nothing."""
    options = [""]
    quoted = False
    at = 0
    while at < len(line) and (quoted or line[at] not in " \t"):
        if line.startswith('\\"', at):
            at += 1
        elif line[at] == '"':
            quoted = not quoted
        elif not quoted and line[at] == ",":
            options.append("")
        elif not quoted:
            options[-1] += line[at].lower()
        at += 1
    return tuple(option.partition("=")[0] for option in options), line[at:]
