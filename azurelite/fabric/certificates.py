"""Fetches the VM's certificates, which WireServer encrypts for a key that the request contains.

The answer is a CMS envelope around a PKCS#12 package without a password; the `openssl` program opens both. The private
keys are on the disk only inside that package, in a private folder that is removed before the function returns. This
module does not know what a certificate is for.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from contextlib import ExitStack
from typing import Optional
from urllib.parse import urlsplit

from azurelite.clock import Deadline
from azurelite.errors import CertificateError, CommandError, DocumentError, FabricError, FileError
from azurelite.fabric import retry
from azurelite.fabric.exchange import Request
from azurelite.fabric.goalstate import parse_xml
from azurelite.fabric.http import HttpClient
from azurelite.fabric.retry import RetryTable
from azurelite.keys.x509 import certificate_key, openssh_key, pem_blocks, public_key
from azurelite.metadata import Secret
from azurelite.record import Record
from azurelite.system.process import Commands
from azurelite.system.scratch import put_private, scratch_folder

LOG = logging.getLogger(__name__)

# The ciphers to ask WireServer for, in the order of the Azure Linux agent: FIPS machines have no 3DES, old hosts have
# nothing else.
_FIRST_CIPHER, _SECOND_CIPHER = "AES128_CBC", "DES_EDE3_CBC"
# The address contains the incarnation. When that is outdated (410), a retry is useless without a new goal state.
_TABLE = RetryTable({status: pause for status, pause in retry.GOAL_STATE.statuses.items() if status != 410})
_PFX_FORMAT = "Pkcs7BlobWithPfxContents"
# The package has a SHA-1 checksum, which FIPS machines refuse, so first try without checking it. Old hosts use ciphers
# that OpenSSL 3 knows only with -legacy, an option that OpenSSL 1 does not have.
_PFX_OPTIONS = (("-nomacver",), (), ("-legacy",))
_OPENSSL_WAIT = 60.0  # seconds; making a key takes less than one, or longer while the kernel collects entropy
_REQUEST = b"[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = LinuxTransport\n"
_FETCHING, _DECRYPTING = "error fetching certificates", "error decrypting certificates"


class Certificate(Record):
    """One of the VM's certificates.

    Attributes:
        thumbprint: SHA-1 of the certificate, as 40 upper-case hex digits; Azure uses it as the name.
        certificate_pem: the certificate.
        public_key: its key in OpenSSH's format, without a comment; None for a key type that OpenSSH does not support.
        private_key_pem: its private key; None if the package does not have it.
    """

    thumbprint: str
    certificate_pem: str
    public_key: Optional[str] = None
    private_key_pem: Optional[Secret] = None


def fetch_certificates(
    http: HttpClient, url: str, *, commands: Commands, timeout: float, deadline: Deadline, scratch: Optional[str] = None
) -> tuple[Certificate, ...]:
    """Fetch and decrypt the VM's certificates.

    Args:
        http: sends the requests.
        url: the address from the goal state.
        commands: runs `openssl`.
        timeout: seconds for one request.
        deadline: after it nothing is started.
        scratch: host path of the folder in which to make the private folder; default: /run, else /tmp.

    Returns:
        The certificates in the package's order; none if the VM has none or their format is unknown.

    Raises:
        CertificateError: both ciphers failed, or openssl is not installed.
    """
    _check(url)
    with TransportKey(commands, deadline=deadline, scratch=scratch) as key:

        def ask(cipher: str, share: Deadline) -> tuple[Certificate, ...]:
            envelope = _fetch(http, url, key.certificate, cipher=cipher, timeout=timeout, deadline=share)
            return () if envelope is None else _certificates(key.open(envelope), key)

        try:
            return ask(_FIRST_CIPHER, deadline.within(deadline.remaining() / 2))
        except CertificateError as error:
            if deadline.remaining() <= 0:
                raise
            LOG.info("certificates: cipher %s failed: %s; retrying with %s", _FIRST_CIPHER, error, _SECOND_CIPHER)
        return ask(_SECOND_CIPHER, deadline)


class TransportKey:
    """A key pair for one request. Entering makes it; leaving removes it and everything that was decrypted with it.

    Args:
        commands: runs `openssl`.
        deadline: when openssl must have ended.
        scratch: host path of the folder to make the private folder in.

    Raises:
        CertificateError: on entering, if the pair cannot be made.
    """

    def __init__(self, commands: Commands, *, deadline: Deadline, scratch: Optional[str] = None) -> None:
        self._commands = commands
        self._deadline = deadline
        self._scratch = scratch
        self._folder = ""
        self._open = ExitStack()
        self.certificate = ""  # base64 on one line, for the request's header

    def __enter__(self) -> TransportKey:
        if self._commands.find("openssl") is None:
            missing = "openssl is not installed"
            raise CertificateError(f"{missing}: install it in the image, or give SSH keys as text", reason=missing)
        with ExitStack() as undo:
            try:
                within = [self._scratch] if self._scratch is not None else []
                self._folder = undo.enter_context(scratch_folder(within, holds="private keys"))
                self._make()
            except (OSError, FileError) as error:
                raise CertificateError(f"cannot store the transport key: {error}", reason=_FETCHING) from error
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def open(self, envelope: bytes) -> str:
        """Decrypt an answer.

        Args:
            envelope: CMS enveloped data (DER) for this key, around a PKCS#12 package.

        Returns:
            The package's certificates and private keys as PEM, with comments of openssl between them.

        Raises:
            CertificateError: it is for another key, or its content is not such a package.
        """
        try:
            closed, package = self._put("envelope.der", envelope), self._put("package.pfx")
            certificate, key = (os.path.join(self._folder, name) for name in ("certificate.pem", "key.pem"))
            pair = ("-recip", certificate, "-inkey", key)
            self.openssl("cms", "-decrypt", "-inform", "DER", "-in", closed, *pair, "-out", package)
            return self._unpack(package)
        except (OSError, FileError) as error:
            raise CertificateError(f"cannot decrypt the certificates: {error}", reason=_DECRYPTING) from error

    def openssl(self, *words: str, secret_input: Optional[Secret] = None, reason: str = _DECRYPTING) -> str:
        """Run openssl. Its output may be secret."""
        wait = min(self._deadline.remaining(), _OPENSSL_WAIT)
        try:
            return self._commands.run(["openssl", *words], timeout=wait, secret_input=secret_input)
        except CommandError as error:
            detail = str(error).replace(self._folder, "")
            raise CertificateError(f"{reason}: {detail}", reason=reason, data={"exception": detail}) from error

    def _make(self) -> None:
        """Make the key pair, with our own openssl configuration because some images do not have the default file."""
        settings, key, out = self._put("request.cnf", _REQUEST), self._put("key.pem"), self._put("certificate.pem")
        made = ("-newkey", "rsa:3072", "-nodes", "-sha256", "-days", "32768", "-keyout", key)
        self.openssl("req", "-x509", "-batch", "-config", settings, *made, "-out", out, reason=_FETCHING)
        with open(out, encoding="ascii", errors="replace") as file:
            blocks = pem_blocks(file.read())
        if not blocks:
            raise CertificateError(
                "openssl created no transport certificate: reinstall openssl",
                reason=_FETCHING,
            )
        self.certificate = base64.b64encode(blocks[0][1]).decode()

    def _unpack(self, package: str) -> str:
        """Read the package. An attempt counts only if it prints something: openssl may fail with exit status 0."""
        failure: Optional[CertificateError] = None
        for options in _PFX_OPTIONS:
            try:
                pem = self.openssl("pkcs12", "-nodes", "-passin", "pass:", "-in", package, *options)
            except CertificateError as error:
                failure = failure or error
            else:
                if pem_blocks(pem):
                    return pem
        if failure is not None:
            raise failure
        return ""

    def _put(self, name: str, content: bytes = b"") -> str:
        """Write a file that only this user can read. openssl keeps the mode of an existing file."""
        path = os.path.join(self._folder, name)
        put_private(path, content)
        return path


def _check(url: str) -> None:
    """Raise CertificateError unless this is a usable address: it comes from a document."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise CertificateError("the goal state has an unusable address for the certificates", reason=_FETCHING)


