"""`azurelite report ready|failure|progress`."""

from __future__ import annotations

import argparse

from azurelite.api import send_report
from azurelite.cli.parser import add_guest_arguments
from azurelite.errors import ConfigError, NotAzureError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
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
    try:
        send_report(arguments.kind, text, root=arguments.root, config=arguments.config)
    except NotAzureError as error:
        print(f"nothing was reported: {error}")
        return 0
    print(f"Azure accepted the report: {arguments.kind}")
    return 0
