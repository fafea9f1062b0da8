"""The VM's certificates and private keys: new ones for each fabric, encrypted for the client that requests them.

The openssl program does the work, in a temporary folder. This module does not know HTTP or the document around the
encrypted package.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from azurelite.simulator import der

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
    return _Pair(Certificate(thumbprint, certificate, der.openssh_public_key(info)), key)


def _pfx(folder: str, pairs: list[_Pair]) -> bytes:
    files = []
    for pair in pairs:
        _write(folder, "pair.pem", (pair.key + pair.shown.certificate).encode())
        files.append(_openssl(folder, "pkcs12", "-export", "-in", "pair.pem", *_PFX))
    return der.joined_pfx(files, salt=os.urandom(8))


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
