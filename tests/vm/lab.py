"""Building a machine and booting it: what the tests of this folder have in common, and the table of all boots.

Each machine is built for its test, boots in namespaces of its own (`stage.py`), and is thrown away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml
from boot.roots import BuildError
from kit import SWAPPED_VM_ID, VM_ID
from vm.image import CHECKOUT, MachineRoot, make_disk, make_initramfs, make_tree
from vm.kernel import kernel

HERE = Path(__file__).resolve().parent
# All of it ends with who asked for it, however that ends.
NAMESPACES = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
NAMESPACES += ["--mount-proc"]
LIMIT = 300  # seconds for one boot; the slowest needs 50 on a quiet machine
COLUMNS = ("boot", "init", "suite", "DHCP client", "Python", "to Ready", "azurelite", "to login", "memory")
USUAL = {"seconds": LIMIT, "disc": True, "reports": True, "ejects": True}  # of a boot
PASSWORD = "canary-OnlyOnTheDisc-7"
NAME = "web-7"
USER = "livewire"
VM: dict[str, Any] = {"vm_id": VM_ID, "hostname": NAME, "username": USER, "password": PASSWORD}
# Its parent is azurelite itself, whose peak of memory is in /proc.
PEAK = {"run": {"id": "peak", "stdin": "none", "shell": "cp /proc/$PPID/status /run/azurelite-process"}}
HANDLERS = ["hostname", "user", "ssh_keys", "sshd", "report_ready", "user_data", PEAK]


@dataclass
class Lab:
    """Where machines are built and booted.

    Attributes:
        folder: scratch.
        package: the wheel of this checkout.
        key: path of the private key of the person who logs in.
    """

    folder: Path
    package: Path
    key: Path

    @property
    def public_key(self) -> str:
        """What Azure is told."""
        return self.key.with_suffix(".pub").read_text().strip()

    def boot(
        self,
        root: MachineRoot,
        *boots: dict[str, Any],
        config: Optional[dict[str, Any]] = None,
        early: bool = False,
        initramfs: bool = False,
        vm: Optional[dict[str, Any]] = None,
    ) -> list[dict[str, Any]]:
        """Build a machine and boot it so many times; what happened each time.

        Args:
            root: what is on its disk.
            boots: of each: `disc` (in the drive), `reports` (one is waited for), `ejects` (that is waited for), `says`
                (a line of the console is waited for), `looks` (scripts that somebody runs who logs in, by name),
                `uuid` (the firmware's, of another VM).
            config: what the YAML says beside, or in place of, the usual handlers.
            early: the unit that names the host ahead of the network, too.
            initramfs: the distribution's initramfs boots it, with this project's example in it.
            vm: what Azure says, beside the usual.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            whole = {"handlers": HANDLERS, **(config or {})}
            own = {"/etc/azurelite/azurelite.yaml": yaml.safe_dump(whole, sort_keys=False)}
            try:
                core = kernel()
                tree = make_tree(root, Path(scratch), package=self.package, files=own, early=early)
                initrd = make_initramfs(tree, core) if initramfs else core.initrd
                disk = make_disk(tree)
            except BuildError as error:
                pytest.fail(f"the machine cannot be built: {error}", pytrace=False)
            said = {**VM, "ssh_keys": [self.public_key], **(vm or {})}
            job = {
                "kernel": str(core.image),
                "initrd": str(initrd),
                "disk": str(disk),
                "processors": processors(),
                "uuid": SWAPPED_VM_ID,  # as a generation 1 machine shows it
                "user": USER,
                "key": str(self.key),
                "scenario": {"vm": said},
                "boots": [{**USUAL, **boot} for boot in boots],
            }
            return _on_stage(job)


def _on_stage(job: dict[str, Any]) -> list[dict[str, Any]]:
    paths = [*(path for path in sys.path if path), str(HERE.parent), str(CHECKOUT)]
    done = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "vm.stage"],
        input=json.dumps(job),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        timeout=(LIMIT + 240) * len(job["boots"]),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def processors() -> int:
    """For one machine: what there is, among as many as are booted at a time."""
    at_a_time = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, min(2, (os.cpu_count() or 1) // at_a_time))


def told(boot: dict[str, Any]) -> str:
    """What a failed assertion shows: the end of the console, and what everybody heard."""
    heard = {key: value for key, value in boot.items() if key not in ("console", "looks")}
    looks = "\n".join(f"{name}: {look}" for name, look in boot["looks"].items())
    return f"{json.dumps(heard, indent=1)}\n{looks}\n{boot['console'][-6000:]}"


def out(boot: dict[str, Any], look: str) -> str:
    """What a look printed; it must have ended well."""
    done = boot["looks"].get(look)
    assert done is not None, f"nobody could log in\n{told(boot)}"
    assert done["code"] == 0, f"{look}: {done}\n{told(boot)}"
    return str(done["out"]).strip()


def row(name: str, root: MachineRoot, boot: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table, of a boot that came to Ready."""
    peak = next(line for line in out(boot, "process").splitlines() if line.startswith("VmHWM"))
    (post,) = (request for request in json.loads(out(boot, "status"))["requests"] if request["method"] == "POST")
    return (
        name,
        root.init,
        root.suite,
        root.client,
        out(boot, "python"),
        f"{boot['report']:.1f} s",
        f"{post['started'] + post['seconds']:.2f} s",
        f"{boot['login']:.1f} s",
        f"{int(peak.split()[1]) / 1024:.1f} MiB",
    )
