"""A disk that was copied from another VM: one note names the accounts, keys and rules that came with it."""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

import pytest
from kit import BASE, SWAPPED_VM_ID, VM_ID, Guest

from azurelite.handlers import Context
from azurelite.handlers.user import Options, apply

OTHER = "11111111-6f0c-4c5e-9f3a-51a7d0b2e8c4"
KEYS = "/home/bob/.ssh/authorized_keys"
RULES = "/etc/sudoers.d/90-azurelite"
CENTRAL = "etc/ssh/authorized_keys.d/bob"
BOB = "bob:x:1500:1500::/home/bob:/bin/sh\n"


def row(kind: str, target: str, detail: str, vm_id: str = OTHER) -> str:
    return json.dumps({"vm_id": vm_id, "kind": kind, "target": target, "detail": detail})


MADE = row("user", "bob", "create, home /home/bob, shell /bin/sh")
KEYED = row("write", KEYS, "0600, owner bob")
RULED = row("write", RULES, "0440")


@pytest.mark.parametrize(
    ("rows", "files", "named"),
    [
        ([MADE], {}, "account bob"),
        ([MADE, KEYED, RULED], {}, f"account bob, keys in {KEYS}, rules in {RULES}"),
        ([MADE, MADE], {}, "account bob"),
        (
            [row("write", "/etc/ssh/authorized_keys.d/bob", "")],
            {"etc/ssh/authorized_keys.d/bob": "x"},
            "keys in /etc/ssh",
        ),
        (
            [row("write", "/etc/doas.conf", "0600")],
            {"etc/doas.conf": 'permit nopass "bob"\n'},
            "rules in /etc/doas.conf",
        ),
        (["damaged", "[]", "{}", '{"vm_id": 5}', MADE], {}, "account bob"),
        ([row("user", "gone", "create, home /home/gone")], {}, None),
        ([row("write", "/home/gone/.ssh/authorized_keys", "0600")], {}, None),
        ([row("user", "bob", "set the password")], {}, None),
        ([row("user", "azure", "create, home /home/azure")], {}, None),
        ([RULED], {"etc/sudoers.d/90-azurelite": "# ours\nazure ALL=(ALL:ALL) ALL\n"}, None),
        ([row("write", "/etc/hosts", "0644")], {"etc/hosts": "bob"}, None),
        ([row("user", "bob", "create, home /home/bob", VM_ID)], {}, None),
        ([row("user", "bob", "create, home /home/bob", SWAPPED_VM_ID)], {}, None),
        ([], {}, None),
        ([row("write", "/etc/sudoers.d", "0440")], {}, "/etc/sudoers.d (cannot read /etc/sudoers.d"),
    ],
)
def test_one_note_names_what_another_vm_left(
    guest: Guest,
    context: Callable[..., Context],
    notes: list[str],
    rows: list[str],
    files: dict[str, str],
    named: Optional[str],
) -> None:
    guest.put({"etc/passwd": BASE["etc/passwd"] + BOB, KEYS: "key\n", RULES: "bob ALL=(ALL:ALL) ALL\n"})
    guest.put({"var/lib/azurelite/manifest.jsonl": "".join(f"{line}\n" for line in rows), **files})
    known: dict[str, Any] = {"username": "azure"}
    apply(context(**known), Options(sudo="none"))
    if named is None:
        assert notes == []
        return
    (note,) = notes
    assert note.startswith(f"this disk was provisioned for another VM, which left {named}")
