"""The VM's certificates: WireServer gives them encrypted for a key that the asker presents.

What comes is a CMS envelope around a PKCS#12 package without a password; the `openssl` program opens both. The
private keys in it are on the disk only inside that package, in a private folder that is gone before anyone returns.
Which certificate is for what, this file does not know.
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

# The ciphers that WireServer can be asked for, in the order of the Azure Linux agent: FIPS machines know no 3DES,
# old hosts nothing else.
_FIRST_CIPHER, _SECOND_CIPHER = "AES128_CBC", "DES_EDE3_CBC"
# The address names the incarnation: once that has moved on (410), only a new goal state helps.
_TABLE = RetryTable({status: pause for status, pause in retry.GOAL_STATE.statuses.items() if status != 410})
_PFX_FORMAT = "Pkcs7BlobWithPfxContents"
# The package's checksum is made with SHA-1, which FIPS machines refuse: so first without looking at it. Packages
# of old hosts are encrypted with what OpenSSL 3 only knows with -legacy, a word that OpenSSL 1 does not know.
_PFX_OPTIONS = (("-nomacver",), (), ("-legacy",))
_OPENSSL_WAIT = 60.0  # seconds; making a key takes under one, and longer where randomness is short
_REQUEST = b"[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = LinuxTransport\n"
_FETCHING, _DECRYPTING = "error fetching certificates", "error decrypting certificates"


class Certificate(Record):
    """One of the VM's certificates.

    Attributes:
        thumbprint: SHA-1 of the certificate, as 40 upper-case hex digits: the name that Azure knows it by.
        certificate_pem: the certificate.
        public_key: its key as OpenSSH writes it, with no comment; None for a kind that OpenSSH does not take.
        private_key_pem: the key that belongs to it, where the package has it.
    """

    thumbprint: str
    certificate_pem: str
    public_key: Optional[str] = None
    private_key_pem: Optional[Secret] = None


def fetch_certificates(
    http: HttpClient, url: str, *, commands: Commands, timeout: float, deadline: Deadline, scratch: Optional[str] = None
) -> tuple[Certificate, ...]:
    """Ask for the VM's certificates and open them.

    Args:
        http: does the exchanges.
        url: the address that the goal state names.
        commands: runs `openssl`.
        timeout: seconds that one exchange may take.
        deadline: after it nothing is begun.
        scratch: host path of the folder to make the private folder in; /run or else /tmp if left out.

    Returns:
        The certificates in the package's order; none where the VM has none or they come in a form of their own.

    Raises:
        CertificateError: they cannot be fetched, decrypted or read, with neither cipher; or openssl is missing.
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
            LOG.info("with the cipher %s: %s; asking for %s", _FIRST_CIPHER, error, _SECOND_CIPHER)
        return ask(_SECOND_CIPHER, deadline)


class TransportKey:
    """A key pair for one exchange. Entering makes it; leaving removes it and all that was opened with it.

    Args:
        commands: runs `openssl`.
        deadline: when it must be done.
        scratch: host path of the folder to make the private folder in.

    Raises:
        CertificateError: on entering, when the pair cannot be made.
    """

    def __init__(self, commands: Commands, *, deadline: Deadline, scratch: Optional[str] = None) -> None:
        self._commands = commands
        self._deadline = deadline
        self._scratch = scratch
        self._folder = ""
        self._open = ExitStack()
        self.certificate = ""  # base64 on one line, as the request's header wants it

    def __enter__(self) -> TransportKey:
        if self._commands.find("openssl") is None:
            missing = "openssl is not installed"
            raise CertificateError(f"{missing}: add it to the image, or give SSH keys as text", reason=missing)
        with ExitStack() as undo:
            try:
                within = [self._scratch] if self._scratch is not None else []
                self._folder = undo.enter_context(scratch_folder(within, holds="private keys"))
                self._make()
            except (OSError, FileError) as error:
                raise CertificateError(f"a transport key cannot be kept: {error}", reason=_FETCHING) from error
            self._open = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def open(self, envelope: bytes) -> str:
        """Decrypt an answer.

        Args:
            envelope: CMS enveloped data (DER) for this key, around a PKCS#12 package.

        Returns:
            The package's certificates and private keys as PEM, with remarks of openssl between them.

        Raises:
            CertificateError: it is not for this key, or what is inside is no such package.
        """
        try:
            closed, package = self._put("envelope.der", envelope), self._put("package.pfx")
            certificate, key = (os.path.join(self._folder, name) for name in ("certificate.pem", "key.pem"))
            pair = ("-recip", certificate, "-inkey", key)
            self.openssl("cms", "-decrypt", "-inform", "DER", "-in", closed, *pair, "-out", package)
            return self._unpack(package)
        except (OSError, FileError) as error:
            raise CertificateError(f"the certificates cannot be decrypted: {error}", reason=_DECRYPTING) from error

    def openssl(self, *words: str, secret_input: Optional[Secret] = None, reason: str = _DECRYPTING) -> str:
        """Run openssl. Its output may be secret."""
        wait = min(self._deadline.remaining(), _OPENSSL_WAIT)
        try:
            return self._commands.run(["openssl", *words], timeout=wait, secret_input=secret_input)
        except CommandError as error:
            detail = str(error).replace(self._folder, "")
            raise CertificateError(f"{reason}: {detail}", reason=reason, data={"exception": detail}) from error

    def _make(self) -> None:
        """Its own settings file, for not every image has the one that openssl would look for."""
        settings, key, out = self._put("request.cnf", _REQUEST), self._put("key.pem"), self._put("certificate.pem")
        made = ("-newkey", "rsa:3072", "-nodes", "-sha256", "-days", "32768", "-keyout", key)
        self.openssl("req", "-x509", "-batch", "-config", settings, *made, "-out", out, reason=_FETCHING)
        with open(out, encoding="ascii", errors="replace") as file:
            blocks = pem_blocks(file.read())
        if not blocks:
            raise CertificateError("openssl made no transport certificate", reason=_FETCHING)
        self.certificate = base64.b64encode(blocks[0][1]).decode()

    def _unpack(self, package: str) -> str:
        """Success is a package with something in it: a failed try may print nothing and still claim it."""
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
        """Write a file that only this user can read, whatever the umask; openssl keeps the mode of what is there."""
        path = os.path.join(self._folder, name)
        put_private(path, content)
        return path


