"""Makes a scratch root: the files of a Linux guest that a first boot needs, with the firmware of an Azure VM."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from azurelite import layout
from azurelite.errors import ConfigError
from azurelite.hypervisor.identity import AZURE_CHASSIS_TAG, swap_bytes
from azurelite.simulator import Vm

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\nwheel:x:10:\n",
    "etc/gshadow": "root:*::\ndaemon:*::\nwheel:!::\n",
    "etc/hostname": "localhost\n",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
    "etc/skel/.profile": "umask 022\n",
    "etc/os-release": 'NAME="Scratch Linux"\nID=scratch\n',
}
_PROGRAMS = ("bin/sh", "usr/sbin/sshd")  # never run: their presence is what counts
_FOLDERS = ("etc/azurelite", "etc/sudoers.d", "home", "root", "run", "tmp", "var/lib/hyperv")


def make_scratch_root(folder: Path, vm: Vm, *, config: str) -> None:
    """Fill an empty or missing folder.

    Args:
        folder: the guest's `/`.
        vm: has the UUID and generation for the firmware.
        config: the text of its /etc/azurelite/azurelite.yaml.

    Raises:
        ConfigError: the folder is not empty, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty: give an empty or a new folder")
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True)
        for name, text in {**_FILES, **_firmware(vm), "etc/azurelite/azurelite.yaml": config}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name in _PROGRAMS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch(mode=0o755)
        (folder / "etc/shadow").chmod(0o640)
        if vm.generation == 2:
            (folder / layout.EFI_DIR.lstrip("/")).mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}: give a writable folder") from error


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder below: name -> (mode, size, content)."""
    found = {}
    for where, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = Path(where, name)
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path.relative_to(folder))] = (status.st_mode, len(content), content)
    return found


def _firmware(vm: Vm) -> dict[str, str]:
    dmi = layout.DMI_DIR.lstrip("/")
    uuid = vm.vm_id if vm.generation == 2 else swap_bytes(vm.vm_id)
    return {f"{dmi}/chassis_asset_tag": f"{AZURE_CHASSIS_TAG}\n", f"{dmi}/product_uuid": f"{uuid}\n"}
