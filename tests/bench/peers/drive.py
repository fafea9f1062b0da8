"""Runs inside the stage of the live tests (tests/live/stage.sh): the fabric on Azure's addresses, and guests.

A guest is an overlay in memory over the agents' root, in namespaces of its own (tests/boot/guest.sh), and its first
process is the script of a case. Reads a job as JSON on standard input, writes samples as JSON.

Job: {"lower": root, "layer": folder that lies over it, "rounds": N}
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Optional, Sequence

TESTS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS))

from bench.peers.cases import CASES, Case  # noqa: E402
from bench.peers.documents import FullFabric  # noqa: E402
from boot.dhcp import IMDS, WIRESERVER, DhcpServer  # noqa: E402

from azurelite.simulator import Request, Scenario, Simulator  # noqa: E402

STAGE = Path("/run/stage")
ROOT = STAGE / "root"
CHASSIS_TAG = "7783-7084-3265-9085-8269-3286-77"
HOST_GA_PLUGIN = 32526  # waagent asks there too, and takes no for an answer
MAC = "00:0d:3a:5e:7b:21"  # as IMDS tells it
SECONDS = 90.0
HEAD = """\
set -eu
mkdir -p /opt/bench/out
launch() {
    part=$1
    shift
    sh -c 'echo $$' > "/opt/bench/out/$part.before"
    /opt/bench/launch "/opt/bench/out/$part.json" "$@"
    sh -c 'echo $$' > "/opt/bench/out/$part.after"
}
"""
LINGER = 0.15  # seconds that an agent which stays is left after its Ready


def main() -> None:
    """Do the rounds, tell."""
    job = json.load(sys.stdin)
    STAGE.mkdir()
    ip("link", "set", "eth0", "down")
    ip("link", "set", "eth0", "address", MAC)
    DhcpServer("fab0", own="10.0.0.1", offered="10.0.0.4")
    scenario = Scenario.default()
    simulator = Simulator(
        scenario, listen=[(WIRESERVER, 80), (IMDS, 80), (WIRESERVER, HOST_GA_PLUGIN)], rate_limit=None
    )
    simulator._fabric = FullFabric(scenario, rate_limit=None, note=lambda request: None)
    began = time.monotonic()
    samples: dict[str, list[dict[str, Any]]] = {case.name: [] for case in CASES}
    order = [case for case in CASES if not job["only"] or case.name in job["only"]]
    shuffled = random.Random(1)
    with simulator:
        for number in range(job["rounds"] + 1):
            for case in order:
                found = run(case, job, simulator, began)
                if number > 0:  # the first round warms caches
                    samples[case.name].append(found)
            shuffled.shuffle(order)
    json.dump({name: taken for name, taken in samples.items() if taken}, sys.stdout)


def run(case: Case, job: dict[str, Any], simulator: Simulator, began: float) -> dict[str, Any]:
    """One guest: what its parts took, as a sample."""
    for name in ("upper", "work", "root"):
        shutil.rmtree(STAGE / name, ignore_errors=True)
        (STAGE / name).mkdir()
    layers = f"lowerdir={job['layer']}:{job['lower']},upperdir={STAGE}/upper,workdir={STAGE}/work"
    command("mount", "-t", "overlay", "root", "-o", layers, str(ROOT))
    try:
        network(up=case.network)
        asked = len(simulator.requests)
        boot(case, simulator, asked)
        told = [json.loads((ROOT / f"opt/bench/out/{part}.json").read_text()) for part in case.parts]
        return {**sample(case, told, simulator.requests[asked:], began), "tasks": tasks(case)}
    except (OSError, ValueError, RuntimeError) as error:
        said = (STAGE / "console").read_text(errors="replace")[-3000:]
        sys.exit(f"{case.name}: {type(error).__name__}: {error}\n{said}")
    finally:
        command("umount", str(ROOT))


def tasks(case: Case) -> Optional[int]:
    """How many processes and threads the case was, itself among them; None of one that stays.

    A guest numbers them one after the other, so two numbers tell how many came between; one of these is the launcher.
    """
    if case.stays:
        return None
    before, after = (
        sum(int((ROOT / f"opt/bench/out/{part}.{when}").read_text()) for part in case.parts)
        for when in ("before", "after")
    )
    return after - before - 2 * len(case.parts)


def boot(case: Case, simulator: Simulator, asked: int) -> None:
    """Start a guest and wait for its end."""
    (ROOT / "opt/bench/case.sh").write_text(HEAD + case.script)
    (STAGE / "console").write_text("")
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ID": simulator.scenario.vm.vm_id,
        "TAG": CHASSIS_TAG,
        "TTY": str(STAGE / "console"),
        # An agent that takes itself to be in a container does not look at the firmware.
        "INIT": "env -u container sh /opt/bench/case.sh",
        **dict.fromkeys(("GROUP", "WORD", "READONLY", "OVERLAY"), ""),
    }
    unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen(
        ["ip", "netns", "exec", "vm", *unshare, "sh", str(TESTS / "boot/guest.sh")],
        cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sys.stderr,
    )  # fmt: skip
    try:
        if case.stays:
            end_once_ready(process, simulator, asked)
        process.wait(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()


def end_once_ready(process: subprocess.Popen[bytes], simulator: Simulator, asked: int) -> None:
    """Tell the guest's first process to end, a moment after its agent has reported."""
    deadline = time.monotonic() + SECONDS
    while not any(is_ready(one) for one in simulator.requests[asked:]):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("it ended, or its time was up, without a report of Ready")
        time.sleep(0.01)
    time.sleep(LINGER)
    command("pkill", "-TERM", "-P", str(process.pid))


def sample(case: Case, told: Sequence[dict[str, Any]], asked: Sequence[Request], began: float) -> dict[str, Any]:
    """The parts as one sample; see figures.Sample."""
    bad = [part["code"] for part in told if part["code"] != 0]
    if bad and not case.stays:
        raise RuntimeError(f"exit {bad[0]}")
    at = next((began + one.at for one in asked if is_ready(one)), None)
    if at is None:
        raise RuntimeError(f"no report of Ready was accepted; it asked for {[one.target for one in asked]}")
    ready = at - told[0]["began"]
    return {
        "wall": ready if case.stays else sum(part["ended"] - part["began"] for part in told),
        "cpu": sum(part["cpu"] for part in told),
        "rss": max(part["rss"] for part in told),
        "ready": ready,
        "requests": len(asked),
    }


def is_ready(request: Request) -> bool:
    """It reported Ready, and was accepted."""
    return request.endpoint == "health" and b"<State>Ready</State>" in request.body and request.status == 200


def network(*, up: bool) -> None:
    """The guest's card as the case wants to find it."""
    ip("link", "set", "eth0", "down")
    ip("address", "flush", "dev", "eth0")
    if up:
        ip("address", "add", "10.0.0.4/24", "dev", "eth0")
        ip("link", "set", "eth0", "up")
        ip("route", "replace", "default", "via", "10.0.0.1")


def ip(*words: str) -> None:
    """ip(8) in the guests' network."""
    command("ip", "-n", "vm", *words)


def command(*words: str) -> None:
    """A program that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
