"""One emulated machine: QEMU with Azure's firmware strings, a disc drive, a NIC on a tap, and a serial line.

Always plain emulation. That /dev/kvm is there says nothing of whether it works (nested ones may hang for ever), and a
test that takes ten seconds more is better than one that depends on the host.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"
MAC = "00:0d:3a:12:34:56"
MEMORY = 768  # MiB
WORDS = "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 fastboot systemd.show_status=0"


class Machine:
    """A machine that runs from `start` to `stop`.

    Args:
        kernel: the kernel's file.
        initrd: the first archive.
        disk: the root's image; it is written to.
        disc: the image in the drive, or None for an empty drive.
        uuid: what the firmware shows.
        tap: the network device that its NIC is tied to.
        folder: for sockets; short, as their names may have 107 characters.
        words: further ones for the kernel's command line.
        processors: how many it has; it keeps as many of this machine's busy.
    """

    def __init__(
        self,
        *,
        kernel: Path,
        initrd: Path,
        disk: Path,
        disc: Optional[Path],
        uuid: str,
        tap: str,
        folder: Path,
        words: str = "",
        processors: int = 2,
    ) -> None:
        self._qmp_path = folder / "qmp"
        self._qmp_path.unlink(missing_ok=True)
        self._argv = [
            *("qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "qemu64"),
            *(
                "-smp",
                str(processors),
                "-m",
                str(MEMORY),
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ),
            *("-serial", "stdio", "-qmp", f"unix:{self._qmp_path},server=on,wait=off"),
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append", f"{WORDS} {words}".strip()),
            *("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"),
            *("-drive", _drive(disc)),
            *("-device", "ide-cd,bus=ide.1,drive=disc,id=drive"),
            *("-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=net,mac={MAC},romfile="),
            *("-device", "virtio-rng-pci"),
            *("-smbios", f"type=1,manufacturer=Microsoft Corporation,product=Virtual Machine,version=7.0,uuid={uuid}"),
            *("-smbios", "type=2,manufacturer=Microsoft Corporation,product=Virtual Machine"),
            *("-smbios", f"type=3,manufacturer=Microsoft Corporation,asset={CHASSIS_TAG}"),
        ]
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._reader: Optional[threading.Thread] = None
        self._lines: list[tuple[float, str]] = []
        self._rest = b""

    def start(self) -> None:
        """Switch it on."""
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout.fileno(),), daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
        if self._reader is not None:
            self._reader.join(10)

    @property
    def running(self) -> bool:
        """It has not been switched off."""
        return self._process is not None and self._process.poll() is None

    @property
    def lines(self) -> list[tuple[float, str]]:
        """What came over the serial line so far, and when each line ended, on the monotonic clock."""
        return [*self._lines, (time.monotonic(), self._rest.decode(errors="replace"))]

    @property
    def kernel_started(self) -> Optional[float]:
        """When the kernel began, on the monotonic clock; None until the initrd has said how long ago that was."""
        for at, line in self.lines:
            said = re.search(r"\bvm: up ([0-9.]+)", line)
            if said:
                return at - float(said[1])
        return None

    def said_at(self, pattern: str) -> Optional[float]:
        """When a line first matched, on the monotonic clock."""
        return next((at for at, line in self.lines if re.search(pattern, line)), None)

    def until(self, true: Callable[[], Any], seconds: float) -> bool:
        """Wait for something, as long as the machine runs and no longer than that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return True
            if not self.running:
                return bool(true())
            time.sleep(0.02)
        return False

    def tray(self) -> dict[str, Any]:
        """What the monitor says of the disc drive: `tray_open`, `locked`, and whether a disc is `inserted`."""
        for block in self.ask("query-block"):
            if block.get("qdev") == "drive" or block.get("device") == "disc":
                return {
                    "tray_open": block.get("tray_open", False),
                    "locked": block["locked"],
                    "inserted": "inserted" in block,
                }
        return {}

    def ask(self, command: str) -> Any:
        """One question to QEMU's monitor."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(20)
            monitor.connect(os.fspath(self._qmp_path))
            with monitor.makefile("rw") as stream:
                stream.readline()  # its greeting
                for execute in ("qmp_capabilities", command):
                    stream.write(json.dumps({"execute": execute}) + "\n")
                    stream.flush()
                    answer = json.loads(stream.readline())
                    while "event" in answer:
                        answer = json.loads(stream.readline())
        return answer["return"]

    def _read(self, descriptor: int) -> None:
        while True:
            data = os.read(descriptor, 4096)
            if not data:
                return
            at = time.monotonic()
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._lines += [(at, line.decode(errors="replace").rstrip("\r")) for line in whole]


def _drive(disc: Optional[Path]) -> str:
    """A drive without a medium has no file."""
    drive = "if=none,id=disc,media=cdrom,readonly=on"
    return drive if disc is None else f"{drive},format=raw,file={disc}"
