"""The VM's certificates, with the real openssl on both ends: what comes out, what is refused, and nothing stays."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import random
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional, Sequence, Union

import pytest
from kit import FastClock

from azurelite.clock import Deadline
from azurelite.errors import CertificateError, CommandError
from azurelite.fabric.certificates import Certificate, TransportKey, fetch_certificates
from azurelite.fabric.http import HttpClient
from azurelite.keys.openssh import parse_key
from azurelite.metadata import Secret
from azurelite.system.process import Commands

pytestmark = pytest.mark.thorough

AES, DES = "AES128_CBC", "DES_EDE3_CBC"
FETCHING, DECRYPTING = "error fetching certificates", "error decrypting certificates"
KINDS = {
    "rsa": ("rsa:2048",),
    "p256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p384": ("ec", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "p521": ("ec", "-pkeyopt", "ec_paramgen_curve:P-521"),
    "k256": ("ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
    "ed25519": ("ed25519",),
}
TYPES = {
    "rsa": "ssh-rsa",
    "p256": "ecdsa-sha2-nistp256",
    "p384": "ecdsa-sha2-nistp384",
    "p521": "ecdsa-sha2-nistp521",
    "ed25519": "ssh-ed25519",
}
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install openssl")


def openssl(*words: Union[str, Path]) -> bytes:
    argv = ["openssl", *map(str, words)]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout


class Pair:
    """A certificate and its key, as files."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self.certificate, self.key = folder / f"{kind}.crt", folder / f"{kind}.key"
        made = ("-subj", f"/CN={kind}", "-days", "9", "-keyout", self.key, "-out", self.certificate)
        openssl("req", "-x509", "-nodes", "-newkey", *KINDS[kind], *made)
        self.thumbprint = hashlib.sha1(openssl("x509", "-in", self.certificate, "-outform", "DER")).hexdigest().upper()

    def secrets(self) -> list[str]:
        """Lines that may be seen nowhere: the public half is in other lines, behind (EC) or ahead of them (RSA)."""
        lines = [line for line in self.key.read_text().splitlines() if len(line) > 20 and "-" not in line]
        return lines[10:] if self.kind == "rsa" else lines[:1]


class Vault:
    """Pairs and packages, made once for the whole module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pairs: dict[str, Pair] = {}

    def pair(self, kind: str) -> Pair:
        if kind not in self._pairs:
            self._pairs[kind] = Pair(self.folder, kind)
        return self._pairs[kind]

    def pfx(self, kind: str = "p256", *more: str, options: Sequence[str] = (), password: str = "") -> Path:
        """A package with one key, its certificate, and the certificates of other pairs."""
        pair = self.pair(kind)
        others, package = self.folder / "others.pem", self.folder / "package.pfx"
        others.write_text("".join(self.pair(other).certificate.read_text() for other in more))
        chain = ("-certfile", others) if more else ()
        files = ("-in", pair.certificate, "-inkey", pair.key, *chain, "-out", package)
        openssl("pkcs12", "-export", *files, "-passout", f"pass:{password}", *options)
        return package

    def seal(self, content: Path, recipient: Path, cipher: str) -> bytes:
        """The content, for the holder of the recipient's key."""
        option = "-aes128" if cipher == AES else "-des3"
        return openssl("cms", "-encrypt", "-binary", "-outform", "DER", option, "-in", content, recipient)


Answer = Union[bytes, tuple[int, bytes]]


