"""Azure and one virtual machine on one kernel: runs in namespaces of its own and does what it is told, line by line.

The namespaces it is started in (network, mount, PID) become the fabric: a bridge with Azure's two addresses, the
simulator on them, a DHCP server. A guest is an overlay over a root file system and a further set of namespaces, with
the guest's real init as first process and a terminal as its console. All of it ends with this process.

Orders come as JSON, one a line, on standard input: {"do": name, ...}; the answer is a line of JSON on standard output.
Each function below whose name begins with `do_` is an order, and its arguments are the order's keys.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from boot.dhcp import IMDS, WIRESERVER, DhcpServer  # noqa: E402

from azurelite.simulator import Scenario, Simulator  # noqa: E402

STAGE = Path("/run/stage")
ROOT = STAGE / "root"
BRIDGE, OWN, GUEST = "azure0", "10.0.0.1", "10.0.0.4"
CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"
SAMPLE_SECONDS = 0.02


class Stage:
    """The fabric, and the one guest on it."""

    def __init__(self, lower: str, group: str) -> None:
        self._group = STAGE / "cgroup" / group
        self.boots = 0
        self.console = b""
        self.ended: Optional[int] = None
        self.memory = 0
        self.sim: Optional[Simulator] = None
        self.started = 0.0
        self._sim_started = 0.0
        self._silent = 0.0
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._lay_out(lower)
        self._dhcp = DhcpServer(BRIDGE, own=OWN, offered=GUEST)

    def _lay_out(self, lower: str) -> None:
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "tmpfs", "stage", "/run")
        for name in ("upper", "work", "root", "cgroup"):
            (STAGE / name).mkdir(parents=True)
        Path("/run/netns").mkdir()
        run("mount", "-t", "cgroup2", "cgroup", STAGE / "cgroup")
        self._group.mkdir()
        layers = f"lowerdir={lower},upperdir={STAGE}/upper,workdir={STAGE}/work"
        run("mount", "-t", "overlay", "root", "-o", layers, ROOT)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        for address in (f"{OWN}/24", f"{WIRESERVER}/32", f"{IMDS}/32"):
            run("ip", "address", "add", address, "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")

    # orders

    def do_write(self, files: dict[str, str]) -> None:
        """Write files into the guest's root while nobody runs in it; a path that ends in `*` is made executable."""
        for name, text in files.items():
            path = ROOT / name.rstrip("*").lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if name.endswith("*"):
                path.chmod(0o755)

    def do_inside(self, command: str) -> dict[str, Any]:
        """Run a shell command in the guest's root while nobody runs in it."""
        return answer_of(["chroot", str(ROOT), "sh", "-ec", command], seconds=60)

    def do_install(self, argv: list[str]) -> dict[str, Any]:
        """Run a program of this machine on the guest's root, which is given to it as the last word."""
        return answer_of([*argv, str(ROOT)], seconds=60)

    def do_boot(self, vm: dict[str, Any], *, init: str, word: str, readonly: str, overlay: str) -> None:
        """Start the guest, with a fabric that has not heard of it yet."""
        self.do_halt()
        self.boots += 1
        scenario = Scenario.from_dict({"vm": vm})
        self._dhcp.log.clear()
        self.console, self.ended, self.memory = b"", None, 0
        self.sim = Simulator(scenario, listen=[(WIRESERVER, 80), (IMDS, 80)])
        self._sim_started = time.monotonic()
        self.sim.start()
        self._plug("00:0d:3a:" + re.sub("(..)(?!$)", r"\1:", scenario.vm.vm_id[-6:]))
        if self._silent:
            self._silence(self._silent)
        self._start(ID=scenario.vm.vm_id, INIT=init, WORD=word, READONLY=readonly, OVERLAY=overlay)

    def do_halt(self) -> None:
        """Cut the guest's power, if one runs. What it wrote stays."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None
        if self.sim is not None:
            self.sim.stop()

    def do_silence(self, seconds: float) -> None:
        """WireServer is silent for so long from the next boot on: its address is nobody's."""
        self._silent = seconds

    def do_wait(self, seconds: float, *, report: bool = False, console: str = "", dhcp: str = "") -> bool:
        """Wait until all that is named has been seen: a report that was accepted, a pattern on the console, a
        name in a DHCP request. False when it did not come in time, or the guest has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen = not report or (self.sim is not None and any(r.accepted for r in self.sim.reports))
            seen = seen and (not console or re.search(console, self._text(), re.MULTILINE) is not None)
            seen = seen and (not dhcp or any(entry["name"] == dhcp for entry in self._dhcp.log))
            if seen:
                return True
            if self.ended is not None:
                break
            time.sleep(0.01)
        return False

    def do_ssh(self, key: str, user: str, command: str, seconds: float) -> dict[str, Any]:
        """Log in and run a command, as soon as somebody answers."""
        options = (
            "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o LogLevel=ERROR"
        )
        argv = ["ssh", *shlex.split(options), "-o", "ConnectTimeout=2", "-i", key, f"{user}@{GUEST}", command]
        end = time.monotonic() + seconds
        done: dict[str, Any] = {"code": 255, "out": "", "err": "nobody answers at port 22"}
        while time.monotonic() < end and self.ended is None:
            if answers(GUEST, 22):
                done = answer_of(argv, seconds=max(end - time.monotonic(), 1))
                if done["code"] != 255 or "denied" in done["err"]:
                    break
            time.sleep(0.05)
        return done

    def do_look(self) -> dict[str, Any]:
        """All that can be seen from outside, by now."""
        requests = self.sim.requests if self.sim is not None else []
        reports = self.sim.reports if self.sim is not None else []
        shift = self._sim_started - self.started
        accepted = [r.at + shift for r in requests if r.endpoint == "health" and r.status == 200]
        return {
            "requests": [{"at": r.at + shift, "endpoint": r.endpoint, "status": r.status} for r in requests],
            "reports": [asdict(report) for report in reports],
            "reported_after": accepted[0] if accepted else None,
            "dhcp": [{**entry, "at": entry["at"] - self.started} for entry in self._dhcp.log],
            "console": self._text(),
            "memory": self.memory,
            "ended": self.ended,
        }

    # the guest

    def _silence(self, seconds: float) -> None:
        self._silent = 0.0
        route = ("local", WIRESERVER, "dev", BRIDGE, "table", "local")
        run("ip", "route", "del", *route)
        timer = threading.Timer(seconds, run, ("ip", "route", "add", *route))
        timer.daemon = True
        timer.start()

    def _plug(self, mac: str) -> None:
        """A fresh network namespace with one card on the bridge."""
        old, new = f"guest{self.boots - 1}", f"guest{self.boots}"
        subprocess.run(["ip", "netns", "del", old], stderr=subprocess.DEVNULL, check=False)
        run("ip", "netns", "add", new)
        port = f"port{self.boots}"
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", new, "address", mac)
        run("ip", "link", "set", port, "master", BRIDGE, "up")

    def _start(self, **wishes: str) -> None:
        group = self._group / f"boot{self.boots}"
        group.mkdir()
        master, slave = os.openpty()
        env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "TAG": CHASSIS_TAG,
            "TTY": os.ttyname(slave),
            "GROUP": str(group),
            **wishes,
        }
        unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", f"guest{self.boots}", *unshare, "sh", str(HERE / "guest.sh")],
            cwd=ROOT,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        threading.Thread(target=self._listen, args=(master, self._process), daemon=True).start()
        threading.Thread(target=self._weigh, args=(self._process,), daemon=True).start()

    def _listen(self, master: int, process: subprocess.Popen[bytes]) -> None:
        """Keep what the console says. A terminal that nobody has open reads as an error, and may be opened later."""
        while process.poll() is None:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    self.console += os.read(master, 65536)
                except OSError:
                    time.sleep(0.05)
        os.close(master)
        if process is self._process:
            self.ended = process.returncode

    def _weigh(self, process: subprocess.Popen[bytes]) -> None:
        """The most memory that an azurelite of the guest ever held, in KiB; the kernel keeps each process's peak."""
        while process.poll() is None:
            for entry in os.listdir("/proc"):
                if entry.isdigit() and int(entry) > process.pid:
                    self.memory = max(self.memory, peak_of(entry))
            time.sleep(SAMPLE_SECONDS)

    def _text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self.console.decode("utf-8", "replace"))


def peak_of(pid: str) -> int:
    """KiB, of a process that runs azurelite; 0 for any other."""
    try:
        words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        if b"/usr/bin/azurelite" not in words[:3]:
            return 0
        found = re.search(r"VmHWM:\s*(\d+)", Path("/proc", pid, "status").read_text())
    except OSError:  # it has ended
        return 0
    return int(found[1]) if found else 0


def answers(host: str, port: int) -> bool:
    """Somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
        return True
    return False


def run(*words: object) -> None:
    """A program that must succeed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


def answer_of(argv: list[str], *, seconds: float) -> dict[str, Any]:
    """What came of a program: `code`, `out` and `err`."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"code": 255, "out": "", "err": f"timed out after {seconds:.0f} s"}
    out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    return {"code": done.returncode, "out": out, "err": err}


def main() -> None:
    """Serve until standard input ends."""
    stage = Stage(sys.argv[1], sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"ok": getattr(stage, "do_" + order.pop("do"))(**order)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    stage.do_halt()


if __name__ == "__main__":
    main()
