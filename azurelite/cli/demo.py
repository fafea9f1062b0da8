"""`azurelite demo`: provisions a scratch root against the simulator, and shows what happens."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path

import azurelite
from azurelite.cli.console import Console, Waiting
from azurelite.cli.demo_page import DemoRun, print_page
from azurelite.cli.scratch import make_scratch_root, snapshot
from azurelite.cli.simulate import load_scenario
from azurelite.run import provision
from azurelite.simulator import Scenario, Simulator, config_text

_IMPATIENT = "  deadline: 60   # seconds; a person is waiting\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    parser.add_argument("--keep", metavar="DIR", help="create the scratch root in DIR, and keep it")
    parser.add_argument("--scenario", metavar="FILE", help="simulate this VM or these faults")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Provision a scratch root against the simulator, and print the result."""
    scenario = load_scenario(arguments.scenario)
    if arguments.keep is not None:
        return _show(scenario, Path(arguments.keep), as_json=arguments.json)
    with tempfile.TemporaryDirectory(prefix="azurelite-demo-") as folder:
        return _show(scenario, Path(folder), as_json=arguments.json)


def _show(scenario: Scenario, folder: Path, *, as_json: bool) -> int:
    console = Console()
    if not as_json:
        console.line(console.paint(f"azurelite {azurelite.__version__}", "bold") + ": simulating a first boot")
    # The page has everything that the log would say.
    logging.getLogger("azurelite").setLevel(logging.CRITICAL)
    with Simulator(scenario) as fabric:
        make_scratch_root(folder, scenario.vm, config=config_text(fabric.url) + _IMPATIENT)
        before = snapshot(folder)
        with Waiting(console, f"provisioning {folder} against {fabric.url}"):
            outcome = provision.provision(provision.Options(root=str(folder)))
        after = snapshot(folder)
        written = {name: after[name] for name in sorted(after) if after[name] != before.get(name)}
        shown = DemoRun(outcome, _metadata(folder), list(fabric.requests), list(fabric.reports), written, fabric.url)
    if as_json:
        print(json.dumps(shown.as_dict(), indent=2))
    else:
        print_page(console, shown)
    return outcome.exit_code


def _metadata(folder: Path) -> dict[str, object]:
    saved = folder / "run/azurelite/metadata.json"
    document: dict[str, object] = json.loads(saved.read_bytes()) if saved.exists() else {}
    return document
