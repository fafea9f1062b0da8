"""`azurelite provision`."""

from __future__ import annotations

import logging
import os
import sys
from typing import Optional

from azurelite.api import run_provision
from azurelite.cli.later_boot import nothing_to_do
from azurelite.errors import ConfigError
from azurelite.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

LOG = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    from azurelite.cli.parser import add_guest_arguments

    add_guest_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing and send no report; list the changes")
    parser.add_argument("--force", action="store_true", help="do it again though this VM is provisioned already")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument(
        "--detach",
        action="store_true",
        help="end once Azure has accepted Ready; what stands behind report_ready goes on in the background",
    )


def run(arguments: argparse.Namespace) -> int:
    """Provision, and print what came of it."""
    usual = not (arguments.dry_run or arguments.force or arguments.json)
    said = nothing_to_do("provision", arguments.root, config=arguments.config) if usual else None
    if said is not None:
        print(said)
        return 0
    return perform(
        root=arguments.root,
        config=arguments.config,
        dry_run=arguments.dry_run,
        force=arguments.force,
        as_json=arguments.json,
        detach=arguments.detach,
    )


def perform(
    *,
    root: str,
    config: Optional[str] = None,
    dry_run: bool = False,
    force: bool = False,
    as_json: bool = False,
    detach: bool = False,
) -> int:
    """The same, without the parser."""
    if detach and (dry_run or as_json):
        raise ConfigError(
            f"--detach does not go with {'--dry-run' if dry_run else '--json'}: the one who reads waits for all of it"
        )
    began = os.getpid()
    outcome = run_provision(root=root, config=config, dry_run=dry_run, force=force, detach=detach)
    if os.getpid() == began:
        try:
            print_outcome(outcome, as_json=as_json, dry_run=dry_run)
            print(end="", flush=True)
        except OSError as error:  # the exit code is for the outcome, which is what it is
            LOG.warning("what came of it cannot be printed: %s", error.strerror)
            sys.stdout = None
    else:  # the log, unlike standard output, bears that the console of whoever started us is gone
        LOG.info("%s", _in_one_line(outcome))
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
    print(_in_one_line(outcome))


def _in_one_line(outcome: Outcome) -> str:
    took = f" in {outcome.seconds:.2f} s" if outcome.seconds else ""
    why = outcome.brief or outcome.reason
    return f"{outcome.outcome}{took}: {why}" if why else f"{outcome.outcome}{took}"
