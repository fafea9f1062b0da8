"""Which of the VM's certificates let somebody in: those that the media names, in its order, and no other."""

from __future__ import annotations

import logging
from typing import Optional

import pytest
from kit import ED25519

from azurelite.datasource.crawl import ssh_keys_from
from azurelite.fabric.certificates import Certificate
from azurelite.metadata import Secret, SshKey

A, B, C, D = (letter * 40 for letter in "ABCD")


def certificate(thumbprint: str, *, usable: bool = True) -> Certificate:
    key = f"{ED25519} {thumbprint}" if usable else None
    return Certificate(thumbprint, "-----BEGIN CERTIFICATE-----\n", key, Secret("canary-91b2"))


def key(thumbprint: str) -> SshKey:
    return SshKey.read(f"{ED25519} {thumbprint}")


CASES: dict[str, tuple[list[str], list[str], tuple[SshKey, ...], Optional[str]]] = {
    "nothing named": ([A, B], [], (), None),
    "nothing there": ([], [A], (), f"Azure sent none with the thumbprint {A}"),
    "nothing at all": ([], [], (), None),
    "only what is named": ([A, B, C], [B], (key(B),), None),
    "in the order of the names": ([A, B, C], [C, A], (key(C), key(A)), None),
    "once": ([A, B], [B, B], (key(B),), None),
    "a package with one twice": ([A, A], [A], (key(A),), None),
    "a missing one takes no other with it": ([A, B], [A, D, B], (key(A), key(B)), f"thumbprint {D}"),
    "a name is matched to the letter": ([A], [A.lower()], (), "Azure sent none with the thumbprint"),
}


@pytest.mark.parametrize("name", CASES)
def test_selection(name: str, caplog: pytest.LogCaptureFixture) -> None:
    there, named, expected, said = CASES[name]
    assert ssh_keys_from([certificate(thumbprint) for thumbprint in there], named) == expected
    assert [record.levelname for record in caplog.records] == ([] if said is None else ["WARNING"])
    assert (said or "") in caplog.text


def test_a_key_that_sshd_does_not_take_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert ssh_keys_from([certificate(A, usable=False), certificate(B)], [A, B]) == (key(B),)
    assert f"the SSH key of {A} is skipped: sshd does not support its type" in caplog.text
    assert "canary" not in caplog.text
