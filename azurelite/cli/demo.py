"""`azurelite demo`: provisions a scratch root against the simulator, and prints what happened on one page."""

from __future__ import annotations

import argparse
import json
import logging
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

import azurelite
from azurelite.cli.console import Console, Waiting
from azurelite.cli.metadata import render
from azurelite.cli.output import write_output
from azurelite.cli.simulate import load_scenario
from azurelite.describe.analysis import Analysis, analyse
from azurelite.describe.analysis_text import waterfall
from azurelite.describe.check import check_files
from azurelite.errors import ConfigError
from azurelite.handlers import REPORT_READY
from azurelite.outcome import Outcome, StepResult
from azurelite.record import Record
from azurelite.run import provision
from azurelite.simulator import Guest, Report, Request, Scenario, Simulator, config_text, make_guest
from azurelite.state.boots import Boot, boot_of, read_boot
from azurelite.system.root import Root

_IMPATIENT = "  deadline: 60   # seconds; a person is waiting\n"
_SIGNS = {"done": ("✓", "green"), "skipped": ("·", "dim"), "failed": ("✗", "red")}
_HIDDEN = ("raw", "provenance", "network")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    parser.add_argument("--keep", metavar="DIR", help="create the scratch root in DIR, and keep it")
    parser.add_argument("--scenario", metavar="FILE", help="simulate this VM or these faults")
    parser.add_argument("--config", metavar="FILE", help="use this configuration, with the simulator's address")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--html", metavar="FILE", help="also write where the time went as a web page")


def run(arguments: argparse.Namespace) -> int:
    """Provision a scratch root against the simulator, and print the result."""
    scenario = load_scenario(arguments.scenario)
    drop_in = None if arguments.config is None else _config(Path(arguments.config))
    if arguments.keep is not None:
        return _show(scenario, Path(arguments.keep), arguments, drop_in)
    with tempfile.TemporaryDirectory(prefix="azurelite-demo-") as folder:
        return _show(scenario, Path(folder), arguments, drop_in)


def _config(path: Path) -> str:
    """The text of a configuration file that has no mistakes."""
    for verdict in check_files([str(path)], Root("/")):
        if verdict.problems or verdict.more:
            raise ConfigError("\n".join(map(str, verdict.problems)))
    return path.read_text(encoding="utf-8-sig")


def _show(scenario: Scenario, folder: Path, arguments: argparse.Namespace, drop_in: Optional[str]) -> int:
    console, started = Console(), time.time()
    if not arguments.json:
        console.line(console.paint(f"azurelite {azurelite.__version__}", "bold") + ": simulating a first boot")
    # The page has everything that the log would say.
    logging.getLogger("azurelite").setLevel(logging.CRITICAL)
    with Simulator(scenario) as fabric:
        guest = _make_guest(folder, fabric, drop_in)
        before = guest.snapshot()
        with Waiting(console, f"provisioning {folder} against {fabric.url}"):
            outcome = provision.provision(provision.Options(root=str(folder)))
        written = {name[1:]: now for name, now in sorted(guest.snapshot().items()) if now != before.get(name)}
        analysis = analyse(_boot(folder, outcome, started=started))
        known = _saved_metadata(folder)
        shown = DemoRun(outcome, known, list(fabric.requests), list(fabric.reports), written, fabric.url, analysis)
    if arguments.html is not None:
        from azurelite.describe.analysis_html import as_html

        write_output(arguments.html, as_html(analysis))
        if not arguments.json:
            console.line(f"wrote {arguments.html}")
    if arguments.json:
        print(json.dumps(shown.as_dict(), indent=2))
    else:
        _page(console, shown)
    return outcome.exit_code


def _make_guest(folder: Path, fabric: Simulator, drop_in: Optional[str]) -> Guest:
    # The simulator's address comes last, so that a file written for Azure is played here as it is.
    simulated = config_text(fabric.url) + _IMPATIENT
    files = {"etc/azurelite/azurelite.yaml": simulated}
    if drop_in is not None:
        files = {"etc/azurelite/azurelite.yaml": drop_in, "etc/azurelite/conf.d/99-simulator.yaml": simulated}
    try:
        return make_guest(folder, fabric, files=files)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}: give an empty or a new folder") from error


def _boot(folder: Path, outcome: Outcome, *, started: float) -> Boot:
    """What the run wrote of its time; a run that wrote nothing has its outcome."""
    title = "simulated boot"
    try:
        return Boot(**{**vars(read_boot(Root(str(folder)), 0)), "title": title})
    except ConfigError:
        return boot_of(outcome, title=title, started=started)


