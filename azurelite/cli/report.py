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
    parser.add_argument("kind", choices=("ready", "failure", "progress"), help="what to tell")
    parser.add_argument("--reason", metavar="TEXT", help="why it failed (required with failure), or what goes on")


def run(arguments: argparse.Namespace) -> int:
    """Report, and say so."""
    if arguments.kind == "failure" and not (arguments.reason or "").strip():
        raise ConfigError("report failure needs --reason TEXT: it is what the portal shows")
    if arguments.kind == "ready" and arguments.reason is not None:
        raise ConfigError("report ready takes no --reason: Azure keeps none with it")
    text = arguments.reason or "provisioning goes on"
    return perform(arguments.kind, text, root=arguments.root, config=arguments.config)


def perform(kind: Kind, text: str = "", *, root: str, config: Optional[str] = None) -> int:
    """The same, without the parser."""
    try:
        send_report(kind, text, root=root, config=config)
    except NotAzureError as error:
        print(f"nothing was reported: {error}")
        return 0
    print(f"Azure accepted the report: {kind}")
    return 0
