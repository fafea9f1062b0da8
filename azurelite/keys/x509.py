"""Convert public keys in other formats to OpenSSH's: X.509 certificates, PEM keys, RFC 4716.

Only the DER fields that lead to the key are read. Signatures, names and dates are not checked, because sshd does not
check them either. Pure; no file access.
"""

from __future__ import annotations

import base64
import contextlib
import re

_SEQUENCE, _INTEGER, _BIT_STRING, _OID, _VERSION = 0x30, 0x02, 0x03, 0x06, 0xA0
_RSA = bytes.fromhex("2a864886f70d010101")  # 1.2.840.113549.1.1.1
_EC = bytes.fromhex("2a8648ce3d0201")  # 1.2.840.10045.2.1
_ED25519 = bytes.fromhex("2b6570")  # 1.3.101.112
# Named curve -> OpenSSH's name, and the bytes of a coordinate.
_CURVES = {
    bytes.fromhex("2a8648ce3d030107"): ("nistp256", 32),
    bytes.fromhex("2b81040022"): ("nistp384", 48),
    bytes.fromhex("2b81040023"): ("nistp521", 66),
}
# Line breaks may have become spaces: the sources put a key on one line before it is parsed.
_PEM = r"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]+)-----END \1-----"
_PEM_BEGIN = r"\s*-----BEGIN ([A-Z0-9 ]+)-----"
_SSH2 = r"\s*---- BEGIN SSH2 PUBLIC KEY ----(.+)---- END SSH2 PUBLIC KEY ----"
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")


def convert(text: str) -> str:
    """The key in OpenSSH's format: type, base64 and an optional comment. Of several certificates, the first is used.

    Args:
        text: a certificate or a public key in PEM, or an RFC 4716 public key; line breaks may have become spaces.

    Raises:
        ValueError: the message says what is wrong, without the text.
    """
    if text.lstrip().startswith("---- BEGIN"):
        return _from_ssh2(text)
    label = re.match(_PEM_BEGIN, text, re.ASCII)
    if label is not None and "PRIVATE KEY" in label[1]:
        raise ValueError("it is a PRIVATE key: make a new key pair, and give only its public key")
    found = re.match(_PEM, text.lstrip(), re.ASCII)
    if found is None:
        raise ValueError("its PEM text is damaged or cut off")
    data = _unarmored(found[2])
    if found[1] in _CERTIFICATES:
        return openssh_key(certificate_key(data))
    if found[1] == "PUBLIC KEY":
        return openssh_key(public_key(data))
    if found[1] == "RSA PUBLIC KEY":
        return _rsa(data)
    raise ValueError("it is neither a certificate nor a public key")


def pem_blocks(text: str) -> list[tuple[str, bytes]]:
    """The PEM blocks in a text, as (label, DER). One that is damaged is passed over, and so is what is between them."""
    found = []
    for block in re.finditer(_PEM, text, re.ASCII):
        with contextlib.suppress(ValueError):
            found.append((block[1], _unarmored(block[2])))
    return found


