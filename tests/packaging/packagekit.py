"""What the tests of packages share: building, roots to install into, and a VM made of such a root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Mapping, Sequence

import pytest
from kit import ED25519

CHECKOUT = Path(__file__).parents[2]
PACKAGING = CHECKOUT / "contrib" / "packaging"
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
EPOCH = "1700000000"
VM = {"hostname": "packed", "username": "boxer", "ssh_keys": [ED25519]}


def run(*argv: object, cwd: Path = CHECKOUT, timeout: float = 600, **env: str) -> str:
    """Run a program of this machine; what it printed. The test fails, and shows all it said, when it fails."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-6000:]}"
    return done.stdout


def need(programs: Mapping[str, str], *, root: bool = False) -> None:
    """Skip the test unless these programs are there: name -> the Debian package that brings it."""
    if root and os.geteuid() != 0:
        pytest.skip("needs root")
    for program, package in programs.items():
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            pytest.skip(f"needs `{program}`: install {package}")


def build(kind: str, folder: Path, *words: str) -> list[Path]:
    """Build a package by contrib/packaging/build.sh; all files that it made."""
    run(PACKAGING / "build.sh", kind, folder, *words, PYTHON=sys.executable)
    return sorted(folder.iterdir())


def files_below(folder: Path) -> set[str]:
    """All files and links in a root, by the paths that they have there."""
    return {f"/{path.relative_to(folder)}" for path in folder.rglob("*") if not path.is_dir()}


def pages(folder: str) -> set[str]:
    """Where a package that has its documentation in `folder` installs what README.md refers to as `docs/NAME.md`."""
    return {f"{folder}/{path.relative_to(CHECKOUT)}" for path in (CHECKOUT / "docs").rglob("*.md")}


def boot(
    root: Path,
    *runs: Sequence[str],
    put: Mapping[str, tuple[Path, int]] = {},
    outside: Sequence[Sequence[object]] = (),
) -> list[dict[str, Any]]:
    """Make a folder the root of a VM on Azure and run commands in it; what came of each."""
    need({"ip": "iproute2"}, root=True)
    job = {
        "root": str(root),
        "vm": VM,
        "put": {name: [str(path), mode] for name, (path, mode) in put.items()},
        "outside": [[str(word) for word in argv] for argv in outside],
        "runs": runs,
    }
    stage = [*NAMESPACES, "sh", str(CHECKOUT / "tests/live/stage.sh")]
    command = [*stage, sys.executable, str(Path(__file__).with_name("root_driver.py"))]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def check_provisioned(first: Mapping[str, Any], look: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """What `provision`, a look at the machine (`LOOK`) and a second `provision` must have come to."""
    assert first["code"] == 0, first["err"]
    assert [report["state"] for report in first["reports"] if report["accepted"]] == ["Ready"]
    assert first["hostname"] == "packed"
    assert look["code"] == 0, look["err"]
    assert look["out"].splitlines()[0] == "packed"
    assert "boxer:x:" in look["out"]
    assert ED25519 in look["out"]
    assert (again["code"], again["requests"]) == (0, []), again["err"]


LOOK = ["sh", "-c", "cat /etc/hostname && grep boxer /etc/passwd && cat /home/boxer/.ssh/authorized_keys"]


def busybox_root(folder: Path) -> Path:
    """A root with BusyBox, this interpreter, its standard library, the libraries that they load, and nothing else."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    stdlib = Path(sysconfig.get_path("stdlib"))
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    for name in ("bin", "sbin", "usr/bin", "usr/sbin", "etc", "root", "tmp", "home", "var/lib"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    junk = shutil.ignore_patterns(
        "__pycache__", "site-packages", "dist-packages", "test", "config-*", "idlelib", "tkinter"
    )
    shutil.copytree(stdlib, folder / str(stdlib).lstrip("/"), ignore=junk, symlinks=False)
    (folder / str(python).lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(python, folder / str(python).lstrip("/"))
    if python.parent != Path("/usr/bin"):
        (folder / "usr/bin/python3").symlink_to(python)
    else:
        (folder / "usr/bin/python3").symlink_to(python.name)
    shutil.copy(busybox, folder / "bin/busybox")
    for applet in run(busybox, "--list").split():
        if applet != "busybox":
            (folder / "bin" / applet).symlink_to("busybox")
    (folder / "usr/bin/env").symlink_to("/bin/busybox")
    for program in [busybox, python, *(stdlib / "lib-dynload").glob("*.so")]:
        _copy_libraries(program, folder)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\nwheel:x:10:\n")
    (folder / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (folder / "etc/shadow").chmod(0o600)
    (folder / "etc/hostname").write_text("localhost\n")
    return folder


def _copy_libraries(program: Path, folder: Path) -> None:
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    for line in told.splitlines():
        paths = [word for word in line.split() if word.startswith("/")]
        for path in paths[:1]:
            target = folder / path.lstrip("/")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
