"""Runs in namespaces of its own: Azure's fabric and network around a machine, and somebody who logs in to it.

A bridge has Azure's addresses, a DHCP server gives options 121 and 245, the simulator answers. Reads a job as JSON on
standard input, boots the machine as often as it says, and writes what happened as JSON. All of it, QEMU too, ends with
this process: it is the first one of its PID namespace.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Optional

from boot.dhcp import options_of
from live.dhcp_server import ACK, DISCOVER, OFFER, REQUEST, reply
from vm.qemu import Machine

from azurelite.simulator import Scenario, Simulator

STAGE = Path("/run/stage")
GATEWAY, ADDRESS = "10.0.0.1", "10.0.0.4"
FABRIC = ("168.63.129.16", "169.254.169.254")
SETTLE = 120  # seconds in which things that come right after another one have to come
# In the background, for a connection to a machine that is gone ends late.
POWER_OFF = "(sleep 1; sync; echo u; sleep .2; echo o) >/proc/sysrq-trigger 2>/dev/null </dev/null &"


class Dhcp(threading.Thread):
    """The DHCP server, with what it has heard: (kind, host name, when)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.heard: list[tuple[str, str, float]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: a tap leaves checksums to others
        self._socket.setsockopt(socket.SOL_SOCKET, 25, b"br0")  # SO_BINDTODEVICE
        self._socket.bind(("", 67))

    def run(self) -> None:
        """Serve."""
        while True:
            message = self._socket.recv(4096)
            options = options_of(message)
            kind = options.get(53, b"\0")[0]
            # The name alone, or with BusyBox the fully qualified one behind three bytes.
            name = (options.get(12) or options.get(81, b"")[3:]).decode(errors="replace").rstrip("\0")
            word = {DISCOVER: "discover", REQUEST: "request"}.get(kind, str(kind))
            self.heard.append((word, name, time.monotonic()))
            answer = {DISCOVER: OFFER, REQUEST: ACK}.get(kind)
            if answer is not None:
                packet = reply(message, answer, own=GATEWAY, offered=ADDRESS, bare=False)
                self._socket.sendto(packet, ("255.255.255.255", 68))


class Person:
    """Somebody with a key who logs in."""

    def __init__(self, user: str, key: str) -> None:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "ControlMaster": "auto",
            "ControlPath": f"{STAGE}/ssh",
            "ControlPersist": "120",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self._ssh = ["ssh", "-F", "none", *words, "-i", key, f"{user}@{ADDRESS}"]

    def run(self, script: str, *, seconds: float = 60) -> dict[str, Any]:
        """A script of the login shell: its exit status, what it printed, what it complained of."""
        try:
            done = subprocess.run(
                [*self._ssh, script],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"code": 255, "out": "", "err": f"no answer within {seconds} s"}
        return {"code": done.returncode, "out": done.stdout, "err": done.stderr}

    def leave(self) -> None:
        """End the connection; the next machine is another one at the same address."""
        subprocess.run([*self._ssh, "-O", "exit"], capture_output=True, timeout=30, check=False)
        (STAGE / "ssh").unlink(missing_ok=True)


def main() -> None:
    """Build the stage, boot, tell."""
    job = json.load(sys.stdin)
    _network()
    dhcp = Dhcp()
    dhcp.start()
    began = time.monotonic()
    with Simulator(Scenario.from_dict(job["scenario"]), listen=[(host, 80) for host in FABRIC]) as fabric:
        disc = STAGE / "disc"
        disc.write_bytes(fabric.media("udf"))
        results = [_boot(job, boot, fabric, dhcp, began) for boot in job["boots"]]
    json.dump(results, sys.stdout)


def _network() -> None:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "stage", "/run"], check=True)
    STAGE.mkdir()
    addresses = [f"{GATEWAY}/24", *(f"{host}/32" for host in FABRIC)]
    for line in (
        "link set lo up",
        "link add br0 type bridge stp_state 0 forward_delay 0",
        *(f"addr add {address} dev br0" for address in addresses),
        "tuntap add dev tap0 mode tap",
        "link set tap0 master br0 up",
        "link set br0 up",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def _boot(job: dict[str, Any], boot: dict[str, Any], fabric: Simulator, dhcp: Dhcp, began: float) -> dict[str, Any]:
    asked, told, heard = len(fabric.requests), len(fabric.reports), len(dhcp.heard)
    machine = Machine(
        kernel=Path(job["kernel"]),
        initrd=Path(job["initrd"]),
        disk=Path(job["disk"]),
        disc=STAGE / "disc" if boot["disc"] else None,
        uuid=boot.get("uuid", job["uuid"]),
        tap="tap0",
        folder=STAGE,
        words=boot.get("words", ""),
        processors=job["processors"],
    )
    person = Person(job["user"], job["key"])
    seconds = boot["seconds"]
    result: dict[str, Any] = {"login": None, "looks": {}, "tray": {}, "ended": False}
    start = time.monotonic()
    machine.start()
    try:
        if boot["reports"]:
            machine.until(lambda: len(fabric.reports) > told, seconds)
        if boot.get("says"):
            machine.until(lambda: machine.said_at(boot["says"]), seconds if not boot["reports"] else SETTLE)
        if boot["ejects"]:
            machine.until(lambda: machine.tray().get("tray_open"), SETTLE)
        if boot["disc"] and machine.running:
            result["tray"] = machine.tray()
        if boot.get("looks") is not None:
            result["login"] = _log_in(machine, person, start + seconds)
            if result["login"] is not None:
                result["looks"] = {name: person.run(script) for name, script in boot["looks"].items()}
                # Its own way of shutting down would take as long as the boot, and is nobody's business here.
                person.run(f"sudo -n sh -c '{POWER_OFF}'")
                result["ended"] = machine.until(lambda: not machine.running, SETTLE)
    finally:
        person.leave()
        machine.stop()
    zero = machine.kernel_started

    def since(at: Optional[float]) -> Optional[float]:
        return None if at is None or zero is None else round(at - zero, 2)

    posts = [request.at + began for request in fabric.requests[asked:] if request.endpoint == "health"]
    return {
        **result,
        "console": "\n".join(f"{at - (zero or start):7.2f} {line}" for at, line in machine.lines),
        "kernel": since(zero),
        "emulator": None if zero is None else round(zero - start, 2),
        "took": round(time.monotonic() - start, 2),
        "report": since(posts[-1] if posts else None),
        "login": since(result["login"]),
        "requests": [[request.method, request.target, request.status] for request in fabric.requests[asked:]],
        "reports": [dict(vars(report)) for report in fabric.reports[told:]],
        "dhcp": [[kind, name, since(at)] for kind, name, at in dhcp.heard[heard:]],
    }


def _log_in(machine: Machine, person: Person, end: float) -> Optional[float]:
    """When somebody was let in, on the monotonic clock. Tried until then, for sshd comes when it comes."""
    while machine.running and time.monotonic() < end:
        if person.run("true", seconds=60)["code"] == 0:
            return time.monotonic()
        time.sleep(0.3)
    return None


if __name__ == "__main__":
    main()