class Host:
    """WireServer's certificates endpoint: `answer` makes a body out of the presented certificate and the cipher."""

    def __init__(self, folder: Path) -> None:
        host = self
        self.answer: Callable[[Path, str], Answer] = lambda *_: b""
        self.headers: list[dict[str, str]] = []
        self._presented = folder / "presented.pem"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.headers.append({name.lower(): value for name, value in self.headers.items()})
                said = host.answer(host.present(), self.headers["x-ms-cipher-name"])
                status, body = said if isinstance(said, tuple) else (200, said)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/machine/1/2?comp=certificates&incarnation=1"

    @property
    def ciphers(self) -> list[str]:
        return [headers["x-ms-cipher-name"] for headers in self.headers]

    def present(self) -> Path:
        """The presented certificate, as a file."""
        body = self.headers[-1]["x-ms-guest-agent-public-x509-cert"]
        self._presented.write_text(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        return self._presented

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def certificate_file(data: Optional[bytes], form: Optional[str] = "Pkcs7BlobWithPfxContents") -> bytes:
    body = "" if data is None else f"<Data>{base64.encodebytes(data).decode()}</Data>"
    kind = "" if form is None else f"<Format>{form}</Format>"
    return (
        '\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<CertificateFile '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\r\n'
        f"<Version>2012-11-30</Version><Incarnation>1</Incarnation>{kind}{body}</CertificateFile>"
    ).encode()


class Watched(Commands):
    """The real programs, watched."""

    def __init__(self, search_path: Optional[str] = None) -> None:
        super().__init__(search_path)
        self.argvs: list[list[str]] = []
        self.modes: set[tuple[str, int]] = set()
        self.before: Callable[[Sequence[str]], None] = lambda _: None

    def run(self, argv: Sequence[str], *, timeout: float, **inputs: Any) -> str:
        self.argvs.append(list(argv))
        self.before(argv)
        try:
            return super().run(argv, timeout=timeout, **inputs)
        finally:
            self._look(argv)

    def _look(self, argv: Sequence[str]) -> None:
        folders = {Path(word).parent for word in argv if word.startswith("/")}
        for path in [*folders, *(file for folder in folders for file in folder.iterdir())]:
            self.modes.add(("folder" if path.is_dir() else path.name, stat.S_IMODE(path.stat().st_mode)))


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return Vault(tmp_path_factory.mktemp("vault"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    started = Host(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where the private folder is made: empty again whatever the test has done."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


class Asker:
    """`fetch_certificates` in one word."""

    def __init__(self, clock: FastClock, scratch: Path, quick_openssl: str) -> None:
        self.clock, self.scratch, self.quick_openssl = clock, scratch, quick_openssl
        self.http = HttpClient(clock)
        self.commands: Commands = Watched(quick_openssl)

    def __call__(self, url: str, *, seconds: float = 60) -> tuple[Certificate, ...]:
        return fetch_certificates(
            self.http,
            url,
            commands=self.commands,
            timeout=10,
            deadline=Deadline(self.clock, seconds),
            scratch=str(self.scratch),
        )


@pytest.fixture
def ask(clock: FastClock, scratch: Path, quick_openssl: str) -> Iterator[Asker]:
    asker = Asker(clock, scratch, quick_openssl)
    yield asker
    asker.http.close()


@pytest.fixture
def quiet(vault: Vault, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[object], None]]:
    """No line of a private key in any log, at any level; call it to look into something else as well."""
    caplog.set_level(logging.DEBUG)

    def check(text: object) -> None:
        said = f"{text}{text!r}"
        assert not [line for pair in vault._pairs.values() for line in pair.secrets() if line in said]
        assert "PRIVATE KEY" not in said

    yield check
    check(caplog.text)


@pytest.mark.spawns
@needs_openssl
@pytest.mark.usefixtures("quiet")
class TestOpened:
    @pytest.mark.parametrize("cipher", [AES, DES])
    @pytest.mark.parametrize("kind", ["rsa", "p256"])
    def test_a_fresh_key_each_time(self, ask: Asker, host: Host, vault: Vault, kind: str, cipher: str) -> None:
        ask.commands = Watched()
        pair, package = vault.pair(kind), vault.pfx(kind)
        host.answer = lambda recipient, asked: (
            certificate_file(vault.seal(package, recipient, cipher)) if asked == cipher else (400, b"no such cipher")
        )
        (found,) = ask(host.url)
        assert found.thumbprint == pair.thumbprint
        assert found.certificate_pem == pair.certificate.read_text()
        assert parse_key(str(found.public_key)).kind == TYPES[kind]
        assert found.private_key_pem == Secret(pair.key.read_text())
        assert host.ciphers == ([AES] if cipher == AES else [AES, DES])

    @pytest.mark.parametrize("kind", TYPES)
    def test_every_kind_of_key_that_openssh_takes(self, ask: Asker, host: Host, vault: Vault, kind: str) -> None:
        """The second opinion is openssl's own: the modulus, or the end of the public key in DER."""
        package, pair = vault.pfx(kind), vault.pair(kind)
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        (found,) = ask(host.url)
        key = parse_key(str(found.public_key))
        assert (found.public_key, key.kind) == (key.line, TYPES[kind])
        number = openssl("pkey", "-in", pair.key, "-pubout", "-outform", "DER")[-32:]
        if kind == "rsa":
            modulus = openssl("x509", "-noout", "-modulus", "-in", pair.certificate).decode().strip()
            number = bytes.fromhex(modulus.rpartition("=")[2])
        assert base64.b64decode(key.blob).endswith(number)
        assert found.private_key_pem == Secret(pair.key.read_text())

    @pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen: install openssh-client")
    @pytest.mark.parametrize("kind", ["rsa", "p256", "p384", "p521"])
    def test_openssh_makes_the_same_text(self, ask: Asker, host: Host, vault: Vault, tmp_path: Path, kind: str) -> None:
        package, public = vault.pfx(kind), tmp_path / "public.pem"
        public.write_bytes(openssl("pkey", "-in", vault.pair(kind).key, "-pubout"))
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        (found,) = ask(host.url)
        argv = ["ssh-keygen", "-i", "-m", "PKCS8", "-f", str(public)]
        text = subprocess.run(argv, capture_output=True, check=True, text=True).stdout
        assert found.public_key == text.strip()

    def test_a_key_that_openssh_does_not_take_has_no_text(self, ask: Asker, host: Host, vault: Vault) -> None:
        package = vault.pfx("k256")
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        (found,) = ask(host.url)
        assert (found.thumbprint, found.public_key) == (vault.pair("k256").thumbprint, None)
        assert found.private_key_pem == Secret(vault.pair("k256").key.read_text())

    def test_a_private_key_goes_with_its_own_certificate(self, ask: Asker, host: Host, vault: Vault) -> None:
        package = vault.pfx("p384", "rsa", "p256")
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        found = {one.thumbprint: one for one in ask(host.url)}
        assert set(found) == {vault.pair(kind).thumbprint for kind in ("p384", "rsa", "p256")}
        assert [one.private_key_pem is not None for one in found.values()].count(True) == 1
        assert found[vault.pair("p384").thumbprint].private_key_pem is not None

    LEGACY = ("-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1")

    @pytest.mark.parametrize(
        "options",
        [("-nomac",), ("-keypbe", "NONE", "-certpbe", "NONE"), ("-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"), LEGACY],
        ids=["no checksum", "not encrypted inside", "3DES and SHA-1 inside", "RC2 inside"],
    )
    def test_every_make_of_package(self, ask: Asker, host: Host, vault: Vault, options: tuple[str, ...]) -> None:
        try:
            package = vault.pfx("p256", options=(*options, "-legacy"))
        except subprocess.CalledProcessError:  # openssl 1 knows no such word, and makes them without
            package = vault.pfx("p256", options=options)
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        assert [one.thumbprint for one in ask(host.url)] == [vault.pair("p256").thumbprint]
        assert host.ciphers == [AES]

    def test_no_format_means_the_usual_one(self, ask: Asker, host: Host, vault: Vault) -> None:
        package = vault.pfx()
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher), form=None)
        assert len(ask(host.url)) == 1

    def test_the_request(self, ask: Asker, host: Host) -> None:
        host.answer = lambda *_: certificate_file(None)
        ask(host.url)
        (sent,) = host.headers
        assert sent["x-ms-version"] == "2012-11-30"
        assert sent["x-ms-agent-name"] == "azurelite"
        assert sent["x-ms-cipher-name"] == AES
        text = openssl("x509", "-noout", "-subject", "-text", "-in", host.present()).decode()
        assert "LinuxTransport" in text
        assert "3072 bit" in text


@pytest.mark.spawns
@needs_openssl
@pytest.mark.usefixtures("quiet")
class TestNothingToOpen:
    @pytest.mark.parametrize(
        "body",
        [
            certificate_file(None),
            certificate_file(b""),
            certificate_file(b"", form=None),
            certificate_file(b"anything", form="CertificatesNonPfxPackage"),
            certificate_file(None, form="a later one"),
            b"<CertificateFile/>",
        ],
    )
    def test_no_certificates_is_no_error(self, ask: Asker, host: Host, body: bytes) -> None:
        host.answer = lambda *_: body
        assert ask(host.url) == ()
        assert host.ciphers == [AES]

    def test_a_foreign_format_is_said(self, ask: Asker, host: Host, caplog: pytest.LogCaptureFixture) -> None:
        host.answer = lambda *_: certificate_file(b"x", form="CertificatesNonPfxPackage")
        ask(host.url)
        assert "unknown format 'CertificatesNonPfxPackage'" in caplog.text

    def test_a_package_without_certificates(self, ask: Asker, host: Host, vault: Vault, tmp_path: Path) -> None:
        """Of the real openssl's making: a key, and no certificate."""
        package = tmp_path / "bare.pfx"
        bare = ("-nocerts", "-inkey", vault.pair("p256").key)
        openssl("pkcs12", "-export", *bare, "-passout", "pass:", "-out", package)
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        assert ask(host.url) == ()


def refused(ask: Asker, host: Host, **options: Any) -> CertificateError:
    with pytest.raises(CertificateError) as caught:
        ask(host.url, **options)
    return caught.value


@pytest.mark.spawns
@needs_openssl
class TestRefused:
    @pytest.fixture(autouse=True)
    def _quiet(self, quiet: Callable[[object], None]) -> None:
        self.quiet = quiet

    def test_a_package_for_somebody_else(self, ask: Asker, host: Host, vault: Vault) -> None:
        package, other = vault.pfx(), vault.pair("rsa").certificate
        host.answer = lambda _, cipher: certificate_file(vault.seal(package, other, cipher))
        error = refused(ask, host)
        assert error.reason == DECRYPTING
        assert "openssl failed" in error.data["exception"]
        assert host.ciphers == [AES, DES]

    def test_a_package_with_a_password(self, ask: Asker, host: Host, vault: Vault) -> None:
        package = vault.pfx(password="not empty")
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        error = refused(ask, host)
        assert error.reason == DECRYPTING
        self.quiet(error)
        self.quiet(error.data)

    def test_something_else_in_the_envelope(self, ask: Asker, host: Host, vault: Vault) -> None:
        content = vault.pair("rsa").key
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(content, recipient, cipher))
        error = refused(ask, host)
        assert error.reason == DECRYPTING
        self.quiet(error)

    @pytest.mark.parametrize("damage", ["cut", "flip", "no envelope", "certificate"])
    def test_a_damaged_envelope(self, ask: Asker, host: Host, vault: Vault, damage: str) -> None:
        package = vault.pfx()

        def answer(recipient: Path, cipher: str) -> bytes:
            whole = vault.seal(package, recipient, cipher)
            flipped = whole[:60] + bytes([whole[60] ^ 255]) + whole[61:]
            certificate = openssl("x509", "-in", recipient, "-outform", "DER")
            damaged = {"cut": whole[:-100], "flip": flipped, "no envelope": b"hello", "certificate": certificate}
            return certificate_file(damaged[damage])

        host.answer = answer
        assert refused(ask, host).reason == DECRYPTING

    @pytest.mark.parametrize(
        "body",
        [
            certificate_file(b"whole").replace(b"</Data>", b"!</Data>"),
            certificate_file(b"cut off").replace(b"=", b""),
            certificate_file(b"whole")[:-30],
            b"",
            b"hello",
            b"<html><body>Not here</body></html>",
            b'<!DOCTYPE a [<!ENTITY x "y">]><CertificateFile>&x;</CertificateFile>',
            b"<CertificateFile><Data>\0</Data></CertificateFile>",
        ],
    )
    def test_an_answer_that_cannot_be_read(self, ask: Asker, host: Host, body: bytes) -> None:
        host.answer = lambda *_: body
        assert refused(ask, host).reason == FETCHING
        assert host.ciphers == [AES, DES]

    def test_a_cipher_that_goes_wrong_is_followed_by_the_other(self, ask: Asker, host: Host, vault: Vault) -> None:
        package = vault.pfx()
        host.answer = lambda recipient, cipher: certificate_file(
            b"broken" if cipher == AES else vault.seal(package, recipient, cipher)
        )
        assert len(ask(host.url)) == 1
        assert host.ciphers == [AES, DES]

    def test_with_no_time_left_the_other_cipher_is_not_asked_for(
        self, ask: Asker, host: Host, clock: FastClock
    ) -> None:
        def answer(*_: Any) -> bytes:
            clock.sleep(100)
            return b"hello"

        host.answer = answer
        assert refused(ask, host).reason == FETCHING
        assert host.ciphers == [AES]

    @pytest.mark.parametrize("status", [400, 401, 410, 501])
    def test_a_final_status_is_asked_once_per_cipher(self, ask: Asker, host: Host, status: int) -> None:
        host.answer = lambda *_: (status, b"")
        error = refused(ask, host)
        assert (error.reason, error.data["http_code"]) == (FETCHING, str(status))
        assert host.ciphers == [AES, DES]

    def test_a_passing_trouble_is_passed_over(self, ask: Asker, host: Host, clock: FastClock) -> None:
        host.answer = lambda *_: (503, b"") if len(host.headers) < 3 else certificate_file(None)
        assert ask(host.url) == ()
        assert clock.slept == [1.0, 1.0]

    def test_trouble_without_end_leaves_half_of_the_time_to_the_other_cipher(self, ask: Asker, host: Host) -> None:
        host.answer = lambda *_: (503, b"")
        assert refused(ask, host, seconds=20).reason == FETCHING
        assert 8 <= host.ciphers.count(AES) <= 11
        assert 8 <= host.ciphers.count(DES) <= 11

    def test_nobody_there(self, ask: Asker, host: Host) -> None:
        host.stop()
        assert refused(ask, host, seconds=5).reason == FETCHING


