"""From words to a verb's `run`."""

from __future__ import annotations

import argparse
import importlib
from contextlib import nullcontext

import azurelite
from azurelite.cli.shell import run_verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Importing = Callable[[], AbstractContextManager[None]]

# Verb -> what it does. Its module, azurelite.cli.VERB, holds `add_arguments(parser)` and `run(arguments) -> int`.
VERBS = {
    "provision": "the main job: read what Azure says, apply the handlers, report to Azure",
    "metadata": "print what Azure says about this VM",
    "apply": "run just these handlers",
    "report": "tell Azure ready, failure or progress, and nothing else",
    "plan": "what provision would do, and why",
    "config": "show the configuration, check it, or print its JSON Schema",
    "handlers": "the handlers and their options",
    "service": "have the init system run azurelite at every boot, or no more: install, remove",
    "simulate": "serve a fake Azure fabric",
    "demo": "the main job on a simulated fabric in a scratch root: needs no Azure and no root",
}


def run(arguments: list[str], importing: Importing = nullcontext, *, own_process: bool = False) -> int:
    """Parse and run. Returns the exit code; SystemExit (2, or 0 for help) comes from argparse alone.

    Args:
        arguments: without the program's name.
        importing: a context for imports.
        own_process: the process ends with this verb.
    """
    with importing():  # argparse compiles patterns that few command lines need
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
    parser.add_argument("--debug", action="store_true", help="say more, and show where an error comes from")
    module.add_arguments(parser)
    parsed = parser.parse_args(chosen.rest)
    return run_verb(lambda: module.run(parsed), debug=parsed.debug or chosen.debug, own_process=own_process)


def add_guest_arguments(parser: argparse.ArgumentParser) -> None:
    """The two options of every verb that reads or changes a machine."""
    parser.add_argument("--root", default="/", metavar="DIR", help="the guest's root; all guest paths lie below it")
    parser.add_argument(
        "--config", metavar="FILE", help="use this file in place of /etc/azurelite/azurelite.yaml of the guest"
    )


def _top_parser() -> argparse.ArgumentParser:
    width = max(len(verb) for verb in VERBS)
    verbs = "\n".join(f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="azurelite",
        usage="azurelite [--debug] VERB [OPTIONS]",
        description="Provisions a Linux virtual machine on Azure.",
        epilog=f"verbs:\n{verbs}\n\n`azurelite VERB --help` tells a verb's options.\n"
        "exit codes: 0 done or nothing to do, 1 failed, 2 usage or configuration, 3 Azure not reached",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"azurelite {azurelite.__version__}")
    parser.add_argument("--debug", action="store_true", help="say more, and show where an error comes from")
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
