"""`azurelite status`: how provisioning went in this boot. It works for any user, at once and without the network."""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import Any, Optional

from azurelite import layout
from azurelite.cli.parser import add_root_argument, seconds
from azurelite.cli.shell import complain
from azurelite.errors import ConfigError
from azurelite.state.reading import earlier, wait_for
from azurelite.state.records import RECORD_LIMIT
from azurelite.state.status import EXIT_CODES, NEVER_RAN, exit_code
from azurelite.system.root import Root, check_root

_HEADLINES = {
    NEVER_RAN: "azurelite has not run in this boot",
    "running": "running",
    "waiting": "waiting for Azure",
    "background": "Azure accepted Ready; in the background",
    "not azure": "this machine is not on Azure",
    "unreachable": "Azure was not reached",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    add_root_argument(parser)
    parser.add_argument(
        "--wait",
        nargs="?",
        type=seconds,
        const=math.inf,
        metavar="SECONDS",
        help="wait for the end of the run and of what it does in the background, at most so long",
    )
    parser.add_argument("--long", action="store_true", help="also print the steps; root also gets their changes")
    parser.add_argument("--json", action="store_true", help="print the status as JSON")
    parser.add_argument(
        "--boot", type=int, default=0, metavar="-N", help="an earlier boot that azurelite worked in: -1 is the last one"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "exit codes:\n" + "\n".join(f"  {code}  {words}" for code, _, words in EXIT_CODES)


def run(arguments: argparse.Namespace) -> int:
    """Print the status. Returns the code of `EXIT_CODES`."""
    check_root(arguments.root)
    root = Root(arguments.root)
    over = False
    if arguments.boot > 0:
        raise ConfigError(f"--boot {arguments.boot}: give 0 for this boot, or -1, -2, … for earlier ones")
    if arguments.boot < 0:
        if arguments.wait is not None:
            raise ConfigError("--wait excludes --boot, which is over: leave one out")
        found = earlier(root, -arguments.boot)
    else:
        problems: list[str] = []
        found, over = wait_for(root, arguments.wait, problems=problems)
        for problem in problems:
            complain(problem)
    code = exit_code(found["state"])
    code = 4 if over else code
    if arguments.json:
        print(json.dumps({**found, "exit_code": code}, indent=2))
        return code
    full = _full(root, found) if arguments.long and not arguments.boot else None
    for line in (*_brief(found), *(_rows(found, full) if arguments.long else ())):
        print(line)
    return code


def _full(root: Root, found: dict[str, Any]) -> dict[str, Any]:
    """The details of the same run, by step; none for others than root."""
    if os.geteuid() != 0 and root.is_host:
        return {}
    try:
        text = root.text(layout.STATUS_FULL, limit=RECORD_LIMIT)
        full = json.loads(text)
        if full["seconds"] == found["seconds"] and full["outcome"] == found["outcome"]:
            return {step["name"]: step for step in full["steps"]}
    except (ValueError, RecursionError, KeyError, TypeError):  # none, or it is damaged
        pass
    return {}


def _brief(found: dict[str, Any]) -> list[str]:
    state = found["state"]
    where = f": {found['step']}" if found["step"] and state in ("running", "background") else ""
    lines = [f"status: {_HEADLINES.get(state, state)}{where}"]
    lines += [f"{key}: {_flat(found[key])}" for key in ("reason", "remedy") if found[key]]
    if found["vm_id"]:
        lines.append(f"VM: {found['vm_id']}")
    if found["report"]:
        lines.append(f"Azure: {_report(found['report'])}")
    if state != NEVER_RAN:
        lines.append(f"time: {found['updated']}, after {found['seconds']} s")
    if state in ("failed", "unreachable", "degraded"):
        lines.append(f"log: {found['log']}")
        lines += [f"output: {path}" for path in found["outputs"]]
    last = found["last_failure"]
    if isinstance(last, dict):
        at = f" in {last['step']}" if last.get("step") else ""
        lines.append(_flat(f"last failure: {last.get('updated')}{at}: {last.get('reason')}"))
        lines += [f"  remedy: {_flat(last['remedy'])}"] if last.get("remedy") else []
    return lines


def _flat(text: object) -> str:
    """The text in one line, without signs that a terminal obeys."""
    return "".join(sign if sign.isprintable() else " " for sign in str(text))


def _report(report: dict[str, Any]) -> str:
    if not report.get("accepted"):
        return _flat(f"was not told {report.get('state')}: {report.get('error')}")
    return "accepted Ready" if report.get("state") == "Ready" else "was told of the failure"


def _rows(found: dict[str, Any], full: Optional[dict[str, Any]]) -> list[str]:
    """The steps, one a line, with what root may know below each."""
    rows = []
    width = max((len(str(step["name"])) for step in found["steps"]), default=0)
    for step in found["steps"]:
        more = (full or {}).get(step["name"], {})
        why = more.get("error") or more.get("reason") or step.get("error") or step.get("reason") or ""
        count = step.get("changes") or 0
        made = f"{count} change{'s' * (count != 1)}" if step.get("status") == "done" else _flat(why)
        rows.append(
            f"  {step.get('name'):{width}}  {step.get('status'):7}  {step.get('seconds'):7.3f} s  {made}".rstrip()
        )
        rows += [f"    {line}" for line in (*more.get("changes", ()), *more.get("notes", ()))]
    rows.append(f"requests: {found['requests']}")
    rows.append(f"log: {found['log']}")
    rows += [f"output: {path}" for path in found["outputs"]]
    return list(dict.fromkeys(rows))
