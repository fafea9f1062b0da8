"""The benchmark: azurelite beside the scripts of Azure's article, other agents and the floor, in one run.

    python tests/bench/run.py [--quick] [--only NAME...] [--instructions] [--markdown] [--json FILE] [--svg FOLDER]

Rows alternate in rounds on azurelite's simulator, so that what slows the machine slows all alike; what is compared is
medians of one run. A run that had to queue for a processor is taken again, and the row `python-again`, the same as
`python`, tells by how much two medians differ for no reason. azurelite is installed from a wheel, byte-compiled, with
the interpreter that runs this. Guests lie in memory, or in the folder of --scratch: in memory a file that is synced
costs nothing, for anybody. One row has its guest in /var/tmp, for what syncing costs on the disk there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import growth, plot
from bench.build import BuildError, Tools, build
from bench.count import counts
from bench.fabric import Fabric
from bench.figures import Growth, Summary, summary, verdicts
from bench.measure import RunError, rounds, runner
from bench.peers import stage
from bench.peers.cases import CASES
from bench.rows import ROWS, TARGETS, Place, Row
from bench.table import growth_table, legend_table, rows_table, targets_table

LATENCIES = (0.0, 0.002, 0.02)  # seconds that the fabric takes for each answer, beside its own work
ROUNDS, ROUNDS_OF_GROWTH, ROUNDS_OF_AGENTS = 25, 11, 9
OWN = ("provision", "on-disk", "default-list", "report-ready", "already-done", "live", "live-default")
MEMORY, DISK = Path("/dev/shm"), Path("/var/tmp")


def main() -> int:
    """Measure, and print. Exit code 0 whether or not the targets are met."""
    given = _arguments()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    folder = given.scratch or (MEMORY if MEMORY.is_dir() else None)
    try:
        with _folder(folder) as name, _folder(DISK) as disk:
            bench = Bench(given, Path(name), Path(disk))
            bench.run()
    except (BuildError, RunError, stage.StageError, stage.RootError) as error:
        complain(f"bench: {error}")
        return 1
    say(f"{time.monotonic() - began:.0f} seconds, python {platform.python_version()}, {os.cpu_count()} processors")
    if given.json is not None:
        given.json.write_text(json.dumps(bench.as_dict(), indent=1) + "\n", encoding="utf-8")
    if given.svg is not None:
        bench.draw(given.svg)
    return 0


def _folder(where: Optional[Path]) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="azurelite-bench-", dir=where)


def _arguments() -> argparse.Namespace:
    names = [*(row.name for row in ROWS), *(case.name for case in CASES)]
    parser = argparse.ArgumentParser(description="Measures azurelite beside others; see the head of this file.")
    parser.add_argument("--quick", action="store_true", help="few rounds, no latency, no growth, no other agents")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=names, help=f"just these rows of {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="how many (default: 25; quick: 9; other agents: 9)")
    parser.add_argument("--instructions", action="store_true", help="count them too, by valgrind: slow")
    parser.add_argument("--markdown", action="store_true", help="tables for the docs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="draw them there")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="where the guests lie")
    return parser.parse_args()


class Bench:
    """One run of it: what was measured so far."""

    def __init__(self, given: argparse.Namespace, scratch: Path, disk: Path) -> None:
        self._given = given
        self._scratch = scratch
        self._disk = disk
        self.latencies: dict[float, dict[str, Summary]] = {}
        self.agents: dict[str, Summary] = {}
        self.growths: list[Growth] = []

    def run(self) -> None:
        """Measure all that was asked for, and print each table as soon as it is there."""
        tools = build(self._scratch)
        rows = _present(self._given.only)
        with Fabric() as fabric:
            for latency in (LATENCIES[:1] if self._given.quick else LATENCIES) if rows else ():
                self.latencies[latency] = self._rows(fabric, rows, tools, latency=latency)
                self._print(f"fabric's latency {latency * 1e3:g} ms", self.latencies[latency])
            shown = {name for found in self.latencies.values() for name in found}
            say(legend_table({row.name: row.text for row in ROWS}, shown, markdown=self._given.markdown))
            if not self._given.quick and not self._given.only:
                count = min(self._given.rounds or ROUNDS, ROUNDS_OF_GROWTH)
                self.growths = growth.measured(fabric, tools, self._scratch, count=count)
                say("growth of the main job\n")
                say(growth_table(self.growths, most=growth.MOST, markdown=self._given.markdown))
        if not self._given.quick:
            self._measure_agents(tools)

    def as_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return {
            "python": platform.python_version(),
            "latencies": {
                f"{latency:g}": {name: asdict(one) for name, one in rows.items()}
                for latency, rows in self.latencies.items()
            },
            "agents": {name: asdict(one) for name, one in self.agents.items()},
            "growth": [asdict(one) for one in self.growths],
        }

    def draw(self, folder: Path) -> None:
        """The plots of what was measured."""
        folder.mkdir(parents=True, exist_ok=True)
        pages = {
            f"rows-{latency * 1e3:g}ms": plot.bars(f"fabric's latency {latency * 1e3:g} ms", rows, own=OWN)
            for latency, rows in self.latencies.items()
        }
        if self.agents:
            pages["agents"] = plot.bars("in guests alike, on Azure's addresses", self.agents, own=OWN)
        if self.growths:
            pages["growth"] = plot.lines("growth of the main job", self.growths)
        for name, page in pages.items():
            (folder / f"{name}.svg").write_text(page, encoding="utf-8")

    def _rows(self, fabric: Fabric, rows: Sequence[Row], tools: Tools, *, latency: float) -> dict[str, Summary]:
        places = []
        for row in rows:
            folder = (self._disk if row.on_disk else self._scratch) / f"{row.name}-{latency:g}"
            folder.mkdir()
            scenario = {"faults": [{"endpoint": "any", "delay": latency}]} if latency else {}
            places.append(Place(tools, fabric.open(scenario), folder))
        taken = rounds(rows, places, self._given.rounds or (9 if self._given.quick else ROUNDS), runner(fabric))
        wanted = self._given.instructions and not latency
        return {
            row.name: summary(row.name, samples, counts(row, place, instructions=wanted))
            for row, place, samples in zip(rows, places, taken)
        }

    def _measure_agents(self, tools: Tools) -> None:
        only = [case.name for case in CASES if not self._given.only or case.name in self._given.only]
        why = stage.missing()
        if not only:
            return
        if why is not None:
            complain(f"other agents are left out: {why}")
            return
        count = min(self._given.rounds or ROUNDS_OF_AGENTS, ROUNDS_OF_AGENTS)
        self.agents = stage.measured(tools, self._scratch, rounds=count, only=only)
        self._print("in guests alike, on Azure's addresses (proc: threads, too)", self.agents)
        say(legend_table({case.name: case.text for case in CASES}, self.agents, markdown=self._given.markdown))

    def _print(self, title: str, rows: Mapping[str, Summary]) -> None:
        markdown = self._given.markdown
        references = {**{row.name: row.reference for row in ROWS}, **{case.name: "live" for case in CASES}}
        say(f"{title}\n\n{rows_table(rows, references, markdown=markdown)}")
        judged = [one for one in verdicts(TARGETS, rows) if one.ratio is not None]
        if judged:
            say(targets_table(judged, markdown=markdown))


def say(text: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(text + "\n")


def _present(only: Optional[Sequence[str]]) -> list[Row]:
    """The rows that can run here; what cannot is said."""
    rows = []
    for row in ROWS:
        if only and row.name not in only:
            continue
        if row.missing is None:
            rows.append(row)
        else:
            complain(f"{row.name} is left out: {row.missing}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