@pytest.mark.spawns
@needs_openssl
class TestNothingStays:
    """The fixture `scratch` looks, behind every test here, whether the private folder is gone."""

    def test_modes_whatever_the_umask(self, ask: Asker, host: Host, vault: Vault) -> None:
        watched = ask.commands = Watched()
        package = vault.pfx()
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        before = os.umask(0)
        try:
            ask(host.url)
        finally:
            os.umask(before)
        files = ("request.cnf", "key.pem", "certificate.pem", "envelope.der", "package.pfx")
        assert watched.modes == {("folder", 0o700), *((file, 0o600) for file in files)}

    def test_secrets_go_by_no_command_line(
        self, ask: Asker, host: Host, vault: Vault, quiet: Callable[[object], None]
    ) -> None:
        watched = ask.commands = Watched(ask.quick_openssl)
        package = vault.pfx("rsa")
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))
        found = ask(host.url)
        assert found[0].private_key_pem is not None
        quiet(found)
        quiet(watched.argvs)

    @pytest.mark.parametrize("moment", ["req", "cms", "pkcs12", "pkey"])
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
    def test_when_it_is_broken_off(self, ask: Asker, host: Host, vault: Vault, moment: str, kind: Any) -> None:
        watched = ask.commands = Watched(ask.quick_openssl)
        package = vault.pfx()
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))

        def break_off(argv: Sequence[str]) -> None:
            if argv[1] == moment:
                raise kind("enough")

        watched.before = break_off
        with pytest.raises(kind):
            ask(host.url)

    @pytest.mark.parametrize("moment", ["req", "cms", "pkcs12"])
    def test_when_openssl_fails(self, ask: Asker, host: Host, vault: Vault, moment: str) -> None:
        watched = ask.commands = Watched(ask.quick_openssl)
        package = vault.pfx()
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))

        def fail(argv: Sequence[str]) -> None:
            if argv[1] == moment:
                raise CommandError(f"openssl failed with status 1: {argv[-1]}")

        watched.before = fail
        error = refused(ask, host)
        assert error.reason == (FETCHING if moment == "req" else DECRYPTING)
        assert str(ask.scratch) not in str(error)

    @pytest.mark.parametrize("moment", ["req", "cms"])
    def test_when_the_disk_refuses(self, ask: Asker, host: Host, vault: Vault, moment: str) -> None:
        watched = ask.commands = Watched(ask.quick_openssl)
        package = vault.pfx()
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))

        def fail(argv: Sequence[str]) -> None:
            if argv[1] == moment:
                raise OSError(28, "No space left on device")

        watched.before = fail
        error = refused(ask, host)
        assert "No space left on device" in str(error)
        assert error.reason == (FETCHING if moment == "req" else DECRYPTING)

    def test_when_the_time_is_over(self, ask: Asker, host: Host) -> None:
        ask.commands = Commands()
        assert "timed out after" in str(refused(ask, host, seconds=0))
        assert host.headers == []

    def test_when_a_child_of_openssl_hangs(self, ask: Asker, host: Host, shell: Callable[[str], Commands]) -> None:
        ask.commands = shell("sleep 60")
        assert refused(ask, host, seconds=0.3).reason == FETCHING

    def test_when_openssl_says_yes_and_does_nothing(
        self, ask: Asker, host: Host, shell: Callable[[str], Commands]
    ) -> None:
        ask.commands = shell("exit 0")
        assert "no transport certificate" in str(refused(ask, host))

    def test_a_folder_that_cannot_be_removed_is_said(
        self, clock: FastClock, scratch: Path, quick_openssl: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with TransportKey(Watched(quick_openssl), deadline=Deadline(clock, 60), scratch=str(scratch)):
            (folder,) = scratch.iterdir()
            shutil.rmtree(folder)
        assert f"cannot remove {folder}: " in caplog.text
        assert "it contains private keys" in caplog.text

    @pytest.fixture
    def shell(self, tmp_path: Path) -> Callable[[str], Commands]:
        def make(script: str) -> Commands:
            program = tmp_path / "bin" / "openssl"
            program.parent.mkdir()
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            return Commands(str(program.parent))

        return make


@pytest.mark.spawns
@needs_openssl
class TestManyBlocks:
    """`openssl pkcs12 -export` puts one private key into a package; Azure puts in many. So its output is replaced."""

    @pytest.fixture
    def unpacked(self, ask: Asker, host: Host, vault: Vault) -> Callable[[str], tuple[Certificate, ...]]:
        package = vault.pfx()
        host.answer = lambda recipient, cipher: certificate_file(vault.seal(package, recipient, cipher))

        def run(pem: str) -> tuple[Certificate, ...]:
            class Replaced(Watched):
                def run(self, argv: Sequence[str], *, timeout: float, **inputs: Any) -> str:
                    said = super().run(argv, timeout=timeout, **inputs)
                    return pem if argv[1] == "pkcs12" else said

            ask.commands = Replaced(ask.quick_openssl)
            return ask(host.url)

        return run

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_keys_and_certificates_in_any_order(self, unpacked: Any, vault: Vault, end: str) -> None:
        kinds = ["p256", "rsa", "ed25519", "p521", "k256"]
        keys = [vault.pair(kind).key.read_text() for kind in reversed(kinds)]
        certificates = [vault.pair(kind).certificate.read_text() for kind in kinds]
        mixed = [text for both in zip(keys, certificates) for text in both]
        remarks = "Bag Attributes\n    localKeyID: 01 00 \nsubject=CN = x\n\nKey Attributes: <No Attributes>\n"
        found = unpacked(remarks.join(["", *mixed, ""]).replace("\n", end))
        assert [one.thumbprint for one in found] == [vault.pair(kind).thumbprint for kind in kinds]
        assert [one.private_key_pem for one in found] == [Secret(vault.pair(kind).key.read_text()) for kind in kinds]
        assert [one.public_key is not None for one in found] == [True, True, True, True, False]

    @pytest.mark.parametrize("label", ["CERTIFICATE", "PRIVATE KEY"])
    def test_a_block_that_cannot_be_read_takes_no_other_with_it(
        self, unpacked: Any, vault: Vault, caplog: pytest.LogCaptureFixture, label: str
    ) -> None:
        good = vault.pair("p256")
        bad = f"-----BEGIN {label}-----\nMAMCAQE=\n-----END {label}-----\n"
        found = unpacked(f"{bad}{good.certificate.read_text()}{bad}{good.key.read_text()}{bad}")
        assert [(one.thumbprint, bool(one.private_key_pem)) for one in found] == [(good.thumbprint, True)]
        assert "is skipped: " in caplog.text

    @pytest.mark.parametrize(
        "noise",
        [
            "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n" + "A" * 76 + "\n",
            "-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n" + ("A" * 76 + "\n") * 1000 + "-----END CERTIFICATE-----\n",
            "-----BEGIN " * 1000 + "\n",
        ],
        ids=["no base64", "empty", "without an end", "without a beginning", "huge", "words"],
    )
    def test_noise_between_the_blocks(self, unpacked: Any, vault: Vault, noise: str) -> None:
        good = vault.pair("p256")
        found = unpacked(noise + good.certificate.read_text() + noise)
        assert [one.thumbprint for one in found] == [good.thumbprint]

    def test_damaged_certificates_never_end_in_another_error(self, unpacked: Any, vault: Vault) -> None:
        chance = random.Random(7)
        blocks = []
        for kind in ("rsa", "p256", "ed25519"):
            der = openssl("x509", "-in", vault.pair(kind).certificate, "-outform", "DER")
            for _ in range(700):
                damaged = bytearray(der[: chance.choice([len(der), chance.randrange(1, len(der))])])
                for _ in range(chance.randrange(1, 5)):
                    damaged[chance.randrange(len(damaged))] = chance.choice([0, 0x30, 0x80, 0x84, 0xFF, 1])
                blocks.append(base64.encodebytes(damaged).decode())
        good = vault.pair("p256")
        pem = "".join(f"-----BEGIN CERTIFICATE-----\n{block}-----END CERTIFICATE-----\n" for block in blocks)
        found = unpacked(pem + good.certificate.read_text())
        assert found[-1].thumbprint == good.thumbprint
        for one in found:
            assert one.public_key is None or parse_key(one.public_key).line == one.public_key


class NoOpenssl(Commands):
    """A machine without it; nothing may be run."""

    def find(self, name: str) -> Optional[str]:
        return None

    def run(self, *_: object, **__: object) -> str:
        raise AssertionError("nothing is to be run")


def test_without_openssl_the_remedy_is_named(ask: Asker, host: Host) -> None:
    ask.commands = NoOpenssl()
    error = refused(ask, host)
    assert error.reason == "openssl is not installed"
    assert str(error).startswith("openssl is not installed: install it in the image")
    assert host.headers == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "certificates",
        "/machine?comp=certificates",
        "https://127.0.0.1/x",
        "file:///etc/shadow",
        "http://",
        "http:///x",
        "http://[::1/x",
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:0/x",
        "http://127.0.0.1:x/x",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nHost: b",
        "http://127.0.0.1/ä",
        "http://127.0.0.1/\x7f",
    ],
)
def test_a_strange_address_is_refused_before_anything_is_done(ask: Asker, url: str) -> None:
    ask.commands = NoOpenssl()
    with pytest.raises(CertificateError) as caught:
        ask(url)
    assert caught.value.reason == FETCHING


@needs_openssl
def test_without_a_folder_for_the_key_nothing_is_asked(ask: Asker, host: Host) -> None:
    ask.scratch = ask.scratch / "missing"
    assert "cannot store the transport key" in str(refused(ask, host))
    assert host.headers == []
