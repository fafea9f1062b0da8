"""What the provisioning of another VM left on a copied disk: without `generalize` it still lets its people in."""

from __future__ import annotations

import json
from typing import Iterator

from azurelite.errors import FileError
from azurelite.handlers import Context
from azurelite.hypervisor.identity import swap_bytes
from azurelite.layout import MANIFEST, NO_VM_ID

_RULES = ("/etc/sudoers", "/etc/doas", "/usr/local/etc/sudoers", "/usr/local/etc/doas")


def note_former_vm(ctx: Context, administrator: str) -> None:
    """Name in one note each account, key file and rule that another VM's provisioning created and that still exists.

    Args:
        ctx: the run.
        administrator: the account of this VM, and the only one whose rules need no mention.
    """
    found = list(dict.fromkeys(_left(ctx, administrator)))
    if found:
        ctx.note(f"this disk was provisioned for another VM, which left {', '.join(found)}: remove what is not wanted")


def _left(ctx: Context, administrator: str) -> Iterator[str]:
    for kind, target, detail in _changes_of_others(ctx):
        try:
            what = _what(ctx, administrator, kind, target, detail)
        except FileError as error:  # the note is no reason to fail
            what = f"{target} ({error.message})"
        if what:
            yield what


def _what(ctx: Context, administrator: str, kind: str, target: str, detail: str) -> str:
    """What is left of one change of another VM and may let somebody log in; "" for nothing. Raises FileError."""
    files = ctx.system.files
    if kind == "user" and detail.startswith("create") and target != administrator:
        return f"account {target}" if ctx.system.accounts.user(target) is not None else ""
    if kind != "write":
        return ""
    if "authorized_keys" in target or "/.ssh/" in target:
        return f"keys in {target}" if files.exists(target) else ""
    if target.startswith(_RULES):
        lines = [line for line in files.lines(target) if line.strip() and not line.startswith("#")]
        if any(administrator not in line.replace('"', " ").split() for line in lines):
            return f"rules in {target}"
    return ""


def _changes_of_others(ctx: Context) -> Iterator[tuple[str, str, str]]:
    """The changes in the manifest that are not this VM's. Damaged lines are skipped."""
    own = (ctx.memory.vm_id, ctx.memory.vm_id and swap_bytes(ctx.memory.vm_id), NO_VM_ID, None)
    try:
        lines = ctx.system.files.lines(MANIFEST)
    except FileError:
        return
    for line in lines:
        try:
            row = json.loads(line)
            change = (row["kind"], row["target"], row["detail"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if row.get("vm_id") not in own and all(isinstance(part, str) for part in change):
            yield change
