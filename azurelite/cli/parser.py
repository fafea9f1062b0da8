"""From words to a verb's `run`, and from errors to one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import logging
import os
import sys
import traceback
from types import TracebackType
from typing import Callable, Iterator, Optional

import azurelite
from azurelite.errors import AzureliteError, place_of

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


def run(arguments: list[str]) -> int:
    """Parse and run. Returns the exit code; SystemExit (2, or 0 for help) comes from argparse alone."""
    top = _top_parser()
    chosen = top.parse_args(arguments)
    if chosen.verb is None:
        top.print_help()
        return 2
    if chosen.verb not in VERBS:
        near = difflib.get_close_matches(chosen.verb, VERBS, n=1)
        top.error(f"there is no verb {chosen.verb!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    module = importlib.import_module(f"azurelite.cli.{chosen.verb}")
    parser = argparse.ArgumentParser(
        prog=f"azurelite {chosen.verb}", description=VERBS[chosen.verb], allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help="say more, and show where an error comes from")
    module.add_arguments(parser)
    parsed = parser.parse_args(chosen.rest)
    debug = parsed.debug or chosen.debug
    if not debug:
        sys.excepthook = _tell_briefly
    return _guarded(module.run, parsed, debug=debug)


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


def _guarded(verb: Callable[[argparse.Namespace], int], parsed: argparse.Namespace, *, debug: bool) -> int:
    try:
        with _logging(debug=debug):
            code = verb(parsed)
        sys.stdout.flush()
    except AzureliteError as error:
        if debug:
            traceback.print_exc()
        print(f"azurelite: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"azurelite: what is to be printed cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("azurelite: interrupted", file=sys.stderr)
        return 130
    return code


def _tell_briefly(kind: type[BaseException], error: BaseException, where: Optional[TracebackType]) -> None:
    """A defect in one line. Its own text may quote what it choked on, so only its kind and place are told."""
    del error
    print(
        f"azurelite: unhandled {kind.__name__} at {place_of(where)}: run with --debug for the details", file=sys.stderr
    )


@contextlib.contextmanager
def _logging(*, debug: bool) -> Iterator[None]:
    """The log on standard error for the length of one verb: what an operator reads on the serial console."""
    logger = logging.getLogger("azurelite")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("azurelite: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
