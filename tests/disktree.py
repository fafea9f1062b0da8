"""sysfs trees of block devices, as folders: disks as Azure attaches them, their partitions, and what stands on them."""

from __future__ import annotations

import os
from typing import Mapping, Optional, Sequence

from kit import Guest

MIB = 1024 * 1024
BUS = "devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00"
GEN1_OS = "{00000000-0000-8899-0000-000000000000}"
GEN1_RESOURCE = "{00000000-0001-8899-0000-000000000000}"
GEN2_OS = "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}"
DATA = "{f8b3781b-1e82-4818-a1c3-63d806ec15bb}"


class DiskTree:
    """Puts disks into the sysfs of a guest."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._minor = 0
        guest.path("sys/block").mkdir(parents=True, exist_ok=True)

    def scsi(self, name: str, controller: str, lun: int, **more: object) -> str:
        """A SCSI disk at a LUN of a VMBus controller; its folder in sysfs."""
        bus = f"{BUS}/{controller.strip('{}')}"
        device = f"{bus}/host0/target0:0:0/0:0:0:{lun}"
        texts = {f"{bus}/device_id": controller, f"{device}/vendor": "Msft    ", f"{device}/model": "Virtual Disk    "}
        return self._disk(f"{device}/block/{name}", device, texts, **more)  # type: ignore[arg-type]

    def nvme(self, name: str, model: str, **more: object) -> str:
        """A namespace of an NVMe controller; its folder in sysfs."""
        device = f"{BUS}/pci0000:00/nvme/{name.rpartition('n')[0]}"
        return self._disk(f"{device}/{name}", device, {f"{device}/model": model.ljust(40)}, **more)  # type: ignore[arg-type]

    def virtual(self, name: str, *, slaves: Sequence[str] = (), kind: str = "", **more: object) -> str:
        """A device that is made of others ("dm", "md"), or a loop device; its folder in sysfs."""
        home = self._disk(f"devices/virtual/block/{name}", None, {}, **more)  # type: ignore[arg-type]
        if kind:
            self._put(f"{home}/{kind}/name", "x")
        for slave in slaves:
            self._link(f"{home}/slaves/{os.path.basename(slave)}", slave)
            self._link(f"{slave}/holders/{name}", home)
        return home

    def _disk(
        self,
        home: str,
        device: Optional[str],
        texts: Mapping[str, str],
        *,
        size: int = 100 * MIB,
        parts: Sequence[tuple[int, int, int]] = (),
        read_only: bool = False,
    ) -> str:
        for path, text in texts.items():
            self._put(path, text)
        name = os.path.basename(home)
        self._node(home, size, read_only=read_only)
        self._link(f"block/{name}", home)
        if device is not None:
            self._link(f"{home}/device", device)
        between = "p" if name[-1].isdigit() else ""
        for number, start, length in parts:
            here = f"{home}/{name}{between}{number}"
            self._node(here, length, read_only=read_only)
            self._put(f"{here}/start", str(start // 512))
            self._put(f"{here}/partition", str(number))
        return home

    def _node(self, home: str, size: int, *, read_only: bool) -> None:
        self._put(f"{home}/dev", f"8:{self._minor}")
        self._put(f"{home}/size", str(size // 512))
        self._put(f"{home}/ro", str(int(read_only)))
        self._link(f"dev/block/8:{self._minor}", home)
        self._minor += 1

    def _put(self, path: str, text: str) -> None:
        self.guest.put({f"sys/{path}": text + "\n"})

    def _link(self, path: str, to: str) -> None:
        target = self.guest.path(f"sys/{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.path.relpath(f"/{to}", f"/{os.path.dirname(path)}"))