def _unarmored(body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        raise ValueError("its PEM text is damaged or cut off") from None


def certificate_key(der: bytes) -> bytes:
    """The content of a certificate's SubjectPublicKeyInfo (RFC 5280, 4.1). Raises ValueError."""
    body = _Reader(_Reader(_Reader(der).take(_SEQUENCE)).take(_SEQUENCE))
    if body.peek() == _VERSION:
        body.take()
    body.take(_INTEGER)
    for _ in ("signature's algorithm", "issuer", "validity", "subject"):
        body.take(_SEQUENCE)
    return body.take(_SEQUENCE)


def public_key(der: bytes) -> bytes:
    """The content of a bare SubjectPublicKeyInfo, as in `BEGIN PUBLIC KEY`. Raises ValueError."""
    return _Reader(der).take(_SEQUENCE)


def openssh_key(info: bytes) -> str:
    """The key as OpenSSH writes it (RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4), without a comment.

    Args:
        info: the content of a SubjectPublicKeyInfo.

    Raises:
        ValueError: it is damaged, or a type of key that sshd does not support.
    """
    fields = _Reader(info)
    algorithm = _Reader(fields.take(_SEQUENCE))
    kind = algorithm.take(_OID)
    bits = fields.take(_BIT_STRING)
    if not bits or bits[0] != 0:
        raise ValueError("its ASN.1 is damaged or cut off")
    key = bits[1:]
    if kind == _RSA:
        return _rsa(key)
    if kind == _ED25519 and len(key) == 32:
        return _packed("ssh-ed25519", key)
    if kind == _EC:
        if algorithm.peek() != _OID:
            raise ValueError("its elliptic curve has custom parameters: make an ed25519 or RSA key")
        curve, width = _CURVES.get(algorithm.take(_OID), ("", 0))
        if not curve:
            raise ValueError("sshd does not support its elliptic curve: make an ed25519 or RSA key")
        if len(key) != 1 + 2 * width or key[0] != 4:
            raise ValueError("its elliptic curve point is compressed or damaged: write it uncompressed")
        return _packed(f"ecdsa-sha2-{curve}", curve.encode(), key)
    raise ValueError("sshd does not support its type of key: make an ed25519 or RSA key")


class _Reader:
    """Reads DER values one after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def peek(self) -> int:
        """The tag of the next value, -1 at the end."""
        return self.data[self.at] if self.at < len(self.data) else -1

    def take(self, tag: int | None = None) -> bytes:
        """The content of the next value, which must have that tag. Raises ValueError."""
        header = self.data[self.at : self.at + 2]
        if len(header) < 2 or (tag is not None and header[0] != tag):
            raise ValueError("its ASN.1 is not a certificate or public key")
        self.at += 2
        length = header[1]
        if length & 0x80:
            width = length & 0x7F
            # The text is too short to need more than 4 bytes; width 0 would be BER's indefinite length.
            if not 1 <= width <= 4 or self.at + width > len(self.data):
                raise ValueError("its ASN.1 is damaged or cut off")
            length = int.from_bytes(self.data[self.at : self.at + width], "big")
            self.at += width
        value = self.data[self.at : self.at + length]
        if len(value) < length:
            raise ValueError("its ASN.1 is damaged or cut off")
        self.at += length
        return value


def _rsa(data: bytes) -> str:
    numbers = _Reader(_Reader(data).take(_SEQUENCE))
    modulus, exponent = numbers.take(_INTEGER), numbers.take(_INTEGER)
    if not modulus.strip(b"\0") or not exponent.strip(b"\0") or max(modulus[0], exponent[0]) & 0x80:
        raise ValueError("its ASN.1 is damaged or cut off")
    return _packed("ssh-rsa", exponent, modulus)  # DER and SSH encode integers alike


def _packed(kind: str, *fields: bytes) -> str:
    data = b"".join(len(field).to_bytes(4, "big") + field for field in (kind.encode(), *fields))
    return f"{kind} {base64.b64encode(data).decode()}"


def ssh_fields(data: bytes) -> list[bytes]:
    """The fields of a key in OpenSSH's format (RFC 4251, 5: a length, then as many bytes); the last may be cut off."""
    fields = []
    while len(data) >= 4:
        end = 4 + int.from_bytes(data[:4], "big")
        fields.append(data[4:end])
        data = data[end:]
    return fields


def _from_ssh2(text: str) -> str:
    """RFC 4716: headers, then base64. All keys begin with a length below 2^8, that is with "AAAA"."""
    found = re.match(_SSH2, text, re.ASCII | re.DOTALL)
    words = found[1].split() if found is not None else []
    start = next((i for i, word in enumerate(words) if word.startswith("AAAA")), None)
    if found is None or start is None:
        raise ValueError("its RFC 4716 text is damaged or cut off")
    blob = "".join(words[start:])
    try:
        data = base64.b64decode(blob, validate=True)
    except ValueError:
        raise ValueError("its RFC 4716 text is damaged or cut off") from None
    kind = (ssh_fields(data) or [b""])[0].decode("ascii", "replace")
    comment = re.search(r'Comment:\s*"([^"]*)"', " ".join(words[:start]))
    return f"{kind} {blob} {comment[1] if comment else ''}".rstrip()
