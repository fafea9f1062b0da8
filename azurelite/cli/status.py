"""`azurelite status`: how provisioning went in this boot. It works for any user, at once and without the network."""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import Any, Optional

from azurelite import layout
from azurelite.cli.parser import add_boot_argument, add_root_argument, seconds
from azurelite.cli.shell import complain
from azurelite.errors import ConfigError
from azurelite.state.reading import earlier, wait_for
from azurelite.state.records import RECORD_LIMIT
from azurelite.state.status import EXIT_CODES, NEVER_RAN, exit_code
from azurelite.system.root import Root, check_root

_WITH_LOG = ("failed", "unreachable", "degraded")
_HEADLINES = {
    NEVER_RAN: "`azurelite provision` has not run in this boot",
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
        help="wait until the run and its background steps have ended, at most SECONDS",
    )
    parser.add_argument("--long", action="store_true", help="also print the steps; root also gets their changes")
    parser.add_argument("--json", action="store_true", help="print the status as JSON")
    add_boot_argument(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "exit codes:\n" + "\n".join(f"  {code}  {words}" for code, _, words in EXIT_CODES)


def run(arguments: argparse.Namespace) -> int:
    """Print the status. Returns the code of `EXIT_CODES`."""
    check_root(arguments.root)
    root = Root(arguments.root)
    over = False
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
    rows = _rows(found, full) if arguments.long else ()
    places = _places(found) if arguments.long or found["state"] in _WITH_LOG else ()
    for line in (*_brief(found), *rows, *places, *_last_failure(found)):
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
    lines += _why(found["reason"], found["remedy"])
    if found["vm_id"]:
        lines.append(f"VM: {found['vm_id']}")
    if found["report"]:
        lines.append(f"Azure: {_report(found['report'])}")
    if state != NEVER_RAN:
        lines.append(f"time: {_when(found['updated'])}, after {found['seconds']:.2f} s")
    return lines


def _places(found: dict[str, Any]) -> list[str]:
    """Where to read more."""
    return [f"log: {found['log']}", *(f"output: {path}" for path in found["outputs"])]


def _last_failure(found: dict[str, Any]) -> list[str]:
    """How an earlier boot of this VM failed; in short if it failed as this one did."""
    last = found["last_failure"]
    if not isinstance(last, dict):
        return []
    when = _when(last.get("updated"))
    if last.get("reason") and last["reason"] == found["reason"]:
        return [_flat(f"last failure: {when}, for the same reason")]
    step, (reason, *remedy) = last.get("step"), _why(last.get("reason") or "unknown", last.get("remedy"))
    reason = reason.partition(": ")[2]
    at = f" in {_flat(step)}" if step and not reason.startswith(f"{step}: ") else ""
    return [_flat(f"last failure: {when}{at}: {reason}"), *(f"  {line}" for line in remedy)]


def _why(reason: Optional[str], remedy: Optional[str]) -> list[str]:
    """Reason and remedy. Many reasons end with the remedy, which is then printed once."""
    text = _flat(reason or "")
    if remedy and text.endswith(_flat(remedy).rstrip(".")):
        text = text[: -len(_flat(remedy).rstrip("."))].rstrip(" .:")
    lines = [f"reason: {text}"] if text else []
    return [*lines, f"remedy: {_flat(remedy)}"] if remedy else lines


def _when(updated: object) -> str:
    """A time of the status for people, as `analyze` prints it."""
    return _flat(updated).replace("T", " ").replace("+00:00", " UTC")


def _flat(text: object) -> str:
    """The text in one line, without signs that a terminal obeys."""
    return "".join(sign if sign.isprintable() else " " for sign in str(text))


def _report(report: dict[str, Any]) -> str:
    if not report.get("accepted"):
        return _flat(f"was not told {report.get('state')}: {report.get('error')}")
    return "accepted Ready" if report.get("state") == "Ready" else "was told of the failure"


def _rows(found: dict[str, Any], full: Optional[dict[str, Any]]) -> list[str]:
    """The steps, one a line, with what root may know below each. The reason of the run is not printed again."""
    rows = []
    width = max((len(str(step["name"])) for step in found["steps"]), default=0)
    for step in found["steps"]:
        more = (full or {}).get(step["name"], {})
        why = more.get("error") or more.get("reason") or step.get("error") or step.get("reason") or ""
        why = "see the reason above" if why and (found["reason"] or "").endswith(why) else why
        count = step.get("changes") or 0
        made = f"{count} change{'s' * (count != 1)}" if step.get("status") == "done" else _flat(why)
        rows.append(
            f"  {step.get('name'):{width}}  {step.get('status'):7}  {step.get('seconds'):7.3f} s  {made}".rstrip()
        )
        rows += [f"    {line}" for line in (*more.get("changes", ()), *more.get("notes", ()))]
    return [*rows, f"requests: {found['requests']}"]
