"""`azurelite generalize`."""

from __future__ import annotations

import argparse
import json
import os

from azurelite.capture.generalize import HOMES, OPTIONS, Item, Result, check_readable, generalize
from azurelite.cli.logfile import printable
from azurelite.cli.parser import add_root_argument
from azurelite.clock import Deadline
from azurelite.errors import ConfigError
from azurelite.system.machine import System
from azurelite.system.root import check_root
from azurelite.system.runlock import run_lock

_WAIT = 10.0  # seconds for another run of azurelite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    add_root_argument(parser)
    parser.add_argument("--yes", action="store_true", help="remove it; without this, it is only listed")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    for option, what in OPTIONS.items():
        parser.add_argument(f"--{option}", action="store_true", help=f"also remove {what}")
    parser.add_argument("--all", action="store_true", help=f"all options above; not --{HOMES}")
    parser.add_argument(f"--{HOMES}", action="store_true", help="delete the homes that azurelite made")
    parser.epilog = "exit codes: 0 listed or removed, 1 something stays or failed, 2 usage error"


def run(arguments: argparse.Namespace) -> int:
    """List or remove what is left of this VM. Returns 1 if something stays or failed."""
    check_root(arguments.root)
    if arguments.yes and os.geteuid() != 0:
        raise ConfigError("--yes needs root: use sudo, or leave it out")
    given = vars(arguments)
    options = {option for option in OPTIONS if arguments.all or given[option.replace("-", "_")]}
    options |= {HOMES} if given[HOMES.replace("-", "_")] else set()
    system = System(arguments.root, search_path=os.environ.get("PATH"))
    check_readable(system)
    if arguments.yes:
        with run_lock(system, Deadline(system.clock, _WAIT)):
            result = generalize(system, options=options, act=True)
    else:
        result = generalize(system, options=options, act=False)
    if arguments.json:
        print(json.dumps(result.as_dict(), indent=2))
    else:
        _show(result)
    return result.exit_code


def _show(result: Result) -> None:
    for note in result.notes:
        print(f"note: {note}")
    for item in result.items:
        print(printable(_line(item)))  # user data chose some of the names
    stays = sum(item.state in ("kept", "failed") for item in result.items)
    if not result.acted and any(item.state == "planned" for item in result.items):
        print("nothing was changed: run it again with --yes")
    elif result.acted and stays:
        print(f"{stays} of {len(result.items)} stay: this disk is not ready to be captured")
    elif result.acted and result.items:
        print("done: switch this VM off, and capture its disk")


def _line(item: Item) -> str:
    why = f" ({item.why})" if item.why else ""
    return {
        "planned": f"would {item.what}",
        "done": item.what,
        "kept": f"stays: {item.what.removeprefix('remove ')}{why}",
        "failed": f"failed: {item.what}{why}",
    }[item.state]