def _check(url: str) -> None:
    """The address comes from a document, so it may be anything."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise CertificateError("the goal state's address of the certificates is unusable", reason=_FETCHING)


def _fetch(
    http: HttpClient, url: str, certificate: str, *, cipher: str, timeout: float, deadline: Deadline
) -> Optional[bytes]:
    """The envelope; None where there is nothing to open."""
    headers = {"x-ms-version": "2012-11-30", "x-ms-agent-name": "azurelite", "x-ms-cipher-name": cipher}
    headers["x-ms-guest-agent-public-x509-cert"] = certificate
    try:
        answer = http.ask(Request(url, headers, timeout), table=_TABLE, deadline=deadline)
        file = parse_xml(answer.body, source="certificates")
        if file.tag != "CertificateFile":
            raise DocumentError("certificates", f"the root element is not CertificateFile but {file.tag[:60]!r}")
    except FabricError as error:
        raise CertificateError(f"{_FETCHING}: {error}", reason=_FETCHING, data=error.data) from error
    form = (file.findtext("Format") or "").strip()
    if form not in ("", _PFX_FORMAT):
        LOG.info("the VM's certificates come as %.60r, which is not for this agent", form)
        return None
    text = "".join((file.findtext("Data") or "").split())
    try:
        return base64.b64decode(text, validate=True) or None
    except ValueError as error:
        raise CertificateError(f"{_FETCHING}: the answer's Data is not base64", reason=_FETCHING) from error


def _certificates(pem: str, key: TransportKey) -> tuple[Certificate, ...]:
    """Certificates with their private keys; a block that cannot be read is passed over."""
    blocks = pem_blocks(pem)
    private_keys: dict[bytes, Secret] = {}
    for label, der in blocks:
        if label.endswith("PRIVATE KEY"):
            secret = Secret(_pem(label, der))
            try:
                public = pem_blocks(key.openssl("pkey", "-pubout", secret_input=secret))
                private_keys[public_key(public[0][1])] = secret
            except (CertificateError, ValueError, IndexError):
                LOG.warning("a private key of the VM's certificates cannot be read; it is passed over")
    found = []
    for label, der in blocks:
        if label == "CERTIFICATE":
            try:
                key_info = certificate_key(der)
            except ValueError:
                LOG.warning("one of the VM's certificates cannot be read; it is passed over")
                continue
            thumbprint = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()  # a name, no proof
            private_key = private_keys.get(key_info)
            found.append(Certificate(thumbprint, _pem(label, der), _openssh(key_info), private_key))
    return tuple(found)


def _pem(label: str, der: bytes) -> str:
    lines = "".join(base64.b64encode(der[i : i + 48]).decode() + "\n" for i in range(0, len(der), 48))
    return f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n"


def _openssh(key_info: bytes) -> Optional[str]:
    """The key as OpenSSH writes it; None for a kind that sshd does not take."""
    try:
        return openssh_key(key_info)
    except ValueError:
        return None
