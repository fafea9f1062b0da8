"""`azurelite provision`."""

from __future__ import annotations

import logging
import os
import sys
from typing import Optional

from azurelite.api import Azure
from azurelite.cli.later_boot import nothing_to_do
from azurelite.cli.logfile import keep_line, keep_log, summary
from azurelite.errors import AzureliteError, ConfigError
from azurelite.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

LOG = logging.getLogger(__name__)

_NAMED_BY_REASON = ("already provisioned", "disabled", "not azure")  # their reasons are whole sentences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    from azurelite.cli.parser import add_guest_arguments

    add_guest_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing and send no report; list the changes")
    parser.add_argument("--diff", action="store_true", help="with --dry-run: also show how the text of files changes")
    parser.add_argument("--force", action="store_true", help="provision again even if this VM is done")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument(
        "--detach",
        action="store_true",
        help="end after Azure has accepted Ready; the steps after report_ready continue in the background",
    )


def run(arguments: argparse.Namespace) -> int:
    """Provision, and print the outcome."""
    check_diff(arguments)
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
        diff=arguments.diff,
    )


def perform(
    *,
    root: str,
    config: Optional[str] = None,
    dry_run: bool = False,
    force: bool = False,
    as_json: bool = False,
    detach: bool = False,
    diff: bool = False,
) -> int:
    """Like `run`, without the parser."""
    if detach and (dry_run or as_json):
        raise ConfigError(
            f"--detach excludes {'--dry-run' if dry_run else '--json'}, which needs the whole outcome: leave one out"
        )
    if not dry_run:
        keep_log(root, summary=not as_json)
    began = os.getpid()
    with Azure(root=root, config=config) as azure:
        outcome = azure.provision(dry_run=dry_run, force=force, detach=detach)
    if os.getpid() == began:
        try:
            print_outcome(outcome, as_json=as_json, dry_run=dry_run, diff=diff)
            for line in _closing(outcome):
                print(line)
            print(end="", flush=True)
        except OSError as error:  # the exit code stays that of the outcome
            LOG.warning("cannot write to standard output: %s", error.strerror)
            sys.stdout = None
    else:  # standard output may be closed, which the log tolerates
        LOG.info("provision: %s", _in_one_line(outcome))
    return outcome.exit_code


def check_diff(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for a --diff that would print nothing, or no JSON."""
    if arguments.diff and not arguments.dry_run:
        raise ConfigError("--diff shows what a dry run would change: add --dry-run")
    if arguments.diff and arguments.json:
        raise ConfigError("--diff excludes --json, whose output is one document: leave one out")


def print_outcome(outcome: Outcome, *, as_json: bool, dry_run: bool, diff: bool = False) -> None:
    """Print one line, in a dry run after the changes if the log does not show them; or all of the outcome as JSON.

    With `diff` each change of a text file is followed by its diff.
    """
    if as_json:
        import json

        print(json.dumps(outcome.as_dict(), indent=2))
        return
    told = not dry_run or _log_is_seen()
    for change in outcome.changes if diff or not told else ():
        if not told:
            print(f"would {change}")
        if diff:
            print(change.diff(), end="")
    print(_in_one_line(outcome))


def _closing(outcome: Outcome) -> list[str]:
    """Keep the result in the log. Returns what the console says beside it of a failed run."""
    if outcome.outcome not in ("disabled", "not azure"):
        keep_line(logging.ERROR if outcome.exit_code else logging.INFO, f"provision: {_in_one_line(outcome)}")
    if outcome.exit_code == 0:
        return []
    return summary((outcome.error or AzureliteError("")).remedy)


def _log_is_seen() -> bool:
    """Whether standard output and the log, which has each change already, end on a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


def _in_one_line(outcome: Outcome) -> str:
    took = f" ({outcome.seconds:.2f} s)" if outcome.seconds else ""
    why = outcome.brief or outcome.reason
    named = [] if outcome.outcome in _NAMED_BY_REASON else [outcome.outcome]
    return ": ".join([*named, why] if why else named) + took
