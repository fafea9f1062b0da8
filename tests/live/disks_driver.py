"""Disks on a machine of their own: loop devices, real partitions, a guest whose `/` is real.

Run inside fresh namespaces. Reads a job as JSON on standard input, writes what came of it. Called with "apply" it is
the guest's side: it runs one handler on `/`.

Job: {"image": path, "size": bytes, "grow_to": bytes, "table": text for sfdisk, "format": {"1": [mkfs argv]},
"root": number or 0, "root_options": for mount, "also": [options, folder] of a second mount,
"read_only": the root is made so before the runs, "attach": "gen1" | "gen2" | "nvme" | "", "shims": {name: script},
"hide": [program], "files": {path: text}, "before": script, "runs": [{"handler", "options", "dry_run", "then": script}]}
In a script the disk is $DISK.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STAGE = Path("/run/stage")
GUEST = STAGE / "guest"
SHIMS = "/run/shims"
GEN2 = "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}"


def main() -> None:
    """Build the machine, do the runs, tell, and leave no device behind."""
    job = json.load(sys.stdin)
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "stage", "/run")
    GUEST.mkdir(parents=True)
    with open(job["image"], "wb") as image:
        image.truncate(job["size"])
    if job.get("table"):
        run("sfdisk", "--quiet", job["image"], text=job["table"])
    disk = run("losetup", "--find", "--show", job["image"]).strip()
    os.environ["DISK"] = disk
    try:
        json.dump(_work(job, disk), sys.stdout)
    finally:
        quietly("umount", "--recursive", str(GUEST))
        _forget_partitions(disk)
        run("losetup", "--detach", disk)


def _forget_partitions(disk: str) -> None:
    """Or the next machine inherits them. Another test may be looking at one: it sees all of the kernel's disks."""
    name = os.path.basename(disk)
    for _ in range(100):
        if not any(entry.startswith(f"{name}p") for entry in os.listdir(f"/sys/block/{name}")):
            return
        quietly("partx", "--delete", disk)
        time.sleep(0.1)
    raise AssertionError(f"{disk}: its partitions stay")


def _work(job: dict[str, Any], disk: str) -> list[dict[str, Any]]:
    _format(job, disk)
    if job.get("root"):
        _mount_root(job, disk)
    else:
        _overlay()
        if job.get("attach"):
            _show(disk, job["attach"])
    (GUEST / SHIMS.lstrip("/")).mkdir(parents=True)
    for name, script in job.get("shims", {}).items():
        shim = GUEST / SHIMS.lstrip("/") / name
        shim.write_text(f"#!/bin/sh\n{script}\n")
        shim.chmod(0o755)
    for name, text in job.get("files", {}).items():
        (GUEST / name.lstrip("/")).write_text(text)
    # What the kernel really swaps to is nobody's business here: `swapon` is a shim, and this is where it notes it.
    (GUEST / "run/swaps").write_text("Filename Type Size Used Priority\n")
    run("mount", "--bind", str(GUEST / "run/swaps"), str(GUEST / "proc/swaps"))
    for program in job.get("hide", []):
        run("mount", "--bind", "/dev/null", str(GUEST) + str(shutil.which(program)))
    if job.get("grow_to"):
        os.truncate(job["image"], job["grow_to"])
        run("losetup", "--set-capacity", disk)
    if job.get("read_only"):
        run("mount", "-o", "remount,bind,ro", str(GUEST))
    return [_run(step) for step in job["runs"]]


def _format(job: dict[str, Any], disk: str) -> None:
    if job.get("table"):
        _forget_partitions(disk)
        run("partx", "--add", disk)
    for number, argv in job.get("format", {}).items():
        run(*argv, disk if number == "0" else f"{disk}p{number}")
    if job.get("before"):
        run("sh", "-ec", job["before"])


def _mount_root(job: dict[str, Any], disk: str) -> None:
    device = f"{disk}p{job['root']}"
    run("mount", "-o", job.get("root_options", "defaults"), device, str(GUEST))
    _fill_root()
    if job.get("read_only"):  # later; /run is writable on such a machine, too
        run("mount", "-t", "tmpfs", "run", str(GUEST / "run"))
    if job.get("also"):
        options, folder = job["also"]
        run("mount", "-o", options, device, str(GUEST) + folder)


def _run(step: dict[str, Any]) -> dict[str, Any]:
    command = ["chroot", str(GUEST), sys.executable, os.path.abspath(__file__), "apply"]
    done = subprocess.run(command, input=json.dumps(step), capture_output=True, text=True, timeout=150, check=False)
    result: dict[str, Any] = {"err": done.stderr, "changes": None}
    if done.returncode == 0:
        result.update(json.loads(done.stdout))
    if step.get("then"):
        shell = ["chroot", str(GUEST), "sh", "-c", step["then"]]
        look = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
        result["out"] = look.stdout + look.stderr
    return result


