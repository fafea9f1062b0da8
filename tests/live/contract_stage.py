"""Runs in namespaces of its own: every case of the contract in a fresh guest whose `/` is live.

The guests are this machine's own file system under an overlay: "debian" as it is, "busybox" with the programs of
BusyBox (and Python) alone. Reads {"guest": "debian"|"busybox", "cases": [...]} on standard input, writes a list of
answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

STAGE = Path("/run/stage")
GUEST = STAGE / "guest"
DRIVER = Path(__file__).with_name("contract_driver.py")


def main() -> None:
    """Run the cases, one guest each."""
    job = json.load(sys.stdin)
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "tmpfs", "stage", "/run")
    _run("ip", "link", "set", "lo", "up")
    STAGE.mkdir()
    GUEST.mkdir()
    lower = "/"
    if job["guest"] == "busybox":
        with _overlay("/", "base"):
            _leave_busybox_only()
        lower = f"{STAGE}/base-upper:/"
    answers = []
    for number, case in enumerate(job["cases"]):
        with _overlay(lower, f"case{number}") as upper, _live(upper):
            answers.append(_ask(case))
    json.dump(answers, sys.stdout)


def _ask(case: dict[str, Any]) -> dict[str, Any]:
    command = ["chroot", str(GUEST), sys.executable, str(DRIVER)]
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(DRIVER.parents[1]),
    }
    try:
        done = subprocess.run(
            command, input=json.dumps(case), env=env, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return {"broken": "too slow"}
    if done.returncode != 0:
        return {"broken": done.stderr[-2000:]}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextlib.contextmanager
def _overlay(lower: str, name: str) -> Iterator[Path]:
    upper, work = STAGE / f"{name}-upper", STAGE / f"{name}-work"
    upper.mkdir()
    work.mkdir()
    _run("mount", "-t", "overlay", name, "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", GUEST)
    try:
        yield upper
    finally:
        _run("umount", "-l", GUEST)


@contextlib.contextmanager
def _live(upper: Path) -> Iterator[None]:
    """What a running system has besides files, and the interpreter of these tests wherever it is."""
    for needed in {sys.prefix, sys.base_prefix, os.getcwd()}:
        if os.stat(needed).st_dev != os.stat("/").st_dev:  # an overlay does not reach into other mounts
            _run("mount", "--rbind", needed, GUEST / needed.lstrip("/"))
    for name in ("run", "sys"):
        _run("mount", "-t", "tmpfs", name, GUEST / name)
    _run("mount", "--rbind", "/dev", GUEST / "dev")
    _run("mount", "-t", "proc", "proc", GUEST / "proc")
    (GUEST / "run/upper").mkdir()
    _run("mount", "--bind", upper, GUEST / "run/upper")
    yield


def _leave_busybox_only() -> None:
    """In the guest: no program but Python's and BusyBox's."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    for folder in ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"):
        for path in (GUEST / folder).iterdir():
            if not path.name.startswith("python") and not path.is_dir():
                path.unlink()
    program = GUEST / "usr/bin/busybox"
    program.write_bytes(busybox)
    program.chmod(0o755)
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in set(applets) - {"busybox"}:
        (GUEST / "usr/bin" / applet).symlink_to("busybox")
    for left in ("etc/login.defs", "etc/sudoers", "lib/systemd/systemd", "usr/lib/systemd/systemd"):
        (GUEST / left).unlink(missing_ok=True)


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
