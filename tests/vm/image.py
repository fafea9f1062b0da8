"""The disks of the machines: a root of tests/boot with a device manager, azurelite in it, and its service.

Built from a folder by mke2fs, so that neither a loop device nor a mount is needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

from boot.roots import BuildError, Root
from vm.kernel import Kernel

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SECONDS = 300  # for one program
ROOM = 150  # MiB of free space on a disk
SCRIPT = """#!/usr/bin/python3
import sys

from azurelite.cli import command

sys.exit(command())
"""


@dataclass(frozen=True)
class MachineRoot(Root):
    """A root that a machine boots. Containers have no devices to be managed.

    Attributes:
        more: further packages.
    """

    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name for people and files."""
        return "-".join(("vm", super().name, *self.more))

    @property
    def packages(self) -> tuple[str, ...]:
        """What it has beside the base."""
        return tuple(sorted({*super().packages, "kmod", "udev", *self.more}))

    @property
    def scripts(self) -> tuple[Path, ...]:
        """What is run in it once its packages are there."""
        own = HERE / f"recipes/{self.init}.sh"
        return (*super().scripts, HERE / "recipes/machine.sh", *([own] if own.exists() else []))


def make_tree(root: Root, folder: Path, *, package: Path, files: Mapping[str, str], early: bool) -> Path:
    """A root of one's own with azurelite in it and its service enabled.

    Args:
        root: what is booted.
        folder: where the copy goes.
        package: the wheel.
        files: further text files, by path.
        early: the unit that names the host ahead of the network, too.

    Returns:
        The path of the copy. Raises BuildError.
    """
    tree = folder / "tree"
    run("cp", "-a", "--reflink=auto", root.build(), tree)
    packages = tree / "usr/lib/python3/dist-packages"
    with zipfile.ZipFile(package) as archive:
        archive.extractall(packages)
    script = tree / "usr/bin/azurelite"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    run("chroot", tree, "python3", "-m", "compileall", "-q", "/usr/lib/python3/dist-packages/azurelite")
    words = ["--root", tree, "--init", root.init, *(["--early"] if early else [])]
    run(sys.executable, "-m", "azurelite", "service", "install", *words)
    for name, text in files.items():
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tree


def make_initramfs(tree: Path, core: Kernel) -> Path:
    """The initramfs that Debian's own tools make in a root, with this project's example in it.

    Args:
        tree: a root with initramfs-tools.
        core: the kernel that it is for.

    Returns:
        The path of the archive, beside the root. Raises BuildError.
    """
    run("mkdir", "-p", tree / "usr/lib/modules")
    run("cp", "-a", core.modules, tree / "usr/lib/modules")
    run("cp", core.config, tree / "boot")
    run("cp", "-a", f"{CHECKOUT}/contrib/initramfs/initramfs-tools/.", tree / "etc/initramfs-tools")
    clock = tree / "etc/initramfs-tools/scripts/init-premount/clock"
    clock.write_text('[ "$1" = prereqs ] || { read -r up rest </proc/uptime; echo "vm: up $up" >/dev/console; }\n')
    clock.chmod(0o755)
    (tree / "etc/initramfs-tools/conf.d/vm").write_text("COMPRESS=gzip\nRESUME=none\n")
    run("chroot", tree, "mkinitramfs", "-o", "/initramfs", core.modules.name)
    run("rm", "-r", tree / "usr/lib/modules" / core.modules.name)
    return (tree / "initramfs").rename(tree.parent / "initramfs")


def make_disk(tree: Path) -> Path:
    """The disk image of a root, which goes. Raises BuildError."""
    disk = tree.parent / "disk"
    used = re.match(r"\d+", run("du", "-sm", tree))
    size = int(used[0] if used else 0) * 5 // 4 + ROOM
    options = ["-E", "lazy_itable_init=1,root_owner=0:0", "-O", "^has_journal", "-L", "root"]
    run("mke2fs", "-q", "-t", "ext4", *options, "-d", tree, disk, f"{size}M")
    shutil.rmtree(tree)
    return disk


def run(*words: object) -> str:
    """A program to its end, and what it printed. Raises BuildError."""
    command = [str(word) for word in words]
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if shutil.which(command[0], path=path) is None:
        raise BuildError(f"{command[0]} is missing: a machine's disk is made with it")
    env = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)[:200]} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
