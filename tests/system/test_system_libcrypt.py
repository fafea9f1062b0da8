"""Hashes: what the host's libcrypt and openssl make, each can check of the other."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kit import shim

from azurelite.errors import CommandError
from azurelite.metadata import Secret
from azurelite.system.accounts.libcrypt import LIBRARIES, fits, is_hash, make_hash, unfit
from azurelite.system.process import Commands

COMMANDS = Commands()
NO_LIBRARY = ("libnosuch.so.1",)
PASSWORDS = ["a", "x" * 72, "x" * 255, "wörd 漢字", "a:b%s$1'\"\\ ", "  lead and trail  ", "$6$not$ahash", "*", "!"]
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install openssl")


@pytest.mark.parametrize("password", PASSWORDS)
class TestHashes:
    def test_the_library_checks_what_it_made(self, password: str) -> None:
        made = make_hash(COMMANDS, Secret(password))
        assert is_hash(made)
        assert made.startswith("$6$")
        assert fits(COMMANDS, Secret(password), made)
        assert not fits(COMMANDS, Secret(password + "x"), made)
        assert made != make_hash(COMMANDS, Secret(password)), "a salt of its own each time"

    @needs_openssl
    @pytest.mark.spawns
    def test_openssl_makes_what_the_library_checks(self, password: str) -> None:
        made = make_hash(COMMANDS, Secret(password), libraries=NO_LIBRARY)
        assert fits(COMMANDS, Secret(password), made)
        assert fits(COMMANDS, Secret(password), made, libraries=NO_LIBRARY)
        assert not fits(COMMANDS, Secret(password + "x"), made, libraries=NO_LIBRARY)


@needs_openssl
@pytest.mark.spawns
@pytest.mark.parametrize("method", ["-1", "-5", "-6"])
def test_hashes_of_others_are_known(method: str) -> None:
    made = subprocess.run(
        ["openssl", "passwd", method, "-stdin"], input="given\n", capture_output=True, text=True, check=True
    ).stdout.strip()
    for libraries in (LIBRARIES, NO_LIBRARY):
        assert fits(COMMANDS, Secret("given"), made, libraries=libraries)
        assert not fits(COMMANDS, Secret("other"), made, libraries=libraries)


@pytest.mark.parametrize(
    "stored", ["", "*", "!", "!!", "*LK*", "x", "$y$damaged", "$99$a$b", "plain", "!$6$salt$hash", "$"]
)
def test_what_is_no_usable_hash_fits_nothing(stored: str) -> None:
    for password in ("", "x", "plain", stored):
        assert not fits(COMMANDS, Secret(password), stored)


def test_a_locked_hash_fits_no_more() -> None:
    made = make_hash(COMMANDS, Secret("x"))
    assert not fits(COMMANDS, Secret("x"), f"!{made}")


def test_without_library_and_openssl_it_is_said(tmp_path: Path) -> None:
    commands = Commands(str(tmp_path))
    commands.search_path = str(tmp_path)
    with pytest.raises(CommandError, match="libcrypt and openssl are missing"):
        make_hash(commands, Secret("canary"), libraries=NO_LIBRARY)
    assert not fits(commands, Secret("canary"), "$6$salt$hash", libraries=NO_LIBRARY)


@pytest.mark.spawns
def test_openssl_is_never_told_the_password_by_an_argument(tmp_path: Path) -> None:
    log = shim(tmp_path, "openssl", script='cat > "$0.stdin"; echo hash')
    assert make_hash(Commands(str(tmp_path)), Secret("canary"), libraries=NO_LIBRARY) == "hash"
    assert "canary" not in log.read_text()
    assert (tmp_path / "openssl.stdin").read_text() == "canary\n"


@pytest.mark.spawns
def test_an_openssl_that_fails_counts_as_none(tmp_path: Path) -> None:
    shim(tmp_path, "openssl", exit_code=1)
    with pytest.raises(CommandError, match="install one of them"):
        make_hash(Commands(str(tmp_path)), Secret("canary"), libraries=NO_LIBRARY)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "it is empty"),
        ("a\nroot:b", "line break"),
        ("a\r", "line break"),
        ("a\0b", "NUL"),
        ("x" * 256, "longer than 255 bytes"),
        ("ü" * 128, "longer than 255 bytes"),
        ("\ud800", "cannot be encoded"),
    ],
)
def test_what_nobody_can_have_as_a_password_is_refused_and_not_repeated(password: str, why: str) -> None:
    said = unfit(Secret(password))
    assert said is not None
    assert why in said
    assert not password or password not in said


@pytest.mark.parametrize("password", PASSWORDS)
def test_anything_else_can_be_a_password(password: str) -> None:
    assert unfit(Secret(password)) is None


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("$6$salt$abc./XYZ", True),
        ("$6$rounds=5000$salt$abc", True),
        ("$y$j9T$uSOh4g/mDHCr4dnqLLMZy0$abc", True),
        ("$2b$12$abcdefghijklmnopqrstuv", True),
        ("$argon2id$v=19$m=65536,t=2,p=1$abc$def", True),
        ("$6$", False),
        ("", False),
        ("secret", False),
        ("$6$a:b$c", False),
        ("$6$a$b\n", False),
        ("$6$a b$c", False),
        ("!$6$a$b", False),
        ("*", False),
        ("$6$" + "a" * 500, False),
    ],
)
def test_the_shape_of_a_hash(text: str, known: bool) -> None:
    assert is_hash(text) is known