def _apply() -> None:
    """One handler, on the machine that this process sees."""
    import importlib

    from azurelite.config.document import Document
    from azurelite.config.schema import bind
    from azurelite.errors import AzureliteError
    from azurelite.fabric.client import Fabric
    from azurelite.handlers import BUILTIN, Context
    from azurelite.metadata import Metadata
    from azurelite.outcome import Outcome
    from azurelite.state.store import Memory
    from azurelite.system.machine import System

    step = json.load(sys.stdin)
    module = importlib.import_module(BUILTIN[step["handler"]])
    options = bind(module.Options, step.get("options", {}), Document({}, {}), (step["handler"],))
    system = System("/", dry_run=step.get("dry_run", False), search_path=SHIMS)
    notes: list[str] = []
    memory = Memory(system.files, "2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4")
    error = None
    ran: list[str] = []
    sys.addaudithook(lambda event, about: ran.append(str(about[0])) if event == "subprocess.Popen" else None)
    try:
        module.apply(
            Context(Metadata(), system, Fabric(0), Outcome("applied", ""), notes.append, lambda: None, memory), options
        )
    except AzureliteError as failure:
        error = str(failure)
    made = system.journal.since(0)
    changes, kinds = [str(change) for change in made], [change.kind for change in made]
    json.dump({"changes": changes, "kinds": kinds, "notes": notes, "error": error, "ran": ran}, sys.stdout)


def _fill_root() -> None:
    """Everything of this machine's root in a root of its own, read-only; only kernel folders are as they are."""
    for name in os.listdir("/"):
        source, target = Path("/", name), GUEST / name
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.is_dir() and name not in ("run", "tmp", "lost+found"):
            target.mkdir()
            run("mount", "--rbind", str(source), str(target))
            if name not in ("proc", "sys", "dev"):
                run("mount", "-o", "remount,bind,ro", str(target))
    for name in ("run", "tmp"):
        (GUEST / name).mkdir()
    for name in {*_own_folders(), os.getcwd()}:
        if name.startswith("/tmp/"):
            _bind(name)


def _overlay() -> None:
    """This machine's root under an overlay, with /dev and /sys of its own."""
    run("mount", "-t", "tmpfs", "stage", str(STAGE))
    for name in ("upper", "work", "guest"):
        (STAGE / name).mkdir()
    layers = f"lowerdir=/,upperdir={STAGE}/upper,workdir={STAGE}/work"
    run("mount", "-t", "overlay", "guest", "-o", layers, str(GUEST))
    for name in {*_own_folders(), os.getcwd()}:
        if os.stat(name).st_dev != os.stat("/").st_dev:  # an overlay does not reach into other mounts
            _bind(name)
    for name in ("run", "sys", "dev"):
        run("mount", "-t", "tmpfs", name, str(GUEST / name))
    run("mount", "-t", "proc", "proc", str(GUEST / "proc"))
    nodes = ["null", "zero", "full", "random", "urandom", *(node for node in os.listdir("/dev") if "loop" in node)]
    for name in nodes:
        found = os.stat(f"/dev/{name}")
        if not stat.S_ISDIR(found.st_mode):
            os.mknod(GUEST / "dev" / name, found.st_mode, found.st_rdev)


def _own_folders() -> set[str]:
    return {sys.prefix, sys.base_prefix}


def _bind(folder: str) -> None:
    target = GUEST / folder.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "--rbind", folder, str(target))


def _show(disk: str, attach: str) -> None:
    """A sysfs in which the disk is attached as Azure attaches its temporary one."""
    name = os.path.basename(disk)
    bus = "devices/LNXSYSTM:00/VMBUS:00"
    if attach == "nvme":
        device = f"{bus}/pci/nvme/nvme0"
        home = f"{device}/{name}"
        attributes = {f"{device}/model": "Microsoft NVMe Direct Disk v2           "}
    else:
        guid = "{00000000-0001-8899-0000-000000000000}" if attach == "gen1" else GEN2
        controller = f"{bus}/{guid.strip('{}')}"
        device = f"{controller}/host1/target1:0:0/1:0:0:{0 if attach == 'gen1' else 1}"
        home = f"{device}/block/{name}"
        attributes = {
            f"{controller}/device_id": guid,
            f"{device}/vendor": "Msft    ",
            f"{device}/model": "Virtual Disk",
        }
    for path, text in attributes.items():
        _put(path, text)
    for here in [name, *(part for part in os.listdir(f"/sys/block/{name}") if part.startswith(name))]:
        there = home if here == name else f"{home}/{here}"
        for attribute in ("dev", "size", "ro", "start", "partition"):
            source = Path("/sys/class/block", here, attribute)
            if source.exists():
                _put(f"{there}/{attribute}", source.read_text())
        _link(f"dev/block/{(GUEST / 'sys' / there / 'dev').read_text().strip()}", there)
    _link(f"block/{name}", home)
    (GUEST / "sys" / home / "device").symlink_to(os.path.relpath(f"/{device}", f"/{home}"))


def _put(path: str, text: str) -> None:
    target = GUEST / "sys" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text if text.endswith("\n") else text + "\n")


def _link(path: str, to: str) -> None:
    target = GUEST / "sys" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(os.path.relpath(f"/{to}", f"/{os.path.dirname(path)}"))


def run(*argv: str, text: str = "") -> str:
    """A program that must succeed; its output."""
    if shutil.which(argv[0]) is None:
        raise SystemExit(f"missing: {argv[0]}")
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv}: {done.stderr}{done.stdout}")
    return done.stdout


def quietly(*argv: str) -> None:
    """A program that may fail."""
    with contextlib.suppress(OSError):
        subprocess.run(argv, capture_output=True, check=False)


if __name__ == "__main__":
    _apply() if sys.argv[1:] == ["apply"] else main()
