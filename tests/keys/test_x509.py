"""Certificates and keys in PEM: what comes out is what ssh-keygen makes of the same key."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from azurelite.keys.openssh import PublicKey, parse_key
from azurelite.keys.x509 import convert
from azurelite.metadata import SshKey

TOOLS = pytest.mark.skipif(
    shutil.which("openssl") is None or shutil.which("ssh-keygen") is None, reason="needs openssl and ssh-keygen"
)
KEYS = {
    "rsa-2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "rsa-3072-e3": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-pkeyopt", "rsa_keygen_pubexp:3"],
    "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "p521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "ed25519": ["-algorithm", "ED25519"],
}
OTHERS = {
    "secp256k1": (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "its elliptic curve"),
    "explicit": (
        ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
        "its elliptic curve has custom parameters",
    ),
    "ed448": (["-algorithm", "ED448"], "does not support its type of key"),
    "rsa-pss": (["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], "does not support its type of key"),
}
# By `openssl x509 -req` of OpenSSL 3.0; newer ones make version 3 of everything.
VERSION_1 = """-----BEGIN CERTIFICATE-----
MIIBGDCBvwIUF2kDarOhe62FVPdftIaHR5aWttIwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyMzA2MzA1NloYDzIxMjYxMDMwMDYzMDU2WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASvgqhNt1zkiFEy
c0oRcf0h67pAIfy6ek69dRH7vumtRcgUnFZFDAbBwitNIYOE96kXYVuSEQEJaRsi
LT2/R2BKMAoGCCqGSM49BAMCA0gAMEUCIQD0pq4YkX2exSpeA4NBdMIUKFoL/0lh
j7WvNIBEe+1a+gIgVWFjUkuDFmbJwQuhFJkK3xKEx7SDpQfGCW5lodTicAw=
-----END CERTIFICATE-----
"""
SUBJECTS = ["/CN=vm", "/C=DE/O=" + "x" * 60 + "/OU=ü/CN=" + "y" * 60]


def run(*words: object, given: str = "") -> str:
    done = subprocess.run([str(word) for word in words], input=given, capture_output=True, text=True, check=True)
    return done.stdout


def make(folder: Path, options: list[str]) -> Path:
    """A private key."""
    path = folder / "key.pem"
    run("openssl", "genpkey", *options, "-out", path)
    return path


def certificate(key: Path, *options: str, subject: str = "/CN=vm") -> str:
    return run("openssl", "req", "-x509", "-key", key, "-subj", subject, "-utf8", "-days", "2", *options)


def openssh(key: Path) -> str:
    """The public key by OpenSSH's own reckoning, from the public key in PEM; it reads no ed25519 there."""
    public = key.parent / "public.pem"
    public.write_text(run("openssl", "pkey", "-in", key, "-pubout"))
    return " ".join(run("ssh-keygen", "-i", "-m", "PKCS8", "-f", public).split()[:2])


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "one line": lambda text: " ".join(text.split()),
    "indented": lambda text: "\n  " + text.replace("\n", "\n  "),
    "twice": lambda text: text + text.replace("A", "B"),
    "text behind": lambda text: text + "comment\n",
}


@pytest.mark.spawns
@TOOLS
@pytest.mark.parametrize("name", KEYS)
def test_what_comes_out_is_what_ssh_keygen_makes_of_it(tmp_path: Path, name: str) -> None:
    key = make(tmp_path, KEYS[name])
    if name == "ed25519":  # which `ssh-keygen -i` does not read: the last 32 bytes are the key, by RFC 8410
        public = run("openssl", "pkey", "-in", key, "-pubout").split("-----")[2]
        data = base64.b64decode(public)[-32:]
        blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + data
        expected = f"ssh-ed25519 {base64.b64encode(blob).decode()}"
        (tmp_path / "check.pub").write_text(expected)
        assert "(ED25519)" in run("ssh-keygen", "-l", "-f", tmp_path / "check.pub")
    else:
        expected = openssh(key)
    texts = [run("openssl", "pkey", "-in", key, "-pubout")]
    texts += [certificate(key, subject=subject) for subject in SUBJECTS]
    texts.append(run("openssl", "x509", "-trustout", "-addtrust", "serverAuth", given=texts[1]))
    if name.startswith("rsa"):
        texts.append(run("openssl", "rsa", "-in", key, "-RSAPublicKey_out"))
    for text in texts:
        for form, mangle in FORMS.items():
            assert parse_key(mangle(text)).line == expected, (text[:30], form)
            assert SshKey.read(mangle(text)).key_data == expected
    assert parse_key(expected).line == expected


