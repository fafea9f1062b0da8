"""Certificates: who may have them, what is in the package, and that it opens with the caller's key alone."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Callable
from xml.etree import ElementTree

import pytest
from simulator.conftest import Client, Reply, Simulate

from azurelite.simulator import CertificatesError, Scenario, Simulator, keyring

pytestmark = pytest.mark.thorough

WA = "{http://schemas.microsoft.com/windowsazure}"
URL = "Container/RoleInstanceList/RoleInstance/Configuration/Certificates"
ON = {"vm": {"certificates": True}}
VERSION = {"x-ms-version": "2012-11-30"}
spawns = pytest.mark.spawns


def openssl(*arguments: object, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def body_of(pem: str) -> str:
    return "".join(pem.split("-----")[2].split())


class Caller:
    """A client's transport key and certificate."""

    def __init__(self, folder: Path, *new: str) -> None:
        self.folder, self.key, self.certificate = folder, folder / "key.pem", folder / "cert.pem"
        made = ("-nodes", "-days", "2", "-subj", "/CN=LinuxTransport", "-keyout", self.key, "-out", self.certificate)
        openssl("req", "-x509", "-newkey", *new, *made)
        self.header = {"x-ms-guest-agent-public-x509-cert": body_of(self.certificate.read_text())}

    def headers(self, cipher: str | None = None) -> dict[str, str]:
        named = {} if cipher is None else {"x-ms-cipher-name": cipher}
        return {**VERSION, **self.header, **named}

    def decrypt(self, package: bytes) -> bytes:
        return openssl(
            "cms", "-decrypt", "-inform", "DER", "-inkey", self.key, "-recip", self.certificate, data=package
        )

    def unpack(self, pfx: bytes, *options: str) -> str:
        path = self.folder / "pfx"
        path.write_bytes(pfx)
        return openssl("pkcs12", "-nodes", "-password", "pass:", *options, "-in", path).decode()


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Caller:
    return Caller(tmp_path_factory.mktemp("caller"), "rsa:2048")


def target(client: Client) -> str:
    url = ElementTree.fromstring(client.goal_state().body).findtext(URL, "")
    assert url.startswith(client.sim.url)
    return url[len(client.sim.url) :]


def package_of(reply: Reply) -> tuple[ElementTree.Element, bytes]:
    assert reply.status == 200, reply.text
    root = ElementTree.fromstring(reply.body)
    assert root.tag == "CertificateFile"
    data = root.findtext("Data", "")
    assert max(map(len, data.split())) == 64
    return root, base64.b64decode("".join(data.split()), validate=True)


