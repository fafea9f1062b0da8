"""`azurelite report ready|failure|progress`."""

from __future__ import annotations

from typing import Optional

from azurelite.errors import ConfigError, NotAzureError
from azurelite.run.session import Kind, send_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    from azurelite.cli.parser import add_guest_arguments

    add_guest_arguments(parser)
    parser.add_argument("kind", choices=("ready", "failure", "progress"), help="the state to report")
    parser.add_argument("--reason", metavar="TEXT", help="why it failed (required with failure), or what is being done")
    parser.add_argument(
        "--verbose", action="store_true", help="print the goal state's ids, the document that is sent, and the answer"
    )


def run(arguments: argparse.Namespace) -> int:
    """Report, and print that it was accepted."""
    if arguments.kind == "failure" and not (arguments.reason or "").strip():
        raise ConfigError("report failure needs --reason TEXT, which the portal shows: add it")
    if arguments.kind == "ready" and arguments.reason is not None:
        raise ConfigError("report ready takes no --reason: leave it out")
    text = arguments.reason or "provisioning continues"
    return perform(arguments.kind, text, root=arguments.root, config=arguments.config, verbose=arguments.verbose)


def perform(kind: Kind, text: str = "", *, root: str, config: Optional[str] = None, verbose: bool = False) -> int:
    """Like `run`, without the parser."""
    try:
        send_report(kind, text, root=root, config=config, tell=_say if verbose else None)
    except NotAzureError as error:
        print(f"no report was sent: {error}")
        return 0
    print(f"Azure accepted the report: {kind}")
    return 0


def _say(step: str) -> None:
    """Print a step at once, so that a person sees what the program waits for."""
    print(step, flush=True)
