"""A guest on a fabric, for tests: a root file system with azurelite installed in it, booted as often as a test wants.

Knows how azurelite gets into a root (wheel, unit), and speaks to `stage.py`, where all of it happens. Refuses to look
into a running guest: what it tells comes from the fabric, the DHCP server, the console and a login by SSH.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Callable, Mapping

from boot.roots import Root, locked
from needs import PATH, lacking
from wheels import build_wheel

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
VM_ID = "2bf2d4c1-6f0c-4c5e-9f3a-51a7d0b2e8c4"
NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
USER = "azureuser"
NAME = "lantern"
ANSWER_SECONDS = 150.0  # the most that any order takes

SCRIPT = "#!/usr/bin/python3\nimport sys\nfrom azurelite.cli import command\nsys.exit(command())\n"
# The groups of processes that are just being killed cannot be removed yet.
REMOVE = """
mount -t cgroup2 cgroup /mnt
i=0
while [ -d "/mnt/$1" ]; do
    [ $i -lt 100 ] || exit 1
    [ $i -eq 0 ] || sleep 0.1
    i=$((i + 1))
    find "/mnt/$1" -depth -type d -exec rmdir {} + 2>/dev/null
done
exit 0
"""
# What runs that were ended from outside have left behind; no run lasts two hours.
SWEEP = """
mount -t cgroup2 cgroup /mnt
find /mnt -maxdepth 1 -name 'azurelite-test-*' -mmin +120 | while read -r group; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
done
exit 0
"""
TOOLS = ("ip", "mmdebstrap", "ssh", "ssh-keygen", "unshare")
PROBE = """
mount -t tmpfs probe /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay probe -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount -t cgroup2 cgroup /mnt/upper
ip link add probe type bridge
ip link add probe0 type veth peer name probe1
"""
MODULES = "usr/lib/python3/dist-packages"


class StageError(RuntimeError):
    """The stage broke down: no finding about azurelite, but about this machine or these tests."""


Start = Callable[["Root"], "Machine"]  # the fixture `start`


class Key:
    """An SSH key of a user of the VM."""

    def __init__(self, folder: Path) -> None:
        self.private = folder / "key"
        if not self.private.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.private)], check=True
            )
        self.public = self.private.with_suffix(".pub").read_text().strip()


class Machine:
    """One virtual machine with its disk, off at first. Nothing of it is left once it is closed.

    Args:
        root: the file system that its disk begins with.
        packages: a folder with azurelite as it is installed, see `installed`.
        key: the key that opens it.
    """

    _count = 0

    def __init__(self, root: Root, packages: Path, key: Key) -> None:
        self.root, self.key = root, key
        Machine._count += 1
        self._group = f"azurelite-test-{os.getpid()}-{Machine._count}"
        command = [*NAMESPACES, sys.executable, str(HERE / "stage.py"), f"{packages}:{root.build()}", self._group]
        env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "PYTHONPATH": str(CHECKOUT)}
        self._stage = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        )

    def install(self) -> None:
        """Have azurelite put its unit in place, by its own verb."""
        verb = [sys.executable, "-m", "azurelite", "service", "install", "--init", self.root.init, "--root"]
        done = self._say("install", argv=verb)
        if done["code"] != 0:
            raise StageError(f"azurelite service install --init {self.root.init}: {done['out']}{done['err']}")

    def close(self) -> None:
        """End it, and everything that it was made of."""
        self._stage.kill()
        self._stage.communicate()
        done = subprocess.run(["unshare", "--mount", "sh", "-c", REMOVE, "sh", self._group], check=False)
        assert done.returncode == 0, f"the control group {self._group} cannot be removed: something still runs in it"

    def write(self, files: Mapping[str, str]) -> None:
        """Write files onto the disk of the machine while it is off; a path that ends in `*` is made executable."""
        self._say("write", files=dict(files))

    def inside(self, command: str) -> str:
        """What a shell command prints that is run on the disk of the machine while it is off."""
        done = self._say("inside", command=command)
        assert done["code"] == 0, done
        return str(done["out"])

    def boot(self, *, word: str = "", readonly: str = "", overlay: str = "", **vm: Any) -> None:
        """Switch it on.

        Args:
            word: one more word of the kernel's command line.
            readonly: folders that cannot be written, as "etc usr".
            overlay: a folder what is written to which goes elsewhere, as on immutable systems.
            vm: what its fabric knows of it beside the usual.
        """
        known = {"vm_id": VM_ID, "hostname": NAME, "username": USER, "ssh_keys": [self.key.public], **vm}
        # In a container systemd takes the words of its own command line for the kernel's.
        init = f"/sbin/init {word}" if self.root.init == "systemd" else "/sbin/init"
        self._say("boot", vm=known, init=init, word=word, readonly=readonly, overlay=overlay)

    def halt(self) -> None:
        """Cut its power."""
        self._say("halt")

    def silence(self, seconds: float) -> None:
        """WireServer does not answer for so long from the next boot on."""
        self._say("silence", seconds=seconds)

    def wait(self, seconds: float = 120.0, **seen: Any) -> None:
        """Wait until it is seen, see `Stage.do_wait`. Fails with all that was seen instead."""
        if not self._say("wait", seconds=seconds, **seen):
            raise AssertionError(f"{self.root.name}: not seen in {seconds} s: {seen}\n{self.story()}")

    def ssh(self, command: str, *, user: str = USER, seconds: float = 120.0) -> str:
        """What a command prints that is run over SSH; fails when it fails."""
        done = self.try_ssh(command, user=user, seconds=seconds)
        assert done["code"] == 0, f"{self.root.name}: {command}: {done}\n{self.story()}"
        return str(done["out"])

    def try_ssh(self, command: str, *, user: str = USER, seconds: float = 120.0) -> dict[str, Any]:
        """The same, whatever comes of it: `code`, `out`, `err`; 255 is SSH's own failure."""
        done: dict[str, Any] = self._say("ssh", key=str(self.key.private), user=user, command=command, seconds=seconds)
        return done

    def look(self) -> dict[str, Any]:
        """All that can be seen from outside; see `Stage.do_look`."""
        seen: dict[str, Any] = self._say("look")
        return seen

    def story(self) -> str:
        """What can be seen from outside, for a person who wants to know why a test failed."""
        seen = self.look()
        lines = [f"{entry['at']:7.3f} DHCP {entry['kind']} {entry['name']!r}" for entry in seen["dhcp"]]
        lines += [f"{entry['at']:7.3f} {entry['endpoint']} {entry['status']}" for entry in seen["requests"]]
        lines += [f"report: {report['state']} {report['description'] or ''}" for report in seen["reports"]]
        return "\n".join([*sorted(lines), f"ended: {seen['ended']}", "console:", seen["console"][-6000:]])

    def _say(self, order: str, **arguments: Any) -> Any:
        assert self._stage.stdin is not None
        try:
            self._stage.stdin.write(json.dumps({"do": order, **arguments}).encode() + b"\n")
            self._stage.stdin.flush()
        except BrokenPipeError:
            raise StageError(self._last_words()) from None
        answer = json.loads(self._line(time.monotonic() + ANSWER_SECONDS))
        if "error" in answer:
            raise StageError(f"{order}: {answer['error']}")
        return answer["ok"]

    def _line(self, end: float) -> bytes:
        assert self._stage.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._stage.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                raise StageError(f"no answer in time; {self._last_words()}")
            block = os.read(self._stage.stdout.fileno(), 65536)
            if not block:
                raise StageError(self._last_words())
            line += block
        return line

    def _last_words(self) -> str:
        self._stage.kill()
        return f"the stage has ended: {self._stage.communicate()[1].decode(errors='replace')[-3000:]}"


