"""Parses the command line and calls `run` of the verb."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from contextlib import nullcontext

import azurelite
from azurelite.cli.shell import complain_of_package, run_verb
from azurelite.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import ModuleType

    Importing = Callable[[], AbstractContextManager[None]]

# Verb -> description. Its module, azurelite.cli.VERB (`_` for `-`), holds `add_arguments(parser)` and
# `run(arguments) -> int`.
VERBS = {
    "provision": "provision this VM: read its metadata, run the handlers, report to Azure",
    "metadata": "print the metadata of this VM",
    "apply": "run only the given handlers",
    "report": "report ready, failure or progress to Azure",
    "status": "print how provisioning went in this boot, or how far it is",
    "plan": "print what provision would do, and why",
    "analyze": "show where the time of a boot went, also as SVG, web page or OTLP/JSON",
    "config": "print the configuration, check it, or print its JSON Schema",
    "collect-logs": "write the logs into one archive for a bug report, without secrets",
    "handlers": "print the handlers and their options",
    "doctor": "check whether an image is fit to be captured; --fix corrects what can be undone",
    "service": "install or remove the boot service",
    "generalize": "list or remove what is left of this VM, before its disk is captured",
    "simulate": "serve a simulated Azure",
    "demo": "provision a scratch root against a simulated Azure; needs neither Azure nor root",
}

# What the exit codes mean in every verb; a verb that has more of them says so in its own help.
EXIT_CODES = {0: "done or nothing to do", 1: "failed", 2: "usage or configuration error", 3: "Azure not reached"}
MORE_EXIT_CODES = "`status` and `doctor` also have 4"


def run(arguments: list[str], importing: Importing = nullcontext, *, own_process: bool = False) -> int:
    """Parse the command line and run the verb. Returns the exit code; argparse raises SystemExit (2, or 0 for help).

    Args:
        arguments: without the program's name.
        importing: a context manager for imports.
        own_process: the process ends with this verb.
    """
    with importing():  # argparse compiles patterns that few command lines use
        top = top_parser()
        top.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
        top.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
        chosen = top.parse_args(arguments)
    if chosen.verb is None:
        top.print_help()
        return 2
    if chosen.verb not in VERBS:
        from azurelite.config.schema import nearest

        near = nearest(chosen.verb, VERBS)
        top.error(f"there is no verb {chosen.verb!r}" + (f"; did you mean {near!r}?" if near else ""))
    try:
        with importing():
            module = verb_module(chosen.verb)
    except ModuleNotFoundError as error:
        if chosen.debug or not complain_of_package(error):
            raise
        return 1
    parsed = verb_parser(chosen.verb).parse_args(chosen.rest)
    return run_verb(
        lambda: module.run(parsed),
        debug=parsed.debug or chosen.debug,
        level=getattr(logging, (parsed.log_level or chosen.log_level or "info").upper()),
        own_process=own_process,
    )


def add_log_arguments(parser: argparse.ArgumentParser, *, within: bool = False) -> None:
    """The options of the log.

    Args:
        parser: of the verb, or of the options before it.
        within: the parser is that of a verb's action; without such an option there, one before the action counts.
    """
    debug, level = (argparse.SUPPRESS, argparse.SUPPRESS) if within else (False, None)
    parser.add_argument("--debug", action="store_true", default=debug, help="log debug lines, and print tracebacks")
    levels = parser.add_mutually_exclusive_group()
    for words, value, summary in (
        (("-v",), "debug", "log debug lines"),
        (("-q", "--quiet"), "warning", "log only warnings and errors"),
    ):
        levels.add_argument(*words, dest="log_level", action="store_const", const=value, default=level, help=summary)
    choices = ("debug", "info", "warning", "error")
    levels.add_argument("--log-level", choices=choices, default=level, help="the least level to log")


def verb_module(verb: str) -> ModuleType:
    """Import the module of a verb: `collect-logs` is azurelite.cli.collect_logs."""
    return importlib.import_module(f"azurelite.cli.{verb.replace('-', '_')}")


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb, with all its options."""
    parser = argparse.ArgumentParser(prog=f"azurelite {verb}", description=VERBS[verb], allow_abbrev=False)
    add_log_arguments(parser)
    verb_module(verb).add_arguments(parser)
    return parser


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


def add_boot_argument(parser: argparse.ArgumentParser) -> None:
    """The option that names an earlier boot."""
    parser.add_argument(
        "--boot",
        type=earlier_boot,
        default=0,
        metavar="-N",
        help="an earlier boot in which azurelite had work: -1 is the last one before this; root only",
    )


def earlier_boot(text: str) -> int:
    """0, or a negative number, on the command line. Raises argparse's error."""
    try:
        number = int(text)
    except ValueError:
        number = 1
    if number > 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be 0 for this boot, or -1, -2, … for an earlier one")
    return number


def add_timeout_argument(parser: argparse.ArgumentParser) -> None:
    """The option that limits the time of all requests."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="time for all requests together; the default, and the most, is `datasource.deadline`",
    )


def seconds(text: str) -> float:
    """A number of seconds on the command line. Raises argparse's error."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value


def add_guest_arguments(parser: argparse.ArgumentParser) -> None:
    """The two options of every verb that reads or changes a machine."""
    add_root_argument(parser)
    parser.add_argument(
        "--config", metavar="FILE", help="use this file instead of the guest's /etc/azurelite/azurelite.yaml"
    )


def top_parser() -> argparse.ArgumentParser:
    """The parser of the options before the verb."""
    codes = ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    codes += f"; {MORE_EXIT_CODES}"
    width = max(len(verb) for verb in VERBS)
    verbs = "\n".join(f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="azurelite",
        usage="azurelite [--debug | -v | -q | --log-level LEVEL] VERB [OPTIONS]",
        description="Provisions a Linux virtual machine on Azure.",
        epilog=f"verbs:\n{verbs}\n\n`azurelite VERB --help` prints the options of a verb.\nexit codes: {codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"azurelite {azurelite.__version__}")
    add_log_arguments(parser)
    return parser
