"""Public SSH keys as text: parse, repair, compare. Pure; no file access."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Iterable, Iterator, Optional

from azurelite.record import Record

# The fields of keys and certificates. Above 0: a width in bytes. Others have a length prefix: any, not empty, 32 bytes.
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
# The fields of an OpenSSH certificate after nonce and key: serial, type, id, principals, validity, options, signature.
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
_OTHER_FORMATS = ("-----BEGIN ", "---- BEGIN ")
# Options of authorized_keys (sshd(8)) that still allow login with a shell.
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
_NARROWING = frozenset({"command", "restrict"})  # they allow login, but not a shell
_CONDITIONS = frozenset({"cert-authority", "expiry-time", "from", "principals"})
_MUST_HAVE_VALUE = frozenset({"command", "environment", "expiry-time", "from", "principals", "tunnel"})
_LONGEST = 16384  # characters; RSA keys of 16384 bits take under 3000


class PublicKey(Record):
    """A key of a type that sshd supports.

    Attributes:
        kind: as "ssh-ed25519".
        blob: the key, base64 in one piece.
        comment: printable text; may be empty.
        options: what precedes the key in authorized_keys, as `from="10.0.0.0/8",restrict`; may be empty.
    """

    kind: str
    blob: str
    comment: str = ""
    options: str = ""

    @property
    def line(self) -> str:
        """The line for authorized_keys, without a line end."""
        return f"{self.options} {self.kind} {self.blob} {self.comment}".strip()

    @property
    def pair(self) -> tuple[str, str]:
        """Type and base64: two keys are the same when these are equal."""
        return self.kind, self.blob

    @property
    def is_certificate(self) -> bool:
        """Whether it is a certificate. In authorized_keys it allows no login: sshd expects it from the client."""
        return self.kind.endswith(_CERTIFICATE)


def split_keys(text: str) -> list[str]:
    """The keys in one text: each line that begins with a key type, or with options and a key, begins another one.

    Other lines belong to the key before them, because the portal breaks keys into lines. Lines with `#` are comments.
    """
    if text.lstrip().startswith(_OTHER_FORMATS):
        return [text]
    pieces: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        words = line.split(None, 1)
        if not pieces or words[0] in _LAYOUTS or words[0] == "ssh-dss" or _has_options(line):
            pieces.append(line)
        else:
            pieces[-1] += "\n" + line
    return pieces or [text]


def _has_options(line: str) -> bool:
    """Whether a key with its base64 follows the options at the start of the line."""
    kind, *rest = _options_at(line)[1].split() or [""]
    return not line.startswith("#") and (kind in _LAYOUTS or kind == "ssh-dss") and "".join(rest[:1]).startswith("AAAA")


def parse_with_options(text: str) -> PublicKey:
    """As `parse_key`, but the key may have options before it, as in authorized_keys.

    Raises:
        ValueError: the message says what is wrong, without the key.
    """
    text = text.strip()
    if text.startswith(_OTHER_FORMATS) or not _has_options(text):
        return parse_key(text)
    names, rest = _options_at(text)
    options = text[: len(text) - len(rest)]
    if not options.isprintable():
        raise ValueError("its options have a character that cannot be printed")
    known = _HARMLESS | _NARROWING | _CONDITIONS
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ValueError(f"sshd does not know its option `{unknown[:40]}` and would ignore the key")
    bare = next((name for name in _MUST_HAVE_VALUE if re.search(rf"(^|,){name}(,|$)", _unquoted(options))), None)
    if bare is not None:
        raise ValueError(f'its option `{bare}` has no value: give one in quotes, as {bare}="…"')
    key = parse_key(rest)
    return PublicKey(key.kind, key.blob, key.comment, options)


def _unquoted(options: str) -> str:
    """The options in lower case, with each value in quotes emptied."""
    return re.sub(r'"(?:\\"|[^"])*"', '""', options).lower()


def parse_key(text: str) -> PublicKey:
    """Parse a key as the platform passes it on.

    Azure's portal breaks the base64 of keys that it generates by CR LF every 64 characters; spaces have been seen
    there, too. The pieces are joined until they are a complete key. The rest is the comment, put on one line.

    Args:
        text: type, base64, comment; or a certificate or public key in PEM, or a key in the format of RFC 4716.

    Raises:
        ValueError: the message says what is wrong, without the key.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST} characters")
    if text.lstrip().startswith(_OTHER_FORMATS):  # Azure passes on a certificate that was given in place of a key
        from azurelite.keys.x509 import convert

        text = convert(text)
    kind, *pieces = text.split() or [""]
    if kind == "ssh-dss":
        raise ValueError("sshd no longer supports DSA keys: make an ed25519 or RSA key")
    if kind not in _LAYOUTS and _has_options(text.strip()):
        raise ValueError("options before a key are accepted only from the configuration and from cloud-config")
    if kind not in _LAYOUTS:
        raise ValueError("it does not begin with the type of an OpenSSH public key")
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
    """The number of base64 characters of the key at the start of `text`, by the fields of its type.

    Raises:
        ValueError: the text does not begin with a complete key of that type (RFC 4253, 6.6).
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
    """The last characters of base64 with padding added; a single one is invalid and dropped."""
    return characters + "=" * (4 - len(characters)) if len(characters) > 1 else ""


def _is_base64(blob: str) -> bool:
    try:
        base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


class AuthorizedLine(Record):
    """A line of an authorized_keys file that contains a complete key.

    Attributes:
        key: the key.
        options: the names of the options before the key, in lower case, as "command".
    """

    key: PublicKey
    options: tuple[str, ...]

    @property
    def opens(self) -> bool:
        """Whether the key allows login from any address, at any time, with a shell.

        sshd ignores a line with an unknown option, so only options that are known to be harmless count.
        """
        return not self.key.is_certificate and not set(self.options) - _HARMLESS


def authorized_lines(text: str) -> Iterator[AuthorizedLine]:
    """The lines of an authorized_keys file that hold a key, as sshd reads them; all others are skipped."""
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
    """The (type, base64) pairs of the keys that allow login with a shell.

    sshd uses the first line that has the key and allows login: a line after one with `command=` has no effect.
    """
    found: dict[tuple[str, str], bool] = {}
    for line in lines:
        if line.opens or _NARROWING.intersection(line.options):
            found.setdefault(line.key.pair, line.opens)
    return {pair for pair, opens in found.items() if opens}


def _key_at(text: str) -> Optional[PublicKey]:
    """The key at the start of a text. Type and base64 must each be in one piece here."""
    words = re.match(r"([^ \t]+)[ \t]+([^ \t]+)", text)
    if words is None or words[1] not in _LAYOUTS:
        return None
    try:
        return parse_key(words[0])
    except ValueError:
        return None


def _options_at(line: str) -> tuple[tuple[str, ...], str]:
    """The names of the options at the start of a line, and the rest. A space in quotes does not end the options."""
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
