"""Parses the command line and calls `run` of the verb."""

from __future__ import annotations

import argparse
import importlib
import os
from contextlib import nullcontext

import azurelite
from azurelite.cli.shell import run_verb
from azurelite.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Importing = Callable[[], AbstractContextManager[None]]

# Verb -> description. Its module, azurelite.cli.VERB, holds `add_arguments(parser)` and `run(arguments) -> int`.
VERBS = {
    "provision": "provision this VM: read its metadata, run the handlers, report to Azure",
    "metadata": "print the metadata of this VM",
    "apply": "run only the given handlers",
    "report": "report ready, failure or progress to Azure",
    "plan": "print what provision would do, and why",
    "config": "print the configuration, check it, or print its JSON Schema",
    "handlers": "print the handlers and their options",
    "doctor": "check whether an image is fit to be captured; --fix corrects what can be undone",
    "service": "install or remove the boot service",
    "simulate": "serve a simulated Azure",
    "demo": "provision a scratch root against a simulated Azure; needs neither Azure nor root",
}


def run(arguments: list[str], importing: Importing = nullcontext, *, own_process: bool = False) -> int:
    """Parse the command line and run the verb. Returns the exit code; argparse raises SystemExit (2, or 0 for help).

    Args:
        arguments: without the program's name.
        importing: a context manager for imports.
        own_process: the process ends with this verb.
    """
    with importing():  # argparse compiles patterns that few command lines use
        top = _top_parser()
        chosen = top.parse_args(arguments)
    if chosen.verb is None:
        top.print_help()
        return 2
    if chosen.verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(chosen.verb, VERBS, n=1)
        top.error(f"there is no verb {chosen.verb!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    with importing():
        module = importlib.import_module(f"azurelite.cli.{chosen.verb}")
    parser = argparse.ArgumentParser(
        prog=f"azurelite {chosen.verb}", description=VERBS[chosen.verb], allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help="log debug lines, and print tracebacks")
    module.add_arguments(parser)
    parsed = parser.parse_args(chosen.rest)
    return run_verb(lambda: module.run(parsed), debug=parsed.debug or chosen.debug, own_process=own_process)


def add_root_argument(parser: argparse.ArgumentParser) -> None:
    """The option that names the guest, `DIR` on this machine."""
    parser.add_argument("--root", default="/", metavar="DIR", help="the folder that holds the guest's `/`")


def add_secrets_argument(parser: argparse.ArgumentParser) -> None:
    """The option that prints secrets; `check_secrets_argument` checks it."""
    parser.add_argument("--show-secrets", action="store_true", help="print secrets in plain text; root only")


def check_secrets_argument(arguments: argparse.Namespace) -> None:
    """Raise ConfigError if a user other than root wants to see secrets."""
    if arguments.show_secrets and os.geteuid() != 0:
        raise ConfigError("--show-secrets needs root: use sudo, or leave it out")


def add_guest_arguments(parser: argparse.ArgumentParser) -> None:
    """The two options of every verb that reads or changes a machine."""
    add_root_argument(parser)
    parser.add_argument(
        "--config", metavar="FILE", help="use this file instead of the guest's /etc/azurelite/azurelite.yaml"
    )


def _top_parser() -> argparse.ArgumentParser:
    width = max(len(verb) for verb in VERBS)
    verbs = "\n".join(f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="azurelite",
        usage="azurelite [--debug] VERB [OPTIONS]",
        description="Provisions a Linux virtual machine on Azure.",
        epilog=f"verbs:\n{verbs}\n\n`azurelite VERB --help` prints the options of a verb.\n"
        "exit codes: 0 done or nothing to do, 1 failed, 2 usage or configuration, 3 Azure not reached, "
        "4 not fit (doctor)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"azurelite {azurelite.__version__}")
    parser.add_argument("--debug", action="store_true", help="log debug lines, and print tracebacks")
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