def _fetch(
    http: HttpClient, url: str, certificate: str, *, cipher: str, timeout: float, deadline: Deadline
) -> Optional[bytes]:
    """Fetch the envelope. Returns None if it is empty or in an unknown format."""
    headers = {"x-ms-version": "2012-11-30", "x-ms-agent-name": "azurelite", "x-ms-cipher-name": cipher}
    headers["x-ms-guest-agent-public-x509-cert"] = certificate
    try:
        answer = http.ask(Request(url, headers, timeout), table=_TABLE, deadline=deadline)
        file = parse_xml(answer.body, source="certificates")
        if file.tag != "CertificateFile":
            raise DocumentError("certificates", f"the root element is {file.tag[:60]!r}, not CertificateFile")
    except FabricError as error:
        raise CertificateError(f"{_FETCHING}: {error}", reason=_FETCHING, data=error.data) from error
    form = (file.findtext("Format") or "").strip()
    if form not in ("", _PFX_FORMAT):
        LOG.info("certificates: skipped: unknown format %.60r", form)
        return None
    try:
        return Secret.from_base64(file.findtext("Data") or "").reveal_bytes() or None
    except ValueError as error:
        raise CertificateError(f"{_FETCHING}: Data is not base64", reason=_FETCHING) from error


def _certificates(pem: str, key: TransportKey) -> tuple[Certificate, ...]:
    """The certificates with their private keys. Unreadable blocks are skipped."""
    blocks = pem_blocks(pem)
    private_keys: dict[bytes, Secret] = {}
    for label, der in blocks:
        if label.endswith("PRIVATE KEY"):
            secret = Secret(_pem(label, der))
            try:
                public = pem_blocks(key.openssl("pkey", "-pubout", secret_input=secret))
                private_keys[public_key(public[0][1])] = secret
            except (CertificateError, ValueError, IndexError):
                LOG.warning("certificates: a private key is skipped: openssl cannot read it")
    found = []
    for label, der in blocks:
        if label == "CERTIFICATE":
            try:
                key_info = certificate_key(der)
            except ValueError:
                LOG.warning("certificates: a certificate is skipped: its data is damaged")
                continue
            thumbprint = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()  # used as a name only
            private_key = private_keys.get(key_info)
            found.append(Certificate(thumbprint, _pem(label, der), _openssh(key_info), private_key))
    return tuple(found)


def _pem(label: str, der: bytes) -> str:
    lines = "".join(base64.b64encode(der[i : i + 48]).decode() + "\n" for i in range(0, len(der), 48))
    return f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n"


def _openssh(key_info: bytes) -> Optional[str]:
    """The key in OpenSSH's format; None for a key type that sshd does not support."""
    try:
        return openssh_key(key_info)
    except ValueError:
        return None
