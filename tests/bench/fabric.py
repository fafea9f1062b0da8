"""The fabric of a benchmark: azurelite's simulator in a process of its own, and the handle to it.

Run as a program it is that process: an order is a line of JSON on standard input, its answer one on standard output.
{"do": "open", "scenario": {...}, "listen": [[host, port], ...]} serves a scenario, {"do": "take", "name": N} hands over
what was asked of it since the last time. Times are those of CLOCK_MONOTONIC, which every process of a machine shares.
IMDS's limit of five requests a second is off: one run after the other would meet it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

PORTS = (("127.0.0.1", 0), ("127.0.0.1", 0))  # IMDS and WireServer: two, because they are two machines on Azure


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        at: when it had arrived, in seconds of CLOCK_MONOTONIC.
        endpoint: the simulator's word for what was asked.
        ready: it reports Ready, and was accepted.
    """

    at: float
    endpoint: str
    ready: bool


@dataclass(frozen=True)
class Door:
    """One scenario that is served: its number, and HOST:PORT of IMDS and of WireServer."""

    name: int
    imds: str
    wireserver: str


class Fabric:
    """The process, for as long as the `with` block lasts.

    Args:
        command: what to start; this module when left out, with the interpreter that runs.
        ahead: words before it, as those that enter a namespace.
    """

    def __init__(self, *, ahead: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*ahead, sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Fabric:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(timeout=30)

    def open(self, scenario: Mapping[str, Any], *, listen: Sequence[tuple[str, int]] = PORTS) -> Door:
        """Serve a scenario, on two free ports unless it is told where."""
        answer = self._order(do="open", scenario=scenario, listen=listen)
        return Door(answer["name"], *answer["addresses"][:2])

    def take(self, door: Door) -> list[Asked]:
        """The requests since the last time, in order."""
        return [Asked(**one) for one in self._order(do="take", name=door.name)]

    def _order(self, **words: object) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the fabric's pipes are closed")
        self._process.stdin.write(json.dumps(words) + "\n")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fabric has ended: its own words are above")
        return json.loads(line)


def main() -> None:
    """Serve until standard input ends."""
    from azurelite.simulator import Scenario, Simulator

    served: list[tuple[Simulator, float]] = []
    handed: list[int] = []
    for line in sys.stdin:
        order = json.loads(line)
        answer: Any
        if order["do"] == "open":
            where = [(host, port) for host, port in order["listen"]]
            simulator = Simulator(Scenario.from_dict(order["scenario"]), listen=where, rate_limit=None)
            served.append((simulator, time.monotonic()))  # its own clock begins with the next line
            simulator.start()
            handed.append(0)
            answer = {"name": len(served) - 1, "addresses": [f"{host}:{port}" for host, port in simulator.addresses]}
        else:
            simulator, began = served[order["name"]]
            fresh = simulator.requests[handed[order["name"]] :]
            handed[order["name"]] += len(fresh)
            answer = [
                {"at": began + one.at, "endpoint": one.endpoint, "ready": _is_ready(one.body) and one.status == 200}
                for one in fresh
            ]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for simulator, _ in served:
        simulator.stop()


def _is_ready(body: bytes) -> bool:
    return b"<State>Ready</State>" in body or b'"state":"ready"' in body.lower().replace(b" ", b"")


if __name__ == "__main__":
    main()
