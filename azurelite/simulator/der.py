"""The parts of ASN.1's DER that the certificates need: elements, public keys, PKCS#12 files.

This module knows the structures of RFC 5280 keys and RFC 7292 files. The openssl program makes the keys and encrypts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

_INTEGER, _OCTETS, _NULL, _OID, _SEQUENCE, _CONTEXT_0 = 0x02, 0x04, 0x05, 0x06, 0x30, 0xA0
_RSA = bytes.fromhex("2a864886f70d010101")
_DATA = bytes.fromhex("2a864886f70d010701")
_SHA1 = bytes.fromhex("2b0e03021a")
_ROUNDS = 2048
_EMPTY_PASSWORD = b"\0\0"  # a BMPString with its terminator


def openssh_public_key(info: bytes) -> str:
    """A SubjectPublicKeyInfo as OpenSSH writes keys, without comment; RSA, or EC on NIST P-256. Raises ValueError."""
    ((_, outer),) = elements(info)
    (_, algorithm), (_, bits) = elements(outer)
    if elements(algorithm)[0][1] == _RSA:
        ((_, numbers),) = elements(bits[1:])
        (_, modulus), (_, exponent) = elements(numbers)
        # DER and SSH encode integers alike.
        parts = [b"ssh-rsa", exponent, modulus]
    else:
        parts = [b"ecdsa-sha2-nistp256", b"nistp256", bits[1:]]
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"{parts[0].decode()} {base64.b64encode(blob).decode()}"


def joined_pfx(files: Sequence[bytes], *, salt: bytes) -> bytes:
    """Join PKCS#12 files with empty passwords, with a new MAC. The openssl program puts only one key in a file."""
    safes = b""
    for file in files:
        ((_, outer),) = elements(file)
        (_, wrapped) = elements(outer)[1]
        ((_, octets),) = elements(elements(wrapped)[1][1])
        ((_, contents),) = elements(octets)
        safes += contents
    safe = element(_SEQUENCE, safes)
    info = element(_OID, _DATA) + element(_CONTEXT_0, element(_OCTETS, safe))
    algorithm = element(_SEQUENCE, element(_OID, _SHA1) + element(_NULL, b""))
    digest = element(_OCTETS, hmac.new(_mac_key(salt), safe, hashlib.sha1).digest())
    mac = element(_SEQUENCE, algorithm + digest) + element(_OCTETS, salt)
    mac += element(_INTEGER, _ROUNDS.to_bytes(2, "big"))
    return element(_SEQUENCE, element(_INTEGER, b"\3") + element(_SEQUENCE, info) + element(_SEQUENCE, mac))


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of each element in `data`. Raises ValueError where the data ends within an element."""
    found = []
    while data:
        if len(data) < 2:
            raise ValueError("DER: cut short")
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            raise ValueError("DER: cut short")
        found.append((tag, data[start : start + length]))
        data = data[start + length :]
    return found


def element(tag: int, content: bytes) -> bytes:
    """One element."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    spelt = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(spelt)]) + spelt + content


def _mac_key(salt: bytes) -> bytes:
    """RFC 7292 appendix B for SHA-1 and 20 bytes: a single block, so no carry is needed."""
    block = 64
    key = b"\3" * block
    for part in (salt, _EMPTY_PASSWORD):
        length = -(-len(part) // block) * block
        key += (part * length)[:length]
    for _ in range(_ROUNDS):
        key = hashlib.sha1(key).digest()
    return key
