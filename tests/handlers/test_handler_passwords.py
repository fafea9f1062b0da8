"""`passwords`: invalid ones are refused without repeating them, and the others are set."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from kit import BASE, Guest

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.passwords import Options, apply
from azurelite.metadata import Secret
from azurelite.system.accounts.libcrypt import make_hash
from azurelite.system.process import Commands

Make = Callable[..., Context]
HASH = make_hash(Commands(), Secret("canary"))


@pytest.fixture(autouse=True)
def _accounts(guest: Guest) -> None:
    for name, row in {"passwd": "{0}:x:{1}:9::/home/{0}:/bin/sh\n", "shadow": "{0}:*:19000:0:99999:7:::\n"}.items():
        guest.put({f"etc/{name}": BASE[f"etc/{name}"] + "".join(row.format(u, 1000 + i) for i, u in enumerate("abc"))})


def options(*users: dict[str, Any], expire: bool = False) -> Options:
    return bind(Options, {"users": list(users), "expire": expire}, Document({}, {}), ("passwords",))


def fields(guest: Guest, name: str) -> list[str]:
    return next(line.split(":") for line in guest.text("etc/shadow").splitlines() if line.startswith(f"{name}:"))


@pytest.mark.parametrize("expire", [True, False])
def test_text_and_hash_are_set_once(guest: Guest, context: Make, expire: bool) -> None:
    wish = options(
        {"name": "a", "password": "canary %:x", "type": "text"},
        {"name": "b", "password": HASH, "type": "hash"},
        {"name": "root", "password": HASH},
        expire=expire,
    )
    ctx = context()
    apply(ctx, wish)
    assert ctx.system.accounts.passwords.fits("a", Secret("canary %:x"))
    assert fields(guest, "b")[1] == fields(guest, "root")[1] == HASH
    assert fields(guest, "c")[1] == "*"
    assert [fields(guest, name)[2] for name in ("a", "b", "root", "c")] == [*["0" if expire else ""] * 3, "19000"]
    again = context()
    apply(again, wish)
    assert len(again.system.journal) == 0


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"name": "nosuch", "password": HASH}, "the account does not exist"),
        ({"name": "", "password": HASH}, "the account does not exist"),
        ({"name": "a\nroot", "password": HASH}, "the account does not exist"),
        ({"name": "b"}, "password is missing"),
        ({"name": "b", "password": "canary"}, "`password` is not a hash"),
        ({"name": "b", "password": "$6$canary$x\nroot:y"}, "`password` is not a hash"),
        ({"name": "b", "password": "*"}, "`password` is not a hash"),
        ({"name": "b", "password": "canary\nroot:x", "type": "text"}, "password: it contains a line break"),
        ({"name": "b", "password": "", "type": "text"}, "password: it is empty"),
        ({"name": "b", "type": "RANDOM"}, "type RANDOM is refused"),
        ({"name": "b", "password": "canary", "type": "RANDOM"}, "type RANDOM is refused"),
    ],
)
def test_a_refused_password_is_named_and_the_others_are_set(
    guest: Guest, context: Make, bad: dict[str, Any], why: str
) -> None:
    with pytest.raises(HandlerError, match=why) as caught:
        apply(context(), options({"name": "a", "password": HASH}, bad, {"name": "c", "password": HASH}, expire=True))
    assert caught.value.message.startswith("users[1] '")
    assert "canary" not in caught.value.message
    assert caught.value.message.isprintable()
    assert [fields(guest, name)[1] for name in "abc"] == [HASH, "*", HASH]
    assert fields(guest, "b")[2] == "19000"


def test_each_account_keeps_one_line(guest: Guest, context: Make) -> None:
    before = guest.text("etc/shadow").count("\n")
    apply(context(), options({"name": "a", "password": "x:0:0", "type": "text"}))
    assert guest.text("etc/shadow").count("\n") == before
    assert fields(guest, "a")[1].startswith("$6$")
