"""`azurelite provision`."""

from __future__ import annotations

from typing import Optional

from azurelite.api import run_provision
from azurelite.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    from azurelite.cli.parser import add_guest_arguments

    add_guest_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing and send no report; list the changes")
    parser.add_argument("--force", action="store_true", help="do it again though this VM is provisioned already")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Provision, and print what came of it."""
    return perform(
        root=arguments.root,
        config=arguments.config,
        dry_run=arguments.dry_run,
        force=arguments.force,
        as_json=arguments.json,
    )


def perform(
    *, root: str, config: Optional[str], dry_run: bool = False, force: bool = False, as_json: bool = False
) -> int:
    """The same, without the parser."""
    outcome = run_provision(root=root, config=config, dry_run=dry_run, force=force)
    print_outcome(outcome, as_json=as_json, dry_run=dry_run)
    return outcome.exit_code


def print_outcome(outcome: Outcome, *, as_json: bool, dry_run: bool) -> None:
    """One line for people (in a dry run the changes before it), or the whole as JSON."""
    if as_json:
        import json

        print(json.dumps(outcome.as_dict(), indent=2))
        return
    if dry_run:
        for change in outcome.changes:
            print(f"would {change}")
    took = f" in {outcome.seconds:.2f} s" if outcome.seconds else ""
    print(f"{outcome.outcome}{took}: {outcome.reason}" if outcome.reason else f"{outcome.outcome}{took}")
