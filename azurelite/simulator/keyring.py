"""The VM's certificates and private keys: new ones for each fabric, encrypted for the client that requests them.

The openssl program makes the keys and encrypts, in a temporary folder; the DER around them (RFC 5280 keys, RFC 7292
PKCS#12 files) is made here. This module does not know HTTP or the document around the
encrypted package.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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


CIPHERS = {"AES128_CBC": "-aes-128-cbc", "DES_EDE3_CBC": "-des3"}
KEY_KINDS = {"rsa": ("rsa",), "ec": ("ec",), "both": ("rsa", "ec")}

_TIMEOUT = 60.0
_NEW_KEY = {"rsa": ("rsa:2048",), "ec": ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")}
# Without this configuration openssl would read the machine's own, which may be missing or have other settings.
_CONFIG = (
    "[req]\ndistinguished_name=name\nx509_extensions=extensions\n[name]\n[extensions]\nsubjectKeyIdentifier=hash\n"
)
_PFX = ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1", "-passout", "pass:")


class CertificatesError(RuntimeError):
    """The openssl program is missing or failed."""


class Certificate(NamedTuple):
    """The public part of one of the VM's certificates."""

    thumbprint: str
    """SHA-1 of the DER, capital hex."""
    certificate: str
    """PEM."""
    public_key: str
    """As OpenSSH writes it, without comment."""


@dataclass(frozen=True)
class _Pair:
    shown: Certificate
    key: str = field(repr=False)


class KeyRing:
    """The VM's key pairs; each kind is made when it is first asked for. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._pairs: dict[str, _Pair] = {}
        self._lock = threading.Lock()

    def certificates(self, kinds: str) -> list[Certificate]:
        """The certificates; `kinds` is one of KEY_KINDS. Raises CertificatesError."""
        return [pair.shown for pair in self._pairs_of(kinds)]

    def package(self, kinds: str, *, recipient: bytes, cipher: str, pfx: bool) -> bytes:
        """CMS EnvelopedData, DER, for the holder of the certificate `recipient` (DER).

        It contains a PKCS#12 file with empty password, keys and certificates; without `pfx` only the certificates
        as PEM. `cipher` is one of CIPHERS. Raises ValueError where openssl cannot encrypt for `recipient`, and
        CertificatesError.
        """
        pairs = self._pairs_of(kinds)
        with tempfile.TemporaryDirectory(prefix="azurelite-simulator-") as folder:
            _write(folder, "recipient.der", recipient)
            try:
                _openssl(folder, "x509", "-inform", "DER", "-in", "recipient.der", "-out", "recipient.pem")
            except _RefusedError:
                raise ValueError("not an X.509 certificate") from None
            content = _pfx(folder, pairs) if pfx else "".join(pair.shown.certificate for pair in pairs).encode()
            _write(folder, "content", content)
            wanted = ("-encrypt", "-binary", "-outform", "DER", "-in", "content", CIPHERS[cipher])
            try:
                return _openssl(folder, "cms", *wanted, "recipient.pem")
            except _RefusedError as error:
                raise ValueError(f"not a certificate to encrypt for: {error}") from None

    def _pairs_of(self, kinds: str) -> list[_Pair]:
        with self._lock:
            for kind in KEY_KINDS[kinds]:
                if kind not in self._pairs:
                    self._pairs[kind] = _new_pair(kind)
            return [self._pairs[kind] for kind in KEY_KINDS[kinds]]


class _RefusedError(CertificatesError):
    pass


def _new_pair(kind: str) -> _Pair:
    with tempfile.TemporaryDirectory(prefix="azurelite-simulator-") as folder:
        _write(folder, "config", _CONFIG.encode())
        made = ("-nodes", "-sha256", "-days", "3650", "-subj", f"/CN=azurelite-simulator-{kind}", "-config", "config")
        certificate = _openssl(folder, "req", "-x509", "-newkey", *_NEW_KEY[kind], *made, "-keyout", "key.pem").decode()
        info = _openssl(folder, "pkey", "-in", "key.pem", "-pubout", "-outform", "DER")
        with open(os.path.join(folder, "key.pem"), encoding="ascii") as file:
            key = file.read()
    body = "".join(certificate.split("-----")[2].split())
    thumbprint = hashlib.sha1(base64.b64decode(body, validate=True)).hexdigest().upper()
    return _Pair(Certificate(thumbprint, certificate, openssh_public_key(info)), key)


def _pfx(folder: str, pairs: list[_Pair]) -> bytes:
    files = []
    for pair in pairs:
        _write(folder, "pair.pem", (pair.key + pair.shown.certificate).encode())
        files.append(_openssl(folder, "pkcs12", "-export", "-in", "pair.pem", *_PFX))
    return joined_pfx(files, salt=os.urandom(8))


def _write(folder: str, name: str, data: bytes) -> None:
    # The folder's mode, 0700, protects what is in it.
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def _openssl(folder: str, command: str, *arguments: str) -> bytes:
    """The output of openssl. Raises CertificatesError; its subclass _RefusedError where openssl ran and failed."""
    program = shutil.which("openssl")
    if program is None:
        raise CertificatesError("openssl is not installed: install it to simulate certificates")
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and every argument is this module's own
            [program, command, *arguments],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CertificatesError(f"openssl {command} did not run: {error}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise _RefusedError(f"openssl {command} failed with exit status {done.returncode}: {said}")
    return done.stdout
