"""What the tests are made of: the simulator's clock, its guests with more abilities, and programs as shims."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import contractkit
import yaml

from azurelite.simulator import FastClock, Simulator
from azurelite.simulator import guest as simulated

__all__ = ["BASE", "CHASSIS_TAG", "ED25519", "SWAPPED_VM_ID", "VM_ID", "FastClock", "Guest", "shim"]

CHASSIS_TAG = simulated.ASSET_TAG
ED25519, VM_ID = contractkit.ED25519, contractkit.VM_ID
SWAPPED_VM_ID = "c1d4f22b-0c6f-5e4c-9f3a-51a7d0b2e8c4"


# What the tests of handlers find in a guest, beside what all guests have.
BASE = {
    **simulated.BASE,
    "etc/sudoers.d/README": "# kept\n",
    "home/.keep": "",
    "root/.keep": "",
    "var/lib/hyperv/.keep": "",
}


class Guest(simulated.Guest):
    """A guest as a folder, with what only our own tests need."""

    def runs(self, program: str) -> Guest:
        """Make this its first process, for a test that takes the folder for the root of the running system."""
        self.put({"proc/1/cmdline": "/sbin/init\0"})
        self.path("proc/1/exe").symlink_to(program)
        self.path("proc/1/root").symlink_to("../..")
        return self

    def on_azure(self, *, vm_id: str = VM_ID, generation: int = 2) -> Guest:
        """Give it the firmware of an Azure VM; on generation 1 `vm_id` must be what the firmware shows."""
        return self.set_firmware(vm_id, efi=generation == 2)

    def configure(self, simulator: Optional[Simulator] = None, **sections: Any) -> Guest:
        """Write /etc/azurelite/azurelite.yaml, pointing at a simulator; keywords overlay its sections."""
        datasource: dict[str, Any] = dict(simulator.datasource) if simulator is not None else {}
        for key, value in sections.pop("datasource", {}).items():
            datasource[key] = {**datasource.get(key, {}), **value} if isinstance(value, dict) else value
        return self.put({simulated.CONFIG: yaml.safe_dump({"datasource": datasource, **sections})})


def shim(folder: Path, name: str, *, exit_code: int = 0, script: str = "") -> Path:
    """A program on PATH that writes its arguments, one a line and `--` behind, to NAME.log beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    program = folder / name
    program.write_text(
        f"""#!/bin/sh\nfor word in "$@"; do printf '%s\\n' "$word" >> "{log}"; done\n"""
        f'echo -- >> "{log}"\n{script}\nexit {exit_code}\n'
    )
    program.chmod(0o755)
    return log


class Shelf:
    """A folder on sys.path that holds plug-ins for the length of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, text: str, group: str = "azurelite.handlers", **entries: str) -> Shelf:
        """A module, and entry points of the group to it."""
        (self.folder / f"{name}.py").write_text(text)
        if entries:
            info = self.folder / f"{name}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            rows = "".join(f"{key} = {value}\n" for key, value in entries.items())
            (info / "entry_points.txt").write_text(f"[{group}]\n{rows}")
        return self
