"""What a handler's contract is tried with, in foreign roots and in live ones: a VM's metadata, and one run of handlers.

It is also imported inside of guests, so it knows nothing of pytest and of fixtures.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Iterable

from azurelite.errors import AzureliteError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context
from azurelite.metadata import Metadata, Secret, SshKey
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.changes import Change
from azurelite.system.machine import System

VM_ID = "2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJLoUzI85bKCW9bt0Q3fnhxG027R7Ol3pe0e5dWd1nI"


def known(username: str, **more: Any) -> Metadata:
    """Metadata with something for most handlers; what is secret has the word `canary` in it."""
    return Metadata(
        cloud_name="azure",
        platform="azure",
        instance_id=VM_ID,
        vm_id=VM_ID,
        local_hostname="azure_vm.example",
        region="westeurope",
        vm_size="Standard_B2s",
        username=username,
        password=Secret("canary-Password1"),
        disable_password_authentication=True,
        public_ssh_keys=(SshKey.read(ED25519), SshKey.read("damaged")),
        tags={"a": "b"},
        **more,
    )


def run(
    metadata: Metadata, steps: Iterable[tuple[ModuleType, Any]], system: System
) -> tuple[tuple[Change, ...], list[str]]:
    """Apply handlers, one after the other, on one machine; what changed, and what was noted or went wrong."""
    said: list[str] = []
    memory = Memory(system.files, VM_ID)
    ctx = Context(metadata, system, Fabric(0), Outcome("applied", ""), said.append, lambda: None, memory)
    for module, options in steps:
        try:
            module.apply(ctx, options)
        except AzureliteError as error:
            said.append(f"failed: {error}")
    return system.journal.since(0), said
