"""The timing: rows in rounds, each round in a new order, one sample of each row a round.

So that whatever slows the machine for a while slows all rows alike.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Callable, Optional, Sequence

from bench.fabric import Asked, Fabric
from bench.figures import Sample
from bench.rows import ENVIRONMENT, Place, Row

SECONDS = 120.0  # for one run, on the slowest fabric
TRIES = 4  # for one sample
# Of its time a run may have stood in the queue for a processor; beyond, it measures the machine's other work.
QUEUED = 0.03


class RunError(RuntimeError):
    """A row did not do what it is measured for; the message has its own words."""


Runner = Callable[[Row, Place], Sample]


def rounds(rows: Sequence[Row], places: Sequence[Place], count: int, run: Runner) -> list[list[Sample]]:
    """Samples of each row, after one run of each that is thrown away: it warms caches."""
    for row, place in zip(rows, places):
        row.once(place)
        run(row, place)
    samples: list[list[Sample]] = [[] for _ in rows]
    order = list(range(len(rows)))
    for _ in range(count):
        random.shuffle(order)
        for index in order:
            samples[index].append(run(rows[index], places[index]))
    return samples


def runner(fabric: Fabric) -> Runner:
    """What takes a sample of a row against this fabric. Raises RunError.

    A run that had to queue for a processor is repeated, a few times; the one that queued least counts.
    """

    def run(row: Row, place: Place) -> Sample:
        best: Optional[tuple[float, Sample]] = None
        for _ in range(TRIES):
            row.prepare(place)
            fabric.take(place.door)
            # Whatever ran before, each row starts on a processor that has just started an interpreter.
            launch(place.tools.launcher, [str(place.tools.python), "-I", "-c", "pass"], place.scratch)
            told = launch(place.tools.launcher, row.words(place), place.scratch, own_name=row.names)
            taken = sample(row, told, fabric.take(place.door))
            if best is None or told["delayed"] < best[0]:
                best = told["delayed"], taken
            if told["delayed"] <= QUEUED * taken.wall:
                break
            time.sleep(0.05)
        if best is None:
            raise RunError(f"{row.name}: never run")
        return best[1]

    return run


def launch(launcher: Path, words: Sequence[str], scratch: Path, *, own_name: bool = False) -> dict[str, float]:
    """Run a command by the launcher: what the launcher tells. Raises RunError when the command fails."""
    told, said = scratch / "told.json", scratch / "said.txt"
    with open(said, "wb") as errors:
        done = subprocess.run(
            [launcher, *(["-u"] if own_name else []), told, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=ENVIRONMENT,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    found: dict[str, float] = json.loads(told.read_bytes()) if done.returncode == 0 else {"code": done.returncode}
    if found["code"] != 0:
        raise RunError(f"{' '.join(map(os.fspath, words))}: exit {found['code']}: {said.read_text()[-2000:].strip()}")
    return found


def sample(row: Row, told: dict[str, float], asked: Sequence[Asked]) -> Sample:
    """The launcher's figures and the fabric's as one. Raises RunError without the report that the row is for."""
    at = next((one.at for one in asked if one.ready), None)
    if row.reports and at is None:
        raise RunError(f"{row.name}: no report of Ready was accepted")
    if asked and not row.reports:
        raise RunError(f"{row.name}: it asked the fabric, and has no reason to")
    return Sample(
        wall=told["ended"] - told["began"],
        cpu=told["cpu"],
        rss=int(told["rss"]),
        ready=None if at is None else at - told["began"],
        requests=len(asked),
    )
