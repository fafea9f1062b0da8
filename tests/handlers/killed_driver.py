"""Runs `user_data` on a folder that passes for the running system: `killed_driver.py ROOT RERUN FILE`.

It prints a line when it begins and one with its notes at its end, so that the test knows when to kill it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contractkit import VM_ID, known

from azurelite.errors import AzureliteError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context, user_data
from azurelite.metadata import Secret
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.machine import System


def main(root: str, rerun: str, file: str) -> None:
    system = System(root)
    system.root.is_host = True
    notes: list[str] = []
    metadata = known("azureuser", user_data=Secret(Path(file).read_bytes()))
    memory = Memory(system.files, VM_ID)
    ctx = Context(metadata, system, Fabric(0), Outcome("applied", ""), notes.append, lambda: None, memory)
    options = user_data.Options(rerun=rerun)  # type: ignore[arg-type]
    print("begins", flush=True)  # noqa: T201
    try:
        user_data.apply(ctx, options)
    except AzureliteError as error:
        notes.append(str(error))
    print("; ".join(notes), flush=True)  # noqa: T201


main(*sys.argv[1:])
