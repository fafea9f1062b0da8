"""What the tests are made of: a clock that skips its sleeps, guests as folders, programs as shims."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any, Mapping, Optional

import contractkit
import yaml

from azurelite.clock import Clock
from azurelite.simulator import Simulator

CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"
ED25519, VM_ID = contractkit.ED25519, contractkit.VM_ID
SWAPPED_VM_ID = "c1d4f22b-0c6f-5e4c-9f3a-51a7d0b2e8c4"


class FastClock(Clock):
    """Real time, but a sleep takes none: it only moves the clock on. `slept` holds every pause asked for."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    def now(self) -> float:
        return 1_700_000_000.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.skipped += seconds

    def jitter(self) -> float:
        return 0.0


BASE = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\nwheel:x:10:\nnogroup:x:65534:\n",
    "etc/gshadow": "root:*::\ndaemon:*::\nwheel:!::\nnogroup:*::\n",
    "etc/hostname": "localhost\n",
    "etc/skel/.profile": "umask 022\n",
    "etc/sudoers.d/README": "# kept\n",
    "home/.keep": "",
    "root/.keep": "",
    "var/lib/hyperv/.keep": "",
}


class Guest:
    """A guest as a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder)

    def put(self, files: Mapping[str, str]) -> Guest:
        """Write files by their guest paths, making folders on the way."""
        for name, text in files.items():
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return self

    def path(self, name: str) -> Path:
        """The host path of a guest path."""
        return self.folder / name.lstrip("/")

    def text(self, name: str) -> str:
        """A file's content."""
        return self.path(name).read_text(encoding="utf-8")

    def mode(self, name: str) -> int:
        """A file's permission bits."""
        return stat.S_IMODE(self.path(name).lstat().st_mode)

    def runs(self, program: str) -> Guest:
        """Make this its first process, for a test that takes the folder for the root of the running system."""
        self.put({"proc/1/cmdline": "/sbin/init\0"})
        self.path("proc/1/exe").symlink_to(program)
        self.path("proc/1/root").symlink_to("../..")
        return self

    def snapshot(self, *, without: tuple[str, ...] = ()) -> dict[str, tuple[int, int, int, bytes]]:
        """Everything below: path -> (mode, uid, gid, content or link target); times left out."""
        found = {}
        for where, folders, files in os.walk(self.folder):
            for name in [*folders, *files]:
                path = Path(where, name)
                short = "/" + str(path.relative_to(self.folder))
                if short.startswith(without):
                    continue
                status = path.lstat()
                if stat.S_ISLNK(status.st_mode):
                    content = os.readlink(path).encode()
                else:
                    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                found[short] = (status.st_mode, status.st_uid, status.st_gid, content)
        return found

    def on_azure(self, *, vm_id: str = VM_ID, generation: int = 2) -> Guest:
        """Give it the firmware of an Azure VM; on generation 1 `vm_id` must be what the firmware shows."""
        self.put(
            {"sys/class/dmi/id/chassis_asset_tag": CHASSIS_TAG + "\n", "sys/class/dmi/id/product_uuid": vm_id + "\n"}
        )
        if generation == 2:
            self.path("sys/firmware/efi").mkdir(parents=True, exist_ok=True)
        return self

    def configure(self, simulator: Optional[Simulator] = None, **sections: Any) -> Guest:
        """Write /etc/azurelite/azurelite.yaml, pointing at a simulator; keywords overlay its sections."""
        datasource: dict[str, Any] = {}
        if simulator is not None:
            datasource = {"imds": {"endpoint": simulator.url}, "wireserver": {"endpoint": simulator.url}}
        for key, value in sections.pop("datasource", {}).items():
            datasource[key] = {**datasource.get(key, {}), **value} if isinstance(value, dict) else value
        return self.put({"etc/azurelite/azurelite.yaml": yaml.safe_dump({"datasource": datasource, **sections})})


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