@pytest.mark.spawns
@TOOLS
def test_a_certificate_of_version_1_is_read_too(tmp_path: Path) -> None:
    assert "Version: 1" in run("openssl", "x509", "-noout", "-text", given=VERSION_1)
    public = tmp_path / "public.pem"
    public.write_text(run("openssl", "x509", "-noout", "-pubkey", given=VERSION_1))
    expected = run("ssh-keygen", "-i", "-m", "PKCS8", "-f", public).split()[:2]
    assert parse_key(VERSION_1).line == " ".join(expected)


@pytest.mark.spawns
@TOOLS
@pytest.mark.parametrize("name", OTHERS)
def test_keys_that_sshd_has_no_kind_for_are_named(tmp_path: Path, name: str) -> None:
    options, why = OTHERS[name]
    key = make(tmp_path, options)
    for text in (run("openssl", "pkey", "-in", key, "-pubout"), certificate(key)):
        with pytest.raises(ValueError, match=why):
            parse_key(text)


@pytest.mark.spawns
@TOOLS
@pytest.mark.parametrize("kind", ["rsa", "ed25519", "ecdsa"])
def test_rfc_4716_gives_the_key_and_its_comment(tmp_path: Path, kind: str) -> None:
    run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "me@host", "-f", tmp_path / "key")
    text = run("ssh-keygen", "-e", "-m", "RFC4716", "-f", tmp_path / "key.pub")
    expected = parse_key((tmp_path / "key.pub").read_text())
    for form in (text, " ".join(text.split()), text.replace("\n", "\r\n")):
        found = parse_key(form)
        assert (found.kind, found.blob) == (expected.kind, expected.blob)
        assert "converted by" in found.comment
    folded = text.replace("Comment:", "X-long: aaaa\\\nbbbb\nComment:")
    assert parse_key(folded).blob == expected.blob


@pytest.mark.spawns
@TOOLS
def test_private_keys_are_refused_by_their_name_and_not_repeated(tmp_path: Path) -> None:
    key = make(tmp_path, KEYS["p256"])
    text = key.read_text()
    for given in (text, text.replace("\n", " "), text[:60], text.replace("PRIVATE", "ENCRYPTED PRIVATE")):
        with pytest.raises(ValueError, match="it is a PRIVATE key") as caught:
            parse_key(given)
        assert text.split("\n")[1][:20] not in str(caught.value)


def pem(data: bytes, label: str = "CERTIFICATE") -> str:
    return f"-----BEGIN {label}-----\n{base64.b64encode(data).decode()}\n-----END {label}-----\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-----BEGIN CERTIFICATE-----", "damaged or cut off"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END PUBLIC KEY-----", "damaged or cut off"),
        ("-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----", "damaged or cut off"),
        ("-----BEGIN CERTIFICATE-----\nA!AA\n-----END CERTIFICATE-----", "damaged or cut off"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "neither a certificate nor"),
        (pem(b""), "ASN.1"),
        (pem(b"\x30"), "ASN.1"),
        (pem(b"\x30\x80\x00\x00"), "ASN.1"),
        (pem(b"\x30\x85\x01\x01\x01\x01\x01"), "ASN.1"),
        (pem(b"\x30\x84\xff\xff\xff\xff"), "ASN.1"),
        (pem(b"\x30\x82\x01"), "ASN.1"),
        (pem(b"\x31\x00"), "ASN.1"),
        (pem(b"\x30\x02\x30\x00"), "ASN.1"),
        (pem(b"\x30\x06\x02\x01\x00\x02\x01\x03", "RSA PUBLIC KEY"), "ASN.1"),
        (pem(b"\x30\x06\x02\x01\x80\x02\x01\x03", "RSA PUBLIC KEY"), "ASN.1"),
        (pem(b"\x30\x04\x02\x00\x02\x00", "RSA PUBLIC KEY"), "ASN.1"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nComment: x\n---- END SSH2 PUBLIC KEY ----", "damaged or cut off"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAAx!\n---- END SSH2 PUBLIC KEY ----", "damaged or cut off"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "does not begin with the type"),
    ],
)
def test_damage_is_named_and_nothing_else_comes_of_it(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        parse_key(text)


@pytest.mark.spawns
@TOOLS
def test_no_cut_and_no_flipped_byte_makes_another_error_than_valueerror(tmp_path: Path) -> None:
    key = make(tmp_path, KEYS["p256"])
    data = base64.b64decode(certificate(key).split("-----")[2])
    for at in range(len(data)):
        for bad in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :], data[:at] + data[at + 1 :]):
            try:
                text = convert(pem(bad))
            except ValueError:
                continue
            assert isinstance(parse_key(text), PublicKey)  # the damage was outside of the key, or inside its numbers
