"""Values on their way to a plug-in's interpreter: what comes out is what went in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azurelite.metadata import Secret
from azurelite.system.accounts.users import NewUser
from azurelite.system.machine import System
from azurelite.system.portable import pack, unpack
from azurelite.system.wishes import adopt_wishes, wishes_as_data

VALUES = [
    None, True, 0, 1.5, "text", "\udc80", b"\0\xff", [], [1, [2]], (1, ("a",)), {1, 2}, {"a": {"b": (1,)}}, {1: b"x"},
    {"secret": "no secret"}, Secret("s"), Secret(b"\xff"), {"deep": [Secret("s")]},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_it_comes_back_as_it_was(value: Any) -> None:
    back = unpack(json.loads(json.dumps(pack(value))))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("told", [{}, {"a": 1, "b": 2}, {"no such kind": []}])
def test_what_was_not_packed_is_refused(told: Any) -> None:
    with pytest.raises(ValueError, match=r".*"):
        unpack(told)


def test_the_wishes_of_a_dry_run_are_taken_over(tmp_path: Any) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "home").mkdir()
    for name in ("passwd", "group", "shadow"):
        (tmp_path / "etc" / name).write_text("")
    first, second = (System(str(tmp_path), dry_run=True) for _ in range(2))
    first.files.write("/etc/motd", b"\xff", mode=0o644)
    first.accounts.ensure_group("ops")
    first.accounts.create_user(NewUser("alice", "/home/alice", "/bin/sh", groups=("ops",)))
    adopt_wishes(second, json.loads(json.dumps(wishes_as_data(first))))
    assert second.files.read("/etc/motd") == b"\xff"
    assert second.accounts.user("alice") == first.accounts.user("alice") is not None
    assert second.accounts.groups_of("alice") == first.accounts.groups_of("alice")
