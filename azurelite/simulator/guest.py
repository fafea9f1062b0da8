"""The other half of a simulated VM: its disk, as a folder that a client takes for its root, and a clock.

This module knows the files of a fresh Linux image and what the firmware of an Azure VM says. It provisions nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azurelite.simulator.scenario import Scenario, Vm

if TYPE_CHECKING:
    from typing_extensions import Self

    from azurelite.simulator.server import Simulator

# Azure sets this chassis asset tag on every VM.
ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
CONFIG = "etc/azurelite/azurelite.yaml"
OS_RELEASE = {"NAME": "Scratch Linux", "ID": "scratch"}
# Accounts, groups and what belongs to them, as in most images before their first boot.
BASE = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\nwheel:x:10:\nnogroup:x:65534:\n",
    "etc/gshadow": "root:*::\ndaemon:*::\nwheel:!::\nnogroup:*::\n",
    "etc/hostname": "localhost\n",
    "etc/skel/.profile": "umask 022\n",
}
_SSHD = {"etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n"}
_PROGRAMS = ("bin/sh", "usr/sbin/sshd")  # never run: their presence is what counts
_FOLDERS = ("etc/azurelite", "etc/sudoers.d", "home", "root", "run", "tmp", "var/lib/hyperv")
_FIRST_UID = 1000


class FastClock:
    """Real time, but a sleep takes none: it only moves this clock on. For `azurelite.Azure(clock=...)`.

    May be used by several threads.

    Args:
        now: the wall clock, in seconds since 1970; it stands still.

    Attributes:
        slept: every pause that was asked for, in seconds.
        skipped: their sum.
    """

    def __init__(self, *, now: float = 1_700_000_000.0) -> None:
        self.slept: list[float] = []
        self.skipped = 0.0
        self._now = now
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Seconds, with those that were slept."""
        return time.monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        """Return at once, and be that much later."""
        with self._lock:
            self.slept.append(seconds)
            self.skipped += seconds

    def now(self) -> float:
        """Seconds since 1970."""
        return self._now

    def jitter(self) -> float:
        """0: pauses are as short as they can be."""
        return 0.0


class Guest:
    """A folder that is the root of a guest.

    Args:
        folder: host path.

    Attributes:
        folder: the same.
        root: the same as text, for `azurelite.Azure(root=...)`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.root = str(folder)

    def put(self, files: Mapping[str, str | bytes]) -> Self:
        """Write files by their guest paths, and make the folders on the way. Raises OSError."""
        for name, content in files.items():
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def path(self, name: str) -> Path:
        """The host path of a guest path."""
        return self.folder / name.lstrip("/")

    def text(self, name: str) -> str:
        """A file's content. Raises OSError."""
        return self.path(name).read_text(encoding="utf-8")

    def mode(self, name: str) -> int:
        """A file's permission bits. Raises OSError."""
        return stat.S_IMODE(self.path(name).lstat().st_mode)

    def set_firmware(self, system_uuid: str, *, asset_tag: str = ASSET_TAG, efi: bool = True) -> Self:
        """Write what Linux shows of the firmware.

        Args:
            system_uuid: the UUID as Linux shows it; of a VM of generation 1 that is `shown_uuid` of its id.
            asset_tag: of the chassis.
            efi: the VM has booted with EFI, as all of generation 2 do.
        """
        dmi = "sys/class/dmi/id"
        self.put({f"{dmi}/chassis_asset_tag": f"{asset_tag}\n", f"{dmi}/product_uuid": f"{system_uuid}\n"})
        if efi:
            self.path("sys/firmware/efi").mkdir(parents=True, exist_ok=True)
        return self

    def snapshot(self, *, without: tuple[str, ...] = ()) -> dict[str, tuple[int, int, int, bytes]]:
        """Everything below: guest path -> (mode, uid, gid, content or link target). Times are left out.

        Args:
            without: the beginnings of guest paths to leave out.
        """
        found = {}
        for where, folders, files in os.walk(self.folder):
            for name in sorted([*folders, *files]):
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


def make_guest(
    folder: str | os.PathLike[str],
    simulator: Simulator | None = None,
    *,
    vm: Vm | None = None,
    asset_tag: str = ASSET_TAG,
    efi: bool | None = None,
    os_release: Mapping[str, str] | None = None,
    accounts: Sequence[str] = (),
    files: Mapping[str, str | bytes] | None = None,
) -> Guest:
    """Fill a folder with a Linux guest before its first boot on Azure: a client takes it for a whole VM.

    Args:
        folder: empty, or it is made.
        simulator: a running simulator: the guest is its VM, and its azurelite.yaml points there.
        vm: another VM, whose id and generation the firmware has; None: the simulator's, or the default one.
        asset_tag: of the chassis; any other text: this machine is not on Azure.
        efi: whether it has booted with EFI; None: as the generation says.
        os_release: the fields of /etc/os-release; None: `OS_RELEASE`.
        accounts: names of users that exist already, from uid 1000 on, each with a group, a home and no password.
        files: more files, by their guest paths; they replace others.

    Raises:
        OSError: the folder is not empty, or cannot be written.
        ValueError: the id of a VM of generation 1 is no UUID.
    """
    guest = Guest(folder)
    guest.folder.mkdir(parents=True, exist_ok=True)
    if any(guest.folder.iterdir()):
        raise OSError(errno.ENOTEMPTY, "the folder is not empty", guest.root)
    if vm is None:
        vm = simulator.vm if simulator is not None else Scenario.default().vm
    for name in _FOLDERS:
        guest.path(name).mkdir(parents=True)
    guest.put({**_with_accounts(accounts), **_SSHD, "etc/os-release": _release(os_release or OS_RELEASE)})
    for name in _PROGRAMS:
        guest.put({name: ""}).path(name).chmod(0o755)
    guest.path("etc/shadow").chmod(0o640)
    for number, name in enumerate(accounts, _FIRST_UID):
        _make_home(guest.path(f"home/{name}"), number)
    guest.set_firmware(shown_uuid(vm), asset_tag=asset_tag, efi=vm.generation == 2 if efi is None else efi)
    if simulator is not None:
        import yaml

        guest.put({CONFIG: yaml.safe_dump({"datasource": simulator.datasource})})
    return guest.put(files or {})


def shown_uuid(vm: Vm) -> str:
    """The UUID that Linux shows for a VM: its id; on generation 1 with the first three groups in little-endian order.

    Raises:
        ValueError: the id of a VM of generation 1 is no UUID.
    """
    return vm.vm_id if vm.generation == 2 else str(uuid.UUID(bytes=uuid.UUID(vm.vm_id).bytes_le))


def _with_accounts(names: Sequence[str]) -> dict[str, str]:
    files = dict(BASE)
    for number, name in enumerate(names, _FIRST_UID):
        files["etc/passwd"] += f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n"
        files["etc/shadow"] += f"{name}:!:19000:0:99999:7:::\n"
        files["etc/group"] += f"{name}:x:{number}:\n"
        files["etc/gshadow"] += f"{name}:!::\n"
    return files


def _make_home(home: Path, number: int) -> None:
    home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(home, number, number)


def _release(fields: Mapping[str, Any]) -> str:
    return "".join(f'{name}="{value}"\n' for name, value in fields.items())
