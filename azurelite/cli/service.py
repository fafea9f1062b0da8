"""`azurelite service install|remove`."""

from __future__ import annotations

import argparse
import json
import os

from azurelite.cli.parser import add_root_argument
from azurelite.errors import ConfigError
from azurelite.service import INITS, install, remove
from azurelite.system.machine import System
from azurelite.system.root import check_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    parser.add_argument("action", choices=("install", "remove"), help="install or remove the boot service")
    parser.add_argument("--init", metavar="NAME", help=f"the init system (default: the one found): {', '.join(INITS)}")
    add_root_argument(parser)
    parser.add_argument(
        "--early", action="store_true", help="systemd: also set the host name from the disc before the network starts"
    )
    parser.add_argument("--program", metavar="PATH", help="azurelite's path in the guest (default: the one found)")
    parser.add_argument("--dry-run", action="store_true", help="change nothing; list the changes")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Install or remove, and print the changes."""
    installing = arguments.action == "install"
    check_root(arguments.root)
    if not installing and (arguments.early or arguments.program is not None):
        raise ConfigError("--early and --program are options of `service install`: leave them out")
    system = System(arguments.root, dry_run=arguments.dry_run, search_path=os.environ.get("PATH"))
    if installing:
        done = install(system, init=arguments.init, program=arguments.program, early=arguments.early)
    else:
        done = remove(system, init=arguments.init)
    changes = system.journal.since(0)
    if arguments.json:
        rows = [{"kind": one.kind, "target": one.target, "detail": one.detail} for one in changes]
        print(json.dumps({"init": done.init, "changes": rows, "notes": list(done.notes)}, indent=2))
        return 0
    for change in changes:
        print(f"would {change}" if arguments.dry_run else str(change))
    for note in done.notes:
        print(f"note: {note}")
    if not arguments.dry_run:
        print(_verdict(done.init, installing=installing, changed=bool(changes)))
    elif not changes:
        print("nothing to change")
    return 0


def _verdict(init: str, *, installing: bool, changed: bool) -> str:
    if installing:
        return f"{init} runs azurelite at boot" + ("" if changed else ": nothing had to change")
    return f"removed the {init} service" if changed else "no service was installed"