class TestGoalState:
    @pytest.mark.parametrize("vm", [{}, {"certificates": False}])
    def test_has_none_unless_asked_for(self, simulate: Simulate, vm: dict[str, bool]) -> None:
        client = simulate({"vm": vm})
        assert ElementTree.fromstring(client.goal_state().body).find(URL) is None
        path = f"/machine/{client.sim.vm.container_id}/{client.sim.vm.instance_id}"
        assert client.ask(f"{path}?comp=certificates&incarnation=1", headers=VERSION).status == 404
        assert client.sim.requests[-1].endpoint == "certificates"

    def test_url_is_absolute_and_escaped(self, simulate: Simulate) -> None:
        client = simulate(ON)
        text = client.goal_state().text
        assert re.search(r"<Certificates>http://[^<]*%2D[^<]*%5F[^<]*\?comp=certificates&amp;incarnation=1</", text)
        client.sim.move_incarnation()
        assert target(client).endswith("&incarnation=2")


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"x-ms-version": None}, 400),
            ({"x-ms-version": "2012-11-31"}, 400),
            ({"x-ms-guest-agent-public-x509-cert": None}, 400),
            ({"x-ms-guest-agent-public-x509-cert": ""}, 400),
            ({"x-ms-guest-agent-public-x509-cert": "MIIB MIIB"}, 400),
            ({"x-ms-guest-agent-public-x509-cert": "MII"}, 400),
            ({"x-ms-guest-agent-public-x509-cert": "-----BEGIN CERTIFICATE-----MIIB"}, 400),
            ({"x-ms-cipher-name": "AES256_CBC"}, 400),
            ({"x-ms-cipher-name": "aes128_cbc"}, 400),
            ({"x-ms-cipher-name": ""}, 400),
        ],
    )
    def test_headers(self, simulate: Simulate, changes: dict[str, str | None], status: int) -> None:
        client = simulate(ON)
        headers = {**VERSION, "x-ms-guest-agent-public-x509-cert": "AAAA", **changes}
        reply = client.ask(target(client), headers={name: text for name, text in headers.items() if text is not None})
        assert reply.status == status
        assert ElementTree.fromstring(reply.body).tag == "Error"

    @pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
    def test_other_verbs(self, simulate: Simulate, method: str) -> None:
        client = simulate(ON)
        assert client.ask(target(client), method=method, headers=VERSION).status == 405

    @pytest.mark.parametrize(
        ("old", "new", "status", "code"),
        [
            ("incarnation=1", "incarnation=2", 410, "ResourceNotAvailable"),
            ("&incarnation=1", "", 400, "MissingRequiredQueryParameter"),
            ("7b324f53", "00000000", 410, "InvalidContainerConfiguration"),
            ("thstringnopa2", "someoneelse", 404, "ResourceNotFound"),
        ],
    )
    def test_ids(self, simulate: Simulate, old: str, new: str, status: int, code: str) -> None:
        client = simulate(ON)
        reply = client.ask(target(client).replace(old, new), headers=VERSION)
        assert (reply.status, ElementTree.fromstring(reply.body).findtext("Code")) == (status, code)

    def test_moves_make_a_url_stale(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"certificates": True, "stale_container_status": 400}})
        url = target(client)
        client.sim.move_incarnation()
        assert client.ask(url, headers=VERSION).status == 410
        client.sim.move_container()
        assert client.ask(url, headers=VERSION).status == 400

    @spawns
    @pytest.mark.parametrize("data", [b"\0", b"not a certificate", b"\x30\x03\x02\x01\x01"])
    def test_what_is_no_certificate(self, simulate: Simulate, data: bytes) -> None:
        client = simulate(ON)
        headers = {**VERSION, "x-ms-guest-agent-public-x509-cert": base64.b64encode(data).decode()}
        reply = client.ask(target(client), headers=headers)
        assert reply.status == 400
        assert "not an X.509 certificate" in reply.text

    @pytest.mark.parametrize(
        "path", ["/machine/a?comp=certificates", "/machine/a/b/c?comp=certificates", "/?comp=certificates"]
    )
    def test_near_misses_are_unknown(self, simulate: Simulate, path: str) -> None:
        client = simulate(ON)
        assert client.ask(path, headers=VERSION).status == 404
        assert client.sim.requests[-1].endpoint == "unknown"

    def test_without_openssl(self, simulate: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        client = simulate({"vm": {"certificates": True, "ovf_keys": "fingerprint"}})
        headers = {**VERSION, "x-ms-guest-agent-public-x509-cert": "AAAA"}
        reply = client.ask(target(client), headers=headers)
        assert reply.status == 500
        assert "openssl is not installed" in ElementTree.fromstring(reply.body).findtext("Message", "")
        for ask in (lambda: client.sim.certificates, client.sim.media, lambda: client.sim.assign(hostname="x")):
            with pytest.raises(CertificatesError, match="not installed"):
                ask()
        assert client.sim.vm == client.sim.scenario.vm

    @spawns
    def test_openssl_that_fails(self, simulate: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        program = tmp_path / "openssl"
        program.write_text("#!/bin/sh\necho no luck >&2\nexit 3\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        client = simulate(ON)
        reply = client.ask(target(client), headers={**VERSION, "x-ms-guest-agent-public-x509-cert": "AAAA"})
        assert reply.status == 500
        assert "openssl req failed with exit status 3: no luck" in reply.text


@spawns
class TestPackage:
    @pytest.mark.parametrize("cipher", [None, "AES128_CBC", "DES_EDE3_CBC"])
    @pytest.mark.parametrize(("kinds", "count"), [("rsa", 1), ("ec", 1), ("both", 2)])
    def test_opens_with_the_callers_key(
        self, simulate: Simulate, caller: Caller, cipher: str | None, kinds: str, count: int
    ) -> None:
        client = simulate({"vm": {"certificates": True, "certificate_keys": kinds}})
        root, package = package_of(client.ask(target(client), headers=caller.headers(cipher)))
        assert [root.findtext(name) for name in ("Incarnation", "Format")] == ["1", "Pkcs7BlobWithPfxContents"]
        shown = openssl("cms", "-cmsout", "-print", "-inform", "DER", data=package).decode()
        assert ("des-ede3-cbc" if cipher == "DES_EDE3_CBC" else "aes-128-cbc") in shown

        known = client.sim.certificates
        pem = caller.unpack(caller.decrypt(package))
        certificates = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", pem, re.DOTALL)
        keys = re.findall(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----.+?PRIVATE KEY-----\n", pem, re.DOTALL)
        assert (len(certificates), len(keys), len(known)) == (count, count, count)
        assert certificates == [item.certificate for item in known]
        for certificate, key in zip(certificates, keys):
            told = openssl("x509", "-pubkey", "-noout", data=certificate.encode())
            assert openssl("pkey", "-pubout", data=key.encode()) == told

    def test_pfx_is_whole_in_every_check(self, simulate: Simulate, caller: Caller) -> None:
        client = simulate({"vm": {"certificates": True, "certificate_keys": "both"}})
        pfx = caller.decrypt(package_of(client.ask(target(client), headers=caller.headers()))[1])
        assert caller.unpack(pfx) == caller.unpack(pfx, "-nomacver")
        with pytest.raises(AssertionError, match=r"(?i)mac verify"):
            caller.unpack(pfx[:-40] + bytes([pfx[-40] ^ 1]) + pfx[-39:])

    def test_does_not_open_with_another_key(self, simulate: Simulate, caller: Caller, tmp_path: Path) -> None:
        client = simulate(ON)
        _, package = package_of(client.ask(target(client), headers=caller.headers()))
        with pytest.raises(AssertionError):
            caller.unpack(Caller(tmp_path, "rsa:2048").decrypt(package))

    def test_caller_may_have_an_ec_key(self, simulate: Simulate, tmp_path: Path) -> None:
        client = simulate(ON)
        other = Caller(tmp_path, "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        _, package = package_of(client.ask(target(client), headers=other.headers()))
        assert "PRIVATE KEY" in other.unpack(other.decrypt(package))

    @pytest.mark.parametrize("path", [lambda url: url.replace("%5F", "_"), lambda url: url.replace("%2D", "-")])
    def test_path_may_be_spelt_either_way(self, simulate: Simulate, caller: Caller, path: Callable[[str], str]) -> None:
        client = simulate(ON)
        assert path(target(client)) != target(client)
        assert client.ask(path(target(client)), headers=caller.headers()).status == 200

    @pytest.mark.parametrize(
        ("form", "pfx"), [("Pkcs7BlobWithPfxContents", True), ("CertificatesNonPfxPackage", False), (None, True)]
    )
    def test_format(self, simulate: Simulate, caller: Caller, form: str | None, pfx: bool) -> None:
        client = simulate({"vm": {"certificates": True, "certificate_format": form}})
        root, package = package_of(client.ask(target(client), headers=caller.headers()))
        assert root.findtext("Format") == form
        content = caller.decrypt(package)
        assert (b"BEGIN CERTIFICATE" in content) is not pfx
        assert b"PRIVATE KEY" not in content

    def test_follows_the_incarnation_and_the_container(self, simulate: Simulate, caller: Caller) -> None:
        client = simulate(ON)
        client.sim.move_incarnation()
        client.sim.move_container()
        root, _ = package_of(client.ask(target(client), headers=caller.headers()))
        assert root.findtext("Incarnation") == "2"

    def test_fault(self, simulate: Simulate, caller: Caller) -> None:
        client = simulate({**ON, "faults": [{"endpoint": "certificates", "requests": 1, "status": 503}]})
        statuses = [client.ask(target(client), headers=caller.headers()).status for _ in range(2)]
        assert statuses == [503, 200]


@spawns
class TestKeys:
    def test_are_made_once_and_fresh_each_time(self) -> None:
        one, other = (Simulator(Scenario.from_dict({"vm": {"certificate_keys": "both"}})) for _ in range(2))
        assert one.certificates == one.certificates
        assert not set(one.certificates) & set(other.certificates)

    def test_are_what_they_say(self) -> None:
        rsa, ec = Simulator(Scenario.from_dict({"vm": {"certificate_keys": "both"}})).certificates
        for item in (rsa, ec):
            encoded = base64.b64decode(body_of(item.certificate))
            assert item.thumbprint == hashlib.sha1(encoded).hexdigest().upper()
        kind, blob = rsa.public_key.split(" ")
        modulus = openssl("x509", "-noout", "-modulus", data=rsa.certificate.encode()).strip().split(b"=")[1]
        assert kind == "ssh-rsa"
        assert base64.b64decode(blob) == (b"\0\0\0\7ssh-rsa\0\0\0\3\1\0\1\0\0\1\1\0" + bytes.fromhex(modulus.decode()))
        kind, blob = ec.public_key.split(" ")
        info = openssl("x509", "-noout", "-pubkey", data=ec.certificate.encode()).decode()
        point = base64.b64decode(body_of(info))[-65:]
        assert kind == "ecdsa-sha2-nistp256"
        assert base64.b64decode(blob) == b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x41" + point

    def test_fingerprints_are_in_the_provisioning_document(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"ovf_keys": "fingerprint", "certificate_keys": "both"}})
        root = ElementTree.fromstring(client.sim.ovf())
        told = [element.text for element in root.iter(f"{WA}Fingerprint")]
        assert told == [item.thumbprint for item in client.sim.certificates]
        assert root.find(f".//{WA}Value") is None

    def test_leave_nothing_behind(
        self, simulate: Simulate, caller: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        seen = tmp_path / "seen"
        (tmp_path / "bin").mkdir()
        (tmp_path / "tmp").mkdir()
        program = tmp_path / "bin" / "openssl"
        real = shutil.which("openssl")
        program.write_text(f'#!/bin/sh\nstat -c "%a" . >> {seen}\nexec {real} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        client = simulate(ON)
        package_of(client.ask(target(client), headers=caller.headers()))
        assert set(seen.read_text().split()) == {"700"}
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_say_nothing_of_the_key(self, simulate: Simulate) -> None:
        client = simulate(ON)
        assert "PRIVATE" not in repr(client.sim.certificates)


class TestDer:
    @pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 70_000])
    def test_there_and_back(self, length: int) -> None:
        content = bytes(length)
        assert keyring.elements(keyring.element(4, content) * 2) == [(4, content)] * 2

    @pytest.mark.parametrize("data", [b"\x30", b"\x30\x01", b"\x30\x82\x01\x00", b"\x30\x85\xff\xff\xff\xff\xff"])
    def test_cut_short(self, data: bytes) -> None:
        with pytest.raises(ValueError, match="cut short"):
            keyring.elements(data)
