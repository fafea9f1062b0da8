"""`azurelite config show|check|schema`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from azurelite.cli.parser import (
    add_guest_arguments,
    add_log_arguments,
    add_root_argument,
    add_secrets_argument,
    check_secrets_argument,
)
from azurelite.describe.check import Verdict, check_files, check_guest
from azurelite.errors import ConfigError
from azurelite.system.root import Root, check_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="show|check|schema")
    show = _action(actions, "show", "print the merged configuration, and the file and line of each value")
    add_guest_arguments(show)
    show.add_argument("--json", action="store_true", help="print the configuration as JSON")
    add_secrets_argument(show)
    check = _action(actions, "check", "print every mistake in files, or in a guest's configuration")
    add_guest_arguments(check)
    check.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="a file to check; several are merged over the defaults, and a later one wins",
    )
    check.add_argument("--json", action="store_true", help="print the mistakes and warnings as JSON")
    check.epilog = "exit codes: 0 no mistakes, 2 mistakes or usage error; warnings do not count"
    schema = _action(actions, "schema", "print the JSON Schema of the configuration, for editors")
    add_root_argument(schema)
    schema.add_argument("--builtin", action="store_true", help="exclude plug-ins and the guest's executables")


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    add_log_arguments(parser, within=True)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the action. Returns 2 if the configuration is wrong."""
    actions = {"show": _show, "check": _check, "schema": _schema}
    return actions[arguments.action](arguments)


def _show(arguments: argparse.Namespace) -> int:
    from azurelite.config.load import load_config
    from azurelite.describe.show import show_config
    from azurelite.handlers import bind_handlers

    check_secrets_argument(arguments)
    check_root(arguments.root)
    root = Root(arguments.root)
    config = load_config(root, file=arguments.config)
    shown = show_config(config, bind_handlers(config, root))
    if arguments.json:
        print(json.dumps(shown.as_dict(show_secrets=arguments.show_secrets), indent=2, default=str))
    else:
        print(shown.as_yaml(show_secrets=arguments.show_secrets))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    if arguments.files and arguments.config is not None:
        raise ConfigError("--config and FILE exclude each other: leave one of them out")
    check_root(arguments.root)
    root = Root(arguments.root)
    verdicts = check_files(arguments.files, root) if arguments.files else check_guest(root, arguments.config)
    if arguments.json:
        print(json.dumps([_as_dict(verdict) for verdict in verdicts], indent=2))
    else:
        for verdict in verdicts:
            _say(verdict)
    return 2 if any(verdict.problems for verdict in verdicts) else 0


def _as_dict(verdict: Verdict) -> dict[str, Any]:
    found = {
        kind: [
            {"line": p.at.line if p.at else None, "column": p.at.column if p.at else None, "text": p.text}
            for p in problems
        ]
        for kind, problems in (("problems", verdict.problems), ("warnings", verdict.warnings))
    }
    return {"file": verdict.name, "ok": not (verdict.problems or verdict.more), **found, "more": verdict.more}


def _say(verdict: Verdict) -> None:
    for problem in verdict.problems:
        print(problem if problem.at is not None else f"azurelite: error: {problem}", file=sys.stderr)
    if verdict.more:
        print(f"and {verdict.more} more", file=sys.stderr)
    if not verdict.problems and not verdict.more:  # else the warnings may be about a name that is misspelt
        for warning in verdict.warnings:
            print(f"{warning.place}: warning: {warning.text}", file=sys.stderr)
        number = len(verdict.warnings)
        warned = f" ({number} warning{'s' * (number > 1)})" if number else ""
        print(f"{verdict.name}: OK{warned}")


def _schema(arguments: argparse.Namespace) -> int:
    from azurelite.describe.handlers import catalog
    from azurelite.describe.jsonschema import config_schema

    known = catalog(None if arguments.builtin else Root(arguments.root))
    print(json.dumps(config_schema(known, plugins=not arguments.builtin), indent=2))
    return 0