def wheel(folder: Path) -> Path:
    """azurelite's wheel, built of the checkout; beside the checkout, so that nothing is left in it."""
    with locked(folder / ".wheel.lock"):
        found = sorted(folder.glob("*.whl"))
        if not found:
            build_wheel(folder)
            found = sorted(folder.glob("*.whl"))
        return found[0]


def installed(folder: Path, root: Root) -> Path:
    """A layer with azurelite in it as Debian's package would have it, compiled by the Python of this suite."""
    built = wheel(folder)
    layer = folder / root.suite
    with locked(folder / f".{root.suite}.lock"):
        if not layer.exists():
            fresh = folder / f"{root.suite}.new"
            (fresh / "usr/bin").mkdir(parents=True)
            with zipfile.ZipFile(built) as archive:
                archive.extractall(fresh / MODULES)
            script = fresh / "usr/bin/azurelite"
            script.write_text(SCRIPT)
            script.chmod(0o755)
            compile_all = 'mount --bind "$1" "$2/mnt"; chroot "$2" python3 -m compileall -q -s /mnt -p / "/mnt/$3"'
            compiling = ["unshare", "--mount", "sh", "-ec", compile_all, "sh"]
            subprocess.run([*compiling, str(fresh), str(root.build()), f"{MODULES}/azurelite"], check=True)
            fresh.rename(layer)
    return layer


def _pip(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StageError(f"pip {words[0]} failed: {done.stdout[-3000:]}")


def missing() -> str:
    """What this machine lacks for these tests; empty when it has all."""
    if os.geteuid() != 0:
        return "making namespaces needs root"
    lacks = lacking(*TOOLS)
    if lacks:
        return lacks
    done = subprocess.run(
        [*NAMESPACES, "sh", "-ec", PROBE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": PATH},
    )
    return f"this kernel or container does not allow it: {done.stderr.strip()}" if done.returncode != 0 else ""


def sweep() -> None:
    """Remove the control groups of runs that are no more."""
    subprocess.run(["unshare", "--mount", "sh", "-c", SWEEP], check=False)
