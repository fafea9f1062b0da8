"""`azurelite plan`."""

from __future__ import annotations

import argparse
import json

from azurelite.api import Azure
from azurelite.cli.parser import add_guest_arguments, add_timeout_argument
from azurelite.config.load import OFTEN
from azurelite.errors import NotAzureError
from azurelite.run.plan import Step
from azurelite.run.preview import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own options."""
    add_guest_arguments(parser)
    parser.add_argument("--force", action="store_true", help="ignore what was done earlier")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    add_timeout_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan. Returns 3 if a required step is blocked by a source that failed."""
    try:
        with Azure(root=arguments.root, config=arguments.config, seconds=arguments.timeout) as azure:
            plan = azure.plan(force=arguments.force)
    except NotAzureError as error:
        plan = Plan(error.message, ())
    if arguments.json:
        rows = [_as_dict(step) for step in plan.steps]
        whole = {"headline": plan.headline, "steps": rows, "login": plan.login, "unseen": list(plan.unseen)}
        print(json.dumps(whole, indent=2))
    else:
        print(plan.headline)
        width = max((len(step.handler.key) for step in plan.steps), default=0)
        for step in plan.steps:
            action, why = _verdict(step)
            print(f"  {step.handler.key:{width}}  {action:5}  {why}")
        if plan.login is not None:
            print(f"login: {plan.login}")
        for line in plan.unseen:
            print(f"not seen: {line}: use sudo")
    blocked = any(step.blocked and step.handler.required for step in plan.steps)
    return 3 if blocked else 0


def _verdict(step: Step) -> tuple[str, str]:
    if step.skip is not None:
        return "skip", step.skip
    if step.blocked is not None:
        return "fail", str(step.blocked)
    weight = "required" if step.handler.required else "optional"
    when = "".join(f", condition `{condition.text}` is true" for condition in step.handler.when)
    return "run", f"{step.handler.summary} ({weight}, {OFTEN[step.handler.frequency]}{when})"


def _as_dict(step: Step) -> dict[str, object]:
    action, why = _verdict(step)
    handler = step.handler
    return {
        "name": handler.key,
        "action": action,
        "reason": why,
        "handler": handler.name,
        "required": handler.required,
        "frequency": handler.frequency,
        "when": [condition.text for condition in handler.when],
    }
