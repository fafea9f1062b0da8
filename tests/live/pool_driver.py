"""Runs inside the stage: a VM that waits in a pool, and the fabric that gives it to an owner.

Reads a job as JSON on standard input, writes what was seen after each act as JSON.

Job: {"vm": {...}, "owner": {...}, "acts": ["start", "ready", ...]}
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from live import driver

from azurelite.simulator import Scenario, Simulator

PATIENCE = 20.0  # seconds that anything here may take
MARKER = driver.GUEST / "var/lib/azurelite/waiting-in-pool"
IN_VM = ["ip", "netns", "exec", "vm", "chroot", str(driver.GUEST)]
PROVISION = [*IN_VM, sys.executable, "-m", "azurelite", "provision"]
ADDRESSES = ["10.0.0.1/24", "168.63.129.16/32", "169.254.169.254/32"]
# A connection that was kept from before the switch may lead nowhere after it.
CONFIG = "datasource: {imds: {timeout: 0.3}, wireserver: {timeout: 0.3}}\n"


class Play:
    """The acts, by their names."""

    def __init__(self, fabric: Simulator, owner: dict[str, Any]) -> None:
        self.fabric = fabric
        self.owner = owner
        self.process: Optional[subprocess.Popen[str]] = None
        self.said = ""

    def start(self) -> None:
        """Begin to provision."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            PROVISION, stdout=pipe, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
        )

    def ready(self) -> None:
        """Until a Ready was accepted."""
        self._until(lambda: any(report.accepted for report in self.fabric.reports), "Ready")

    def waiting(self) -> None:
        """Until the VM waits, and a moment longer."""
        self._until(MARKER.exists, "the marker")
        time.sleep(0.2)

    def polled(self) -> None:
        """Until it asks for its owner's document."""
        seen = self._polls()
        self._until(lambda: self._polls() > seen, "a poll")

    def flap(self) -> None:
        """Take the fabric's side of the link down, and up again when the VM knows."""
        _ip("link set fab0 down")
        self._until(lambda: "state UP" not in _ip("-n vm link show eth0"), "the link to go down")
        _ip("link set fab0 up")

    def replace(self) -> None:
        """Unplug the VM's NIC and plug in another one, which its system configures."""
        _ip("link del fab0")
        _ip("link add fab0 type veth peer name eth1 netns vm")
        for address in ADDRESSES:
            _ip(f"addr add {address} dev fab0")
        _ip("link set fab0 up")
        _ip("-n vm addr add 10.0.0.5/24 dev eth1")
        _ip("-n vm link set eth1 up")
        _ip("-n vm route add default via 10.0.0.1")

    def assign(self) -> None:
        """Give the VM to its owner."""
        self.fabric.assign(**self.owner)

    def kill(self) -> None:
        """End the process as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def end(self) -> None:
        """Until the process has ended by itself."""
        assert self.process is not None
        self.said, _ = self.process.communicate(timeout=PATIENCE)

    def look(self) -> None:
        """See whose VM it is."""
        script = "getent passwd owner pool; cat /etc/hostname ~owner/.ssh/authorized_keys"
        done = subprocess.run([*IN_VM, "sh", "-c", script], capture_output=True, text=True, timeout=9, check=False)
        self.said = done.stdout

    def seen(self) -> dict[str, Any]:
        """What there is to see now."""
        return {
            "said": self.said,
            "code": self.process.returncode if self.process else None,
            "marker": MARKER.exists(),
            "requests": len(self.fabric.requests),
            "polls": self._polls(),
            "reports": [[report.state, report.incarnation, report.accepted] for report in self.fabric.reports],
        }

    def _polls(self) -> int:
        return sum(request.endpoint == "reprovision_data" for request in self.fabric.requests)

    def _until(self, happened: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not happened():
            assert self.process is not None
            if time.monotonic() > end or self.process.poll() is not None:
                self.process.kill()
                sys.exit(f"waited in vain for {what}; azurelite: {self.process.communicate()[0]}")
            time.sleep(0.02)


def _ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=True, timeout=9).stdout


def main() -> None:
    """Build the guest, play, tell."""
    job = json.load(sys.stdin)
    driver.build_guest()
    scenario = Scenario.from_dict({"vm": job["vm"]})
    (driver.GUEST / "sys/class/dmi/id/product_uuid").write_text(scenario.vm.vm_id + "\n")
    (driver.GUEST / "etc/azurelite").mkdir(exist_ok=True)
    (driver.GUEST / "etc/azurelite/azurelite.yaml").write_text(CONFIG)
    with Simulator(scenario, listen=driver.ADDRESSES) as fabric:
        play = Play(fabric, job["owner"])
        seen = []
        try:
            for act in job["acts"]:
                getattr(play, act)()
                seen.append({"act": act, **play.seen()})
        finally:
            if play.process is not None and play.process.poll() is None:
                play.process.kill()
                play.process.communicate(timeout=PATIENCE)
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
