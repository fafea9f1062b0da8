"""Runs inside a guest that is live (its `/` is the process's root): one case of the contract, three times over.

Reads a case as JSON on standard input: {"name", "options", "files", "before"}. Writes {"dry", "real", "again"}, each
with "changes" and "said"; "kept": what the dry run left behind on the disk; "moved": what the third run changed there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from azurelite.document import Document
from azurelite.errors import AzureliteError
from azurelite.fabric.client import Fabric
from azurelite.handlers import BUILTIN, Context
from azurelite.memory import Memory
from azurelite.metadata import Metadata, Secret, SshKey
from azurelite.outcome import Outcome
from azurelite.schema import bind
from azurelite.system.machine import System

VM_ID = "2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJLoUzI85bKCW9bt0Q3fnhxG027R7Ol3pe0e5dWd1nI"
UPPER = Path("/run/upper")  # what differs from the layer below: the stage has bound it here

KNOWN = Metadata(
    cloud_name="azure",
    platform="azure",
    instance_id=VM_ID,
    vm_id=VM_ID,
    local_hostname="azure_vm.example",
    region="westeurope",
    vm_size="Standard_B2s",
    username="livewire",
    password=Secret("canary-Password1"),
    disable_password_authentication=True,
    public_ssh_keys=(SshKey(KEY), SshKey("damaged")),
    tags={"a": "b"},
)


def main() -> None:
    """Do it, and tell."""
    case = json.load(sys.stdin)
    for name, text in case["files"].items():
        path = Path("/", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    before = _snapshot()
    dry = _run(case, dry_run=True)
    kept = _differing(_snapshot(), before)
    real = _run(case, dry_run=False)
    after = _snapshot()
    again = _run(case, dry_run=False)
    moved = _differing(_snapshot(), after)
    json.dump({"dry": dry, "real": real, "again": again, "kept": kept, "moved": moved}, sys.stdout)


def _run(case: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    system = System("/", dry_run=dry_run)
    said: list[str] = []
    memory = Memory(system.files, VM_ID)
    ctx = Context(KNOWN, system, Fabric(0), Outcome("applied", ""), said.append, lambda: None, memory)
    steps = [(name, {}) for name in case["before"]] + [(case["name"], case["options"])]
    for name, options in steps:
        module = importlib.import_module(BUILTIN[name])
        try:
            module.apply(ctx, bind(module.Options, options, Document({}, {}), (name,)))
        except AzureliteError as error:
            said.append(f"failed: {error}")
    return {"changes": [str(change) for change in system.journal.since(0)], "said": said}


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _snapshot() -> dict[str, tuple[int, int, int, bytes]]:
    """Every file that differs from the layer below: mode, owner, content."""
    found = {}
    for where, folders, files in os.walk(UPPER):
        for name in [*folders, *files]:
            path = Path(where, name)
            short = "/" + str(path.relative_to(UPPER))
            status = path.lstat()
            content = b""
            if path.is_symlink():
                content = os.readlink(path).encode()
            elif path.is_file():
                content = path.read_bytes()
            found[short] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


if __name__ == "__main__":
    main()
