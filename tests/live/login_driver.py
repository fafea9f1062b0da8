"""Runs inside the stage: provisions machines, each from a fresh copy of this one, and tries to log in to each.

Reads a job as JSON on standard input: {"cases": [{"prepare", "vm", "files", "enter"}]}. Writes for each case what Azure
was told, what azurelite said, and whether the login worked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from live import driver
from live.driver import GUEST, STAGE

from azurelite.simulator import Scenario, Simulator

PROVISION = [sys.executable, "-m", "azurelite", "provision", "--json"]
# sshd stays in the foreground of a shell that is ended by its pid once the login was tried.
LOGIN = """
mkdir -p /run/sshd
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -D -E /run/sshd.log </dev/null >/dev/null 2>&1 &
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    ssh-keyscan -T 2 -t ed25519 127.0.0.1 2>/dev/null | grep -q . && break
    sleep 0.1
done
%s
code=$?
kill $!
exit $code
"""


def main() -> None:
    """Run the cases, tell."""
    driver.build_guest()
    results = [_run(case) for case in json.load(sys.stdin)["cases"]]
    json.dump(results, sys.stdout)


def _run(case: dict[str, Any]) -> dict[str, Any]:
    _fresh()
    with Simulator(Scenario.from_dict({"vm": case["vm"]}), listen=driver.ADDRESSES) as fabric:
        (GUEST / "sys/class/dmi/id/product_uuid").write_text(fabric.scenario.vm.vm_id + "\n")
        for name, text in case["files"].items():
            path = GUEST / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        ready = _in_guest(["sh", "-euc", case["prepare"]])
        if ready.returncode != 0:
            raise SystemExit(f"{case['prepare']}: {ready.stderr}")
        done = _in_guest(PROVISION)
        reports = [dict(vars(report)) for report in fabric.reports]
        entered = _in_guest(["sh", "-c", LOGIN % case["enter"]])
        log = GUEST / "run/sshd.log"
        return {
            "code": done.returncode,
            "out": done.stdout,
            "err": done.stderr,
            "reports": reports,
            "entered": entered.returncode == 0 and "it works" in entered.stdout,
            "said": entered.stderr[-600:] + (log.read_text(errors="replace")[-600:] if log.exists() else ""),
        }


def _fresh() -> None:
    """Throw away what the case before left in the guest."""
    subprocess.run(["umount", "-R", str(GUEST)], check=True)
    subprocess.run(["rm", "-rf", str(STAGE / "upper"), str(STAGE / "work")], check=True)
    for name in ("upper", "work"):
        (STAGE / name).mkdir()
    driver.mount_guest()


def _in_guest(argv: list[str]) -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", "vm", "chroot", str(GUEST), *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
