"""SSH keys as platforms hand them over: repaired where that is safe, refused with a reason where it is not."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from azurelite.handlers.support.checks import login_keys
from azurelite.keys.openssh import PublicKey, authorized_lines, opening, parse_key
from azurelite.metadata import SshKey

# The public halves of real keys, made by `ssh-keygen`, and their certificates, made by `ssh-keygen -s`; those of
# hardware keys (sk-) hold the same numbers, for `ssh-keygen` makes them only where such hardware is.
KEYS = {
    "ssh-ed25519": "AAAAC3NzaC1lZDI1NTE5AAAAIHnOAKqpQif9VKLanNefLKickKRBGTWqzQxM4hYsHa6v",
    "ssh-ed25519-cert-v01@openssh.com": (
        "AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIBgL7naAR5L+H1ArTOYzd8C8MWNOH6qiBoj2NDSaaIneAAAAIHnO"
        "AKqpQif9VKLanNefLKickKRBGTWqzQxM4hYsHa6vAAAAAAAAAAAAAAABAAAAAmlkAAAADQAAAAlhenVyZXVzZXIAAAAAAAAAAP//////"
        "////AAAAAAAAAIIAAAAVcGVybWl0LVgxMS1mb3J3YXJkaW5nAAAAAAAAABdwZXJtaXQtYWdlbnQtZm9yd2FyZGluZwAAAAAAAAAWcGVy"
        "bWl0LXBvcnQtZm9yd2FyZGluZwAAAAAAAAAKcGVybWl0LXB0eQAAAAAAAAAOcGVybWl0LXVzZXItcmMAAAAAAAAAAAAAADMAAAALc3No"
        "LWVkMjU1MTkAAAAgHV235MdrW2q/ttsgtIVVc4WE3m0+nyQ0OjT/Lajoeq4AAABTAAAAC3NzaC1lZDI1NTE5AAAAQNUKGrakFCAUVNoT"
        "HpiRZjw13qRgSlRRZlsXVr2HgG5ih36UPpmCf36J2yTf/OEQfCld1YFKYX8nXQPD38Xq2gM="
    ),
    "ssh-rsa": (
        "AAAAB3NzaC1yc2EAAAADAQABAAABAQChDnVwyg4+SKNxBDC/iOnwqGrellkFihBiRlIn+K39tIETOEVsd1LnhwPbW5+r575flDEdii0z"
        "pVq1PKfsOMlPKmTt/WPekpO8nBYBkW8v+VPRd1liB0QCb3Wj+TdGulAoadDCpIkx4sA8+FY9yApLKiP2GpMKg0vxE5O6dMXULKhpDVzk"
        "yG3GCkws3F0w2E+IKjMywZNIR52z6sdQt8wlKamzZt/wkwlk1d4ehkncARfmKOns1S2FufiEsvDI8Qwfw0+n65jKGXPzLl1/AR57ckO1"
        "Rd2zYzL553C4H9rwjNB8GWb24gg/4k0Yz1xJkJkhoXZI3SLHl+JMPyScuWlt"
    ),
    "ssh-rsa-cert-v01@openssh.com": (
        "AAAAHHNzaC1yc2EtY2VydC12MDFAb3BlbnNzaC5jb20AAAAgCFKT1aWsY4fNec/FQBgZD+IHsdGIJzCWautSGFUUn14AAAADAQABAAAB"
        "AQChDnVwyg4+SKNxBDC/iOnwqGrellkFihBiRlIn+K39tIETOEVsd1LnhwPbW5+r575flDEdii0zpVq1PKfsOMlPKmTt/WPekpO8nBYB"
        "kW8v+VPRd1liB0QCb3Wj+TdGulAoadDCpIkx4sA8+FY9yApLKiP2GpMKg0vxE5O6dMXULKhpDVzkyG3GCkws3F0w2E+IKjMywZNIR52z"
        "6sdQt8wlKamzZt/wkwlk1d4ehkncARfmKOns1S2FufiEsvDI8Qwfw0+n65jKGXPzLl1/AR57ckO1Rd2zYzL553C4H9rwjNB8GWb24gg/"
        "4k0Yz1xJkJkhoXZI3SLHl+JMPyScuWltAAAAAAAAAAAAAAABAAAAAmlkAAAADQAAAAlhenVyZXVzZXIAAAAAAAAAAP//////////AAAA"
        "AAAAAIIAAAAVcGVybWl0LVgxMS1mb3J3YXJkaW5nAAAAAAAAABdwZXJtaXQtYWdlbnQtZm9yd2FyZGluZwAAAAAAAAAWcGVybWl0LXBv"
        "cnQtZm9yd2FyZGluZwAAAAAAAAAKcGVybWl0LXB0eQAAAAAAAAAOcGVybWl0LXVzZXItcmMAAAAAAAAAAAAAADMAAAALc3NoLWVkMjU1"
        "MTkAAAAgHV235MdrW2q/ttsgtIVVc4WE3m0+nyQ0OjT/Lajoeq4AAABTAAAAC3NzaC1lZDI1NTE5AAAAQFCLqxbXiTh/b3HGUabNjw0I"
        "VHgGlMwZElG2LBvEgnSjdksLfSsbt5WGNC++ph0L/YvETHbcA+YKi8RpCSxADgc="
    ),
    "ecdsa-sha2-nistp256": (
        "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDCmb8xyoiG4YUEKLM5+2ujI1XQbBKWjZR/ECJC7Gh5oy8W6h0VX"
        "88YOrbIsOy1szmZ1bk/g3l4cU8FLSokepoE="
    ),
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": (
        "AAAAKGVjZHNhLXNoYTItbmlzdHAyNTYtY2VydC12MDFAb3BlbnNzaC5jb20AAAAgHSzJSb+9PWxqrxiNYHLCvTQ4SycacmvT4iNrhs0v"
        "co0AAAAIbmlzdHAyNTYAAABBBDCmb8xyoiG4YUEKLM5+2ujI1XQbBKWjZR/ECJC7Gh5oy8W6h0VX88YOrbIsOy1szmZ1bk/g3l4cU8FL"
        "SokepoEAAAAAAAAAAAAAAAEAAAACaWQAAAANAAAACWF6dXJldXNlcgAAAAAAAAAA//////////8AAAAAAAAAggAAABVwZXJtaXQtWDEx"
        "LWZvcndhcmRpbmcAAAAAAAAAF3Blcm1pdC1hZ2VudC1mb3J3YXJkaW5nAAAAAAAAABZwZXJtaXQtcG9ydC1mb3J3YXJkaW5nAAAAAAAA"
        "AApwZXJtaXQtcHR5AAAAAAAAAA5wZXJtaXQtdXNlci1yYwAAAAAAAAAAAAAAMwAAAAtzc2gtZWQyNTUxOQAAACAdXbfkx2tbar+22yC0"
        "hVVzhYTebT6fJDQ6NP8tqOh6rgAAAFMAAAALc3NoLWVkMjU1MTkAAABAlewaEuM50rauyyLxSyOI0B424IJKbHpCUAEftCLUPvq/087m"
        "OIWszRKX/uocPfiZMynyZ1qg/X9nb+Txyrk+BA=="
    ),
    "ecdsa-sha2-nistp384": (
        "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBEN6SsJnTkYaekshpOBwlJnemPdNTrYYAUYa7GCtzBIt/z21r5dU"
        "d3AAzexBqig5AQ1YR2RwsnxnYneNolXsg4Dieg+s44Z5WBulPJOwg3tC04qszScguIaX+s4QpeO8hw=="
    ),
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": (
        "AAAAKGVjZHNhLXNoYTItbmlzdHAzODQtY2VydC12MDFAb3BlbnNzaC5jb20AAAAgc905qpM3dRAio3BOLiF6EgQHqfGFhrHPQu/B9+bg"
        "xE8AAAAIbmlzdHAzODQAAABhBEN6SsJnTkYaekshpOBwlJnemPdNTrYYAUYa7GCtzBIt/z21r5dUd3AAzexBqig5AQ1YR2RwsnxnYneN"
        "olXsg4Dieg+s44Z5WBulPJOwg3tC04qszScguIaX+s4QpeO8hwAAAAAAAAAAAAAAAQAAAAJpZAAAAA0AAAAJYXp1cmV1c2VyAAAAAAAA"
        "AAD//////////wAAAAAAAACCAAAAFXBlcm1pdC1YMTEtZm9yd2FyZGluZwAAAAAAAAAXcGVybWl0LWFnZW50LWZvcndhcmRpbmcAAAAA"
        "AAAAFnBlcm1pdC1wb3J0LWZvcndhcmRpbmcAAAAAAAAACnBlcm1pdC1wdHkAAAAAAAAADnBlcm1pdC11c2VyLXJjAAAAAAAAAAAAAAAz"
        "AAAAC3NzaC1lZDI1NTE5AAAAIB1dt+THa1tqv7bbILSFVXOFhN5tPp8kNDo0/y2o6HquAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEBtDc4t"
        "WxdLoX6MVtn4qFfUdBLJ29sXrWmK1wXEw3fbTFJfaJS7sasrL9WkjONiIyvgmCaxZiLxho4JXRxq0pQP"
    ),
    "ecdsa-sha2-nistp521": (
        "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAFFpkPsh1B6IS+wZx+dXUaapyCEKwOycQjslvwxEXqlZX/FmsRH"
        "+1+Mpm4GSbb0olH2USPnTbVCSVhpL/Woc1NuYwFriYsbjGOjqRFGU1YyNTMX0GRsTl4u3FBncXyTkPLtS+zkuFw9hPp/fF8bsHt0jo6k"
        "d5UhULOn9n8jKT8fJrIIuQ=="
    ),
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": (
        "AAAAKGVjZHNhLXNoYTItbmlzdHA1MjEtY2VydC12MDFAb3BlbnNzaC5jb20AAAAg2PwOrKbUF7lODix/4GD1t28w0AGcTjjxLSAldwWj"
        "uNMAAAAIbmlzdHA1MjEAAACFBAFFpkPsh1B6IS+wZx+dXUaapyCEKwOycQjslvwxEXqlZX/FmsRH+1+Mpm4GSbb0olH2USPnTbVCSVhp"
        "L/Woc1NuYwFriYsbjGOjqRFGU1YyNTMX0GRsTl4u3FBncXyTkPLtS+zkuFw9hPp/fF8bsHt0jo6kd5UhULOn9n8jKT8fJrIIuQAAAAAA"
        "AAAAAAAAAQAAAAJpZAAAAA0AAAAJYXp1cmV1c2VyAAAAAAAAAAD//////////wAAAAAAAACCAAAAFXBlcm1pdC1YMTEtZm9yd2FyZGlu"
        "ZwAAAAAAAAAXcGVybWl0LWFnZW50LWZvcndhcmRpbmcAAAAAAAAAFnBlcm1pdC1wb3J0LWZvcndhcmRpbmcAAAAAAAAACnBlcm1pdC1w"
        "dHkAAAAAAAAADnBlcm1pdC11c2VyLXJjAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIB1dt+THa1tqv7bbILSFVXOFhN5tPp8k"
        "NDo0/y2o6HquAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEA3I4jGVGAS4oL4A/CVpAl/pBt9u62Vuhs/r85py/dHZlww5z+xIBtmtJPxh10c"
        "wT5uec0awHTW7SLP1oGm2+IN"
    ),
    "sk-ssh-ed25519@openssh.com": (
        "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIHnOAKqpQif9VKLanNefLKickKRBGTWqzQxM4hYsHa6vAAAABHNzaDo="
    ),
    "sk-ssh-ed25519-cert-v01@openssh.com": (
        "AAAAI3NrLXNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIJLsrfFix84IvaPuHJGcX5R3KoSKrXvBg9pz04p0HfQsAAAA"
        "IHnOAKqpQif9VKLanNefLKickKRBGTWqzQxM4hYsHa6vAAAABHNzaDoAAAAAAAAAAAAAAAEAAAACaWQAAAANAAAACWF6dXJldXNlcgAA"
        "AAAAAAAA//////////8AAAAAAAAAggAAABVwZXJtaXQtWDExLWZvcndhcmRpbmcAAAAAAAAAF3Blcm1pdC1hZ2VudC1mb3J3YXJkaW5n"
        "AAAAAAAAABZwZXJtaXQtcG9ydC1mb3J3YXJkaW5nAAAAAAAAAApwZXJtaXQtcHR5AAAAAAAAAA5wZXJtaXQtdXNlci1yYwAAAAAAAAAA"
        "AAAAMwAAAAtzc2gtZWQyNTUxOQAAACAdXbfkx2tbar+22yC0hVVzhYTebT6fJDQ6NP8tqOh6rgAAAFMAAAALc3NoLWVkMjU1MTkAAABA"
        "LblD9PBDbcHpNquN5T1q1QX/rF46bYEqNRVDa22C+RD6cNxiuZu661nY0hega/gtwEvlIbaUUJ+5tWEutFN9Dw=="
    ),
    "sk-ecdsa-sha2-nistp256@openssh.com": (
        "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBDCmb8xyoiG4YUEKLM5+2ujI1XQbBKWj"
        "ZR/ECJC7Gh5oy8W6h0VX88YOrbIsOy1szmZ1bk/g3l4cU8FLSokepoEAAAAEc3NoOg=="
    ),
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": (
        "AAAAK3NrLWVjZHNhLXNoYTItbmlzdHAyNTYtY2VydC12MDFAb3BlbnNzaC5jb20AAAAgkxMktV8Q9UypTSy5I5AcGxy/1EZ7TJQXTKFD"
        "wYFa6FgAAAAIbmlzdHAyNTYAAABBBDCmb8xyoiG4YUEKLM5+2ujI1XQbBKWjZR/ECJC7Gh5oy8W6h0VX88YOrbIsOy1szmZ1bk/g3l4c"
        "U8FLSokepoEAAAAEc3NoOgAAAAAAAAAAAAAAAQAAAAJpZAAAAA0AAAAJYXp1cmV1c2VyAAAAAAAAAAD//////////wAAAAAAAACCAAAA"
        "FXBlcm1pdC1YMTEtZm9yd2FyZGluZwAAAAAAAAAXcGVybWl0LWFnZW50LWZvcndhcmRpbmcAAAAAAAAAFnBlcm1pdC1wb3J0LWZvcndh"
        "cmRpbmcAAAAAAAAACnBlcm1pdC1wdHkAAAAAAAAADnBlcm1pdC11c2VyLXJjAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIB1d"
        "t+THa1tqv7bbILSFVXOFhN5tPp8kNDo0/y2o6HquAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEDuHu0q/1AVI2RZo5NnTNVOiYgY1OikNocj"
        "GJNl6qerq+fCgBKUBD74QVVK1/X8oQRRWpIsFIWsL+puffCIh9QN"
    ),
}
DSA = (
    "ssh-dss "
    "AAAAB3NzaC1kc3MAAACBANpMhFx5wjkbDSIfdAfgbwiPyIpTHaGjbSFZSp0CEroS0mCWUc7VKMDCySoU7gerMshX/y/APeTunSX9eWEl"
    "EaEfcKdbt6zMTInjEfetIC4As45ro7cCCpcowudMGpz/CecWV4wDbE6dJi1L0udMyjCHScren00HaIjv/RnQVQF3AAAAFQCa56EenbYO"
    "yo2DbBk2FO26qQYGuwAAAIAFLev0TgmKSLEhb9ioaCuJe2XrEqb3Uit91EKT2VbKYBdQqgvw8wtKclXARFT8qPWzGSOuNoNLm63w9bvL"
    "NPgchIjYZlDqmv/00co+DFkxDZIzmc7EbLfNUnaNcVLvkDFd7uHb5Fdv/dOh8Xlt+lma0jQpShPQQzAHyG5PJ71UJAAAAIBQVelHOsyH"
    "tw6kDTSfn3l2wbW6vkqMyTBAx0AOynAe4TZQ2muGrTg1oh6h6z45rig5fFZ/FFuLLAsgXDNYIMKs/ly9YXIkOiV8Sy5OivnNJv5avm5T"
    "QPvXdps3QRqgOJYnWKYZDc1dQKPV6czfl/lWDSU4NNnmZXGVqs9tyuJZlg=="
)
COMMENT = "user@host"


def packed(kind: str, *fields: bytes) -> str:
    """A key of any fields, as RFC 4253 lays them out."""
    data = b"".join(len(field).to_bytes(4, "big") + field for field in (kind.encode(), *fields))
    return base64.b64encode(data).decode()


def every(width: int, separator: str) -> Callable[[str], str]:
    """Break text every so many characters."""
    return lambda text: separator.join(text[i : i + width] for i in range(0, len(text), width))


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize(
    ("mangle", "end"),
    [
        (str, ""),
        (str, "\n"),
        (str, "\r\n"),
        (every(64, "\r\n"), ""),
        (every(64, "\r\n"), "\r\n"),
        (every(64, "\n"), "\n"),
        (every(40, " "), ""),
        (every(1, "\t"), ""),
        (every(70, "\r\n "), ""),
        (every(64, "\u2028"), ""),
    ],
    ids=["whole", "lf", "crlf", "crlf-64", "crlf-64-end", "lf-64", "blanks", "tabs", "crlf-blank", "u2028"],
)
def test_a_key_is_put_together_again(kind: str, mangle: Callable[[str], str], end: str) -> None:
    given = f"{kind} {mangle(KEYS[kind])} {COMMENT}{end}"
    assert parse_key(given) == PublicKey(kind, KEYS[kind], COMMENT)
    assert parse_key(given).line == f"{kind} {KEYS[kind]} {COMMENT}"


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_needs_no_comment(kind: str) -> None:
    assert parse_key(f"{kind} {KEYS[kind]}").line == f"{kind} {KEYS[kind]}"


@pytest.mark.parametrize(
    ("given", "comment"),
    [
        ("user@host", "user@host"),
        ("two words", "two words"),
        ("  many   blanks  ", "many blanks"),
        ("user@host\r\n", "user@host"),
        ("first\r\nssh-rsa AAAA second", "first ssh-rsa AAAA second"),
        ("first\nsecond", "first second"),
        ("first\x0bsecond\x0cthird\x85fourth\u2028fifth\u2029sixth", "first second third fourth fifth sixth"),
        ("bell\x07 and \x1b[31mred\x1b[0m", "bell and [31mred[0m"),
        ("nul\x00here", "nulhere"),
        ("Jörg", "Jörg"),
        ("right\u202eleft", "rightleft"),
        ("== AAAA", "== AAAA"),
        ("# hash", "# hash"),
    ],
)
def test_a_comment_becomes_printable_and_one_line(given: str, comment: str) -> None:
    key = parse_key(f"ssh-ed25519 {KEYS['ssh-ed25519']} {given}")
    assert key.comment == comment
    assert len(key.line.splitlines()) == 1


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 8, 30])
def test_a_key_that_is_cut_off_is_refused_without_being_repeated(kind: str, cut: int) -> None:
    with pytest.raises(ValueError, match="damaged or cut off") as caught:
        parse_key(f"{kind} {KEYS[kind][:-cut]} {COMMENT}")
    assert KEYS[kind][20:40] not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "does not begin with the type"),
        ("  \r\n ", "does not begin with the type"),
        ("ssh-ed25519", "damaged or cut off"),
        ("ssh-ed25519 ", "damaged or cut off"),
        ("ssh-ed25519 user@host", "damaged or cut off"),
        (f"ssh-rsa {KEYS['ssh-ed25519']}", "damaged or cut off"),
        (f"ssh-ed25519-cert-v01@openssh.com {KEYS['ssh-ed25519']}", "damaged or cut off"),
        (f"{KEYS['ssh-ed25519']}", "does not begin with the type"),
        (f"SSH-ED25519 {KEYS['ssh-ed25519']}", "does not begin with the type"),
        (f"no-pty ssh-ed25519 {KEYS['ssh-ed25519']}", "options before a key are accepted only from"),
        (f'command="id" ssh-ed25519 {KEYS["ssh-ed25519"]}', "options before a key are accepted only from"),
        (f"# ssh-ed25519 {KEYS['ssh-ed25519']}", "does not begin with the type"),
        (f"ssh-ed25519 {KEYS['ssh-ed25519']}AAAA", "damaged or cut off"),
        (f"ssh-ed25519 =={KEYS['ssh-ed25519']}", "damaged or cut off"),
        (f"ssh-ed25519 {KEYS['ssh-ed25519'][:30]}!{KEYS['ssh-ed25519'][31:]}", "damaged or cut off"),
        (f"ssh-ed25519 {KEYS['ssh-ed25519'][:30]}-{KEYS['ssh-ed25519'][31:]}", "damaged or cut off"),
        (f"ssh-ed25519 {KEYS['ssh-ed25519'][:30]}ä{KEYS['ssh-ed25519'][31:]}", "damaged or cut off"),
        (f"ssh-ed25519 {packed('ssh-rsa', b'x' * 32)}", "damaged or cut off"),
        (f"ssh-rsa {packed('ssh-rsa', b'abc')}", "damaged or cut off"),
        (f"ssh-rsa {packed('ssh-rsa', b'a', b'b', b'c')}", "damaged or cut off"),
        (f"ssh-ed25519 {packed('ssh-ed25519', b'x' * 31)}", "damaged or cut off"),
        (f"ssh-ed25519 {packed('ssh-ed25519', b'x' * 33)}", "damaged or cut off"),
        (
            f"sk-ssh-ed25519@openssh.com {packed('sk-ssh-ed25519@openssh.com', b'x' * 31, b'ssh:')}",
            "damaged or cut off",
        ),
        (f"ssh-rsa {packed('ssh-rsa', b'', b'')}", "damaged or cut off"),
        (f"ssh-rsa {packed('ssh-rsa', b'a', b'')}", "damaged or cut off"),
        (DSA, "no longer supports DSA keys"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n", "it is a PRIVATE key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "damaged or cut off"),
        ("ssh-rsa " + "A" * 70_000, "it is longer than 16384 characters"),
        ("ssh-ed25519 " + "\0" * 50, "damaged or cut off"),
    ],
)
def test_what_is_no_key_is_refused_with_a_reason(given: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_key(given)


def test_a_length_that_points_beyond_the_end_is_refused() -> None:
    data = base64.b64decode(KEYS["ssh-ed25519"])
    for length in (33, 2**31, 2**32 - 1):
        bad = base64.b64encode(data[:-36] + length.to_bytes(4, "big") + data[-32:]).decode()
        with pytest.raises(ValueError, match="damaged"):
            parse_key(f"ssh-ed25519 {bad}")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"ssh-ed25519 {KEYS['ssh-ed25519'][:30]}\r\n{KEYS['ssh-ed25519'][30:]}", f"ssh-ed25519 {KEYS['ssh-ed25519']}"),
        ("not\r\na key\n", "not a key"),
        ("", ""),
    ],
)
def test_repaired_is_always_one_line(given: str, expected: str) -> None:
    assert SshKey.read(given).key_data == expected


ED, RSA = ("ssh-ed25519", KEYS["ssh-ed25519"]), ("ssh-rsa", KEYS["ssh-rsa"])


CERTIFICATE = f"ssh-ed25519-cert-v01@openssh.com {KEYS['ssh-ed25519-cert-v01@openssh.com']}"
LINE = " ".join(ED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("\n\n  \n", set()),
        (f"{ED[0]} {ED[1]}\n", {ED}),
        (f"{ED[0]} {ED[1]} comment", {ED}),
        (f"  {ED[0]}\t{ED[1]}\n{RSA[0]} {RSA[1]} a b\n", {ED, RSA}),
        (f"no-pty,No-X11-forwarding {LINE}\n", {ED}),
        (f'environment="A=\\"x, y",no-pty\t {LINE} c\n', {ED}),
        (f"{ED[0]} {ED[1]}\r\n", {ED}),
        (f"{ED[0]}\n{ED[1]}\n", set()),
        ("garbage here\nssh-ed25519\n", set()),
        ("ssh-ed25519 AAAAgarbage\n", set()),
        (f"{ED[0]} {ED[1][:-4]}\n", set()),
        (f"{ED[0]} {ED[1][:30]} {ED[1][30:]}\n", set()),
        (f"{RSA[0]} {ED[1]}\n", set()),
        (f"# {LINE}\n  #old {LINE}\n#{LINE}\n", set()),
        (f"no key\x0c{RSA[0]} {RSA[1]}\n", set()),
        (f"\udcff\udcfe\n{LINE}\n", {ED}),
        (f"{CERTIFICATE}\n", set()),
        (f"cert-authority {LINE}\n", set()),
        (f"Cert-Authority,no-pty {LINE}\n{RSA[0]} {RSA[1]}\n", {RSA}),
        (f'command="/bin/echo hello",no-pty {LINE} c\n', set()),
        (f'no-pty,COMMAND="a {RSA[0]} {RSA[1]} b" {LINE}\n', set()),
        (f"restrict {LINE}\n", set()),
        (f'from="10.0.0.0/8" {LINE}\n', set()),
        (f'expiry-time="20300101" {LINE}\n', set()),
        (f"no-such-option {LINE}\n", set()),
        (f'environment="A=x {LINE}\n', set()),
        (f'command="x" {LINE}\n{LINE}\n', set()),
        (f'{LINE}\ncommand="x" {LINE}\n', {ED}),
        (f'from="10.0.0.0/8" {LINE}\ncert-authority {LINE}\n{LINE}\n', {ED}),
        ("a" * 100_000 + f" {LINE}\n", set()),
    ],
)
def test_the_keys_that_open_a_shell_are_known(text: str, expected: set[tuple[str, str]]) -> None:
    assert opening(authorized_lines(text)) == expected


@pytest.mark.parametrize("kind", KEYS)
def test_a_certificate_is_no_key_to_log_in_by(kind: str) -> None:
    text = f"{kind} {KEYS[kind]}"
    usable, wrong = login_keys([("that key", SshKey.read(text))])
    assert usable == ([] if "-cert-" in kind else [parse_key(text)])
    start = "that key skipped: an OpenSSH certificate does not work in authorized_keys"
    assert [text.startswith(start) for text in wrong] == [True] * ("-cert-" in kind)


@pytest.mark.spawns
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen: install openssh-client")
def test_openssh_reads_every_line_that_comes_out(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text("".join(parse_key(f"{k} {every(64, chr(13) + chr(10))(b)} c").line + "\n" for k, b in KEYS.items()))
    done = subprocess.run(["ssh-keygen", "-l", "-f", str(file)], capture_output=True, text=True, check=True)
    assert len(re.findall(r"SHA256:", done.stdout)) == len(KEYS)
