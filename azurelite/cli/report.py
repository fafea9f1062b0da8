"""`azurelite report ready|failure|progress`."""

from __future__ import annotations

import logging
from typing import Literal, Optional

from azurelite.api import Azure
from azurelite.cli.logfile import keep_line, keep_log
from azurelite.errors import ConfigError, DisabledError, NotAzureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

Kind = Literal["ready", "failure", "progress"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    from azurelite.cli.parser import add_guest_arguments

    add_guest_arguments(parser)
    parser.add_argument("kind", choices=("ready", "failure", "progress"), help="the state to report")
    parser.add_argument("--reason", metavar="TEXT", help="why it failed (required with failure), or what is being done")
    parser.add_argument(
        "--force", action="store_true", help="report ready although a step has failed, because you repaired it yourself"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="print the goal state's ids, the document that is sent, and the answer"
    )


def run(arguments: argparse.Namespace) -> int:
    """Report, and print that it was accepted."""
    if arguments.kind == "failure" and not (arguments.reason or "").strip():
        raise ConfigError("report failure needs --reason TEXT, which the portal shows: add it")
    if arguments.kind == "ready" and arguments.reason is not None:
        raise ConfigError("report ready takes no --reason: leave it out")
    if arguments.force and arguments.kind != "ready":
        raise ConfigError(f"report {arguments.kind} takes no --force: leave it out")
    return perform(
        arguments.kind,
        arguments.reason or "provisioning continues",
        root=arguments.root,
        config=arguments.config,
        verbose=arguments.verbose,
        force=arguments.force,
    )


def perform(
    kind: Kind, text: str = "", *, root: str, config: Optional[str] = None, verbose: bool = False, force: bool = False
) -> int:
    """Like `run`, without the parser. Returns 3 if a report of progress was not sent."""
    keep_log(root)
    tell = _say if verbose else None
    told = True
    try:
        with Azure(root=root, config=config) as azure:
            if kind == "ready":
                azure.report_ready(force=force, tell=tell)
            elif kind == "failure":
                azure.report_failure(text, tell=tell)
            else:
                told = azure.report_progress(text, tell=tell)
    except (NotAzureError, DisabledError) as error:
        print(f"no report was sent: {error}")
        return 0
    if not told:
        print("Azure was not told of the progress")
        keep_line(logging.WARNING, "report: Azure was not told of the progress")
        return 3
    print(f"Azure accepted the report: {kind}")
    keep_line(logging.INFO, f"report: Azure accepted the report: {kind}")
    return 0


def _say(step: str) -> None:
    """Print a step at once, so that a person sees what the program waits for."""
    print(step, flush=True)
