"""The kernel that every machine here boots, and the small initrd that finds the disk.

Debian's kernel for clouds is what runs on Azure. It is downloaded as a package and unpacked, never installed, and the
roots need no modules: the initrd loads the few that a machine cannot do without. It boots every suite.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from boot.roots import BuildError, cache, locked

HERE = Path(__file__).resolve().parent
META_PACKAGE = "linux-image-cloud-amd64"
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "ata_piix",
    "sr_mod",
    "udf",
    "isofs",
    "af_packet",
)
FOLDERS = ("bin", "dev", "mnt", "modules", "proc", "run", "sys")
SECONDS = 300  # for one program


@dataclass(frozen=True)
class Kernel:
    """What QEMU is given.

    Attributes:
        image: the compressed kernel.
        initrd: the archive with its first programs.
        modules: the folder of all its modules, named as its version.
        config: how it was configured.
    """

    image: Path
    initrd: Path
    modules: Path
    config: Path


def kernel() -> Kernel:
    """The kernel, from the cache or fetched anew. Raises BuildError."""
    made_of = [META_PACKAGE, *MODULES, Path(__file__).read_text(), (HERE / "initrd.sh").read_text()]
    key = f"vm-kernel-{hashlib.sha256(chr(0).join(made_of).encode()).hexdigest()[:12]}"
    folder = cache() / key
    with locked(cache() / f".{key}.lock"):
        if not folder.is_dir():
            fresh = cache() / f".{key}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            try:
                _make(fresh)
                fresh.rename(folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            for older in cache().glob("vm-kernel-*"):
                if older != folder:
                    shutil.rmtree(older, ignore_errors=True)
    (modules,) = (folder / "modules").iterdir()
    return Kernel(folder / "vmlinuz", folder / "initrd", modules, folder / f"config-{modules.name}")


def _make(folder: Path) -> None:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", _package(), "busybox-static", cwd=scratch)
    for archive in scratch.glob("*.deb"):
        _run("dpkg-deb", "-x", archive, scratch / "tree")
    tree = scratch / "tree"
    (image,) = (tree / "boot").glob("vmlinuz-*")
    image.rename(folder / "vmlinuz")
    (version,) = (path.name for path in (tree / "lib/modules").iterdir())
    _run("depmod", "-b", tree, version)
    files: dict[str, bytes] = {
        "init": (HERE / "initrd.sh").read_bytes(),
        "bin/busybox": (tree / "bin/busybox").read_bytes(),
    }
    order = list(_modules(tree, version))
    for path in order:
        files[f"modules/{path.name}"] = path.read_bytes()
    files["modules/list"] = "".join(f"{path.name}\n" for path in order).encode()
    (folder / "initrd").write_bytes(gzip.compress(cpio(files, folders=FOLDERS), 6))
    (tree / "boot" / f"config-{version}").rename(folder / f"config-{version}")
    (tree / "lib/modules").rename(folder / "modules")
    shutil.rmtree(scratch)


def _package() -> str:
    """The package that the meta package stands for now."""
    _run("apt-get", "-q", "update")
    for line in _run("apt-cache", "depends", META_PACKAGE).splitlines():
        word = line.rpartition("Depends: ")[2].strip()
        if word.startswith("linux-image-") and word != META_PACKAGE:
            return word
    raise BuildError(f"apt knows no {META_PACKAGE}: machines are booted on Debian for amd64")


def _modules(tree: Path, version: str) -> Iterator[Path]:
    """The files of the modules, each behind those that it needs."""
    seen = set()
    for name in MODULES:
        shown = _run("modprobe", "-d", tree, "-S", version, "--show-depends", name)
        for line in shown.splitlines():
            kind, _, path = line.partition(" ")
            if kind == "insmod" and path.strip() not in seen:
                seen.add(path.strip())
                yield Path(path.strip())


def cpio(files: dict[str, bytes], *, folders: tuple[str, ...] = ()) -> bytes:
    """An archive in the format "newc" that the kernel unpacks; everything in it belongs to root and is executable."""
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in folders]
    entries += [(name, stat.S_IFREG | 0o755, content) for name, content in files.items()]
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += b"\0" * (-len(archive) % 4) + content
        archive += b"\0" * (-len(archive) % 4)
    return bytes(archive)


def _run(*words: object, cwd: Path | None = None) -> str:
    program = str(words[0])
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if shutil.which(program, path=path) is None:
        raise BuildError(f"{program} is missing: a machine's kernel is fetched and taken apart with it")
    command = [str(word) for word in words]
    env = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)[:200]} failed: {done.stderr[-2000:]}")
    return done.stdout