def _saved_metadata(folder: Path) -> dict[str, object]:
    saved = folder / "run/azurelite/metadata.json"
    document: dict[str, object] = json.loads(saved.read_bytes()) if saved.exists() else {}
    return document


class DemoRun(Record):
    """The result of the demo.

    Attributes:
        outcome: the outcome of the run.
        metadata: the redacted metadata that the run saved.
        requests: the requests that the simulator received.
        reports: the health reports that the simulator received.
        written: file below the root -> (mode, uid, gid, content).
        url: the simulator's address.
        analysis: where the time went.
    """

    outcome: Outcome
    metadata: dict[str, Any]
    requests: list[Request]
    reports: list[Report]
    written: dict[str, tuple[int, int, int, bytes]]
    url: str
    analysis: Analysis

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "outcome": self.outcome.as_dict(),
            "exit_code": self.outcome.exit_code,
            "metadata": self.metadata,
            "fabric": {
                "requests": [{"method": r.method, "target": r.target, "status": r.status} for r in self.requests],
                "reports": [dict(vars(report)) for report in self.reports],
            },
            "files": {
                name: {"mode": stat.filemode(mode), "size": len(content)}
                for name, (mode, _, _, content) in self.written.items()
            },
        }


def _page(console: Console, run: DemoRun) -> None:
    _metadata(console, run)
    _steps(console, run.outcome)
    _time_line(console, run)
    _reports(console, run)
    _files(console, run)
    console.line()
    look = "green" if run.outcome.exit_code == 0 else "red"
    verdict = f"{run.outcome.outcome} in {run.outcome.seconds * 1000:.0f} ms: {run.outcome.reason}"
    console.line(f"{console.paint(verdict, 'bold', look)} (exit {run.outcome.exit_code})")


def _metadata(console: Console, run: DemoRun) -> None:
    console.heading("What Azure said")
    provenance = run.metadata.get("provenance", {})
    for key, value in run.metadata.items():
        if value is None or key in _HIDDEN:
            continue
        source = console.paint(f"  [{provenance[key]}]" if key in provenance else "", "dim")
        lines = render(value, "text").splitlines() or [""]
        console.line(f"  {key:32} {_short(lines[0])}{source}")
        for line in lines[1:]:
            console.line(f"  {'':32} {_short(line)}")


def _steps(console: Console, outcome: Outcome) -> None:
    console.heading("What the handlers did")
    for step in outcome.steps:
        sign, look = _SIGNS[step.status]
        console.line(
            f"  {console.paint(sign, look)} {step.name:14} {step.seconds * 1000:6.1f} ms  {_summary(step, outcome)}"
        )
        for change in step.changes:
            console.line(f"      {change}")
        for note in step.notes:
            console.line(f"      {console.paint(note, 'yellow')}")


def _summary(step: StepResult, outcome: Outcome) -> str:
    if step.error is not None:
        return f"failed: {step.error}"
    if step.status == "skipped":
        return f"skipped: {step.reason}"
    if step.name == REPORT_READY and outcome.report is not None:
        return f"reported {outcome.report.state} to Azure"
    count = len(step.changes)
    return {0: "nothing to change", 1: "1 change"}.get(count, f"{count} changes")


def _time_line(console: Console, run: DemoRun) -> None:
    console.heading("Where the time went")
    for line in waterfall(run.analysis):
        name, bar, seconds = line.rsplit("|", 2)
        console.line(f"{name}|{console.paint(bar, 'blue')}|{seconds}")


def _reports(console: Console, run: DemoRun) -> None:
    console.heading("What the fabric was told")
    for report in run.reports:
        verdict = console.paint("accepted", "green") if report.accepted else console.paint("refused", "red")
        what = report.state if report.substatus is None else f"{report.state}, {report.substatus}"
        console.line(f"  {what}: {verdict} (HTTP {report.status})")
        console.line(f"      incarnation {report.incarnation}, container {report.container_id}")
        console.line(f"      instance {report.instance_id}")
        if report.description:
            console.line(f"      {report.description}")
    if not run.reports:
        console.line("  nothing")


def _files(console: Console, run: DemoRun) -> None:
    console.heading("What was written below the root")
    for name, (mode, _, _, content) in run.written.items():
        console.line(f"  {stat.filemode(mode)} {len(content):7} {name}")


def _short(text: str, width: int = 72) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"
