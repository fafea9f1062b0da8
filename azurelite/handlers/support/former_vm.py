"""What the provisioning of another VM left on a copied disk: without `generalize` it still lets its people in."""

from __future__ import annotations

import json
from typing import Iterator

from azurelite.errors import FileError
from azurelite.handlers import Context
from azurelite.hypervisor.identity import swap_bytes
from azurelite.layout import MANIFEST

_RULES = ("/etc/sudoers", "/etc/doas", "/usr/local/etc/sudoers", "/usr/local/etc/doas")


def note_former_vm(ctx: Context, administrator: str) -> None:
    """Name in one note each account, key file and rule that another VM's provisioning created and that still exists.

    Args:
        ctx: the run.
        administrator: the account of this VM, and the only one whose rules need no mention.
    """
    found = list(dict.fromkeys(_left(ctx, administrator)))
    if found:
        ctx.note(
            f"the provisioning of another VM left on this disk: {', '.join(found)}: remove what this VM should not have"
        )


def _left(ctx: Context, administrator: str) -> Iterator[str]:
    files = ctx.system.files
    for kind, target, detail in _changes_of_others(ctx):
        if kind == "user" and detail.startswith("create") and target != administrator:
            if ctx.system.accounts.user(target) is not None:
                yield f"account {target}"
        elif kind == "write" and ("authorized_keys" in target or "/.ssh/" in target):
            if files.exists(target):
                yield f"keys in {target}"
        elif kind == "write" and target.startswith(_RULES):
            lines = (line for line in files.lines(target) if line.strip() and not line.startswith("#"))
            if any(administrator not in line.replace('"', " ").split() for line in lines):
                yield f"rules in {target}"


def _changes_of_others(ctx: Context) -> Iterator[tuple[str, str, str]]:
    """The changes in the manifest that are not this VM's. Damaged lines are skipped."""
    own = (ctx.memory.vm_id, swap_bytes(ctx.memory.vm_id))
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
