"""The reference pages about exit codes, the YAML and scenarios."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from azurelite import simulator
from azurelite.cli.parser import EXIT_CODES, MORE_EXIT_CODES
from azurelite.config.load import Sections
from azurelite.describe.handlers import as_markdown, catalog, document, yaml_of
from azurelite.describe.options import attribute_texts, options_of
from azurelite.outcome import EXIT_CODES as OUTCOMES
from azurelite.simulator.scenario import ENDPOINTS, Fault
from generator.verbs import cell, commands


def handlers_page() -> str:
    """contrib/handlers.md, which `azurelite handlers --markdown` prints."""
    return as_markdown([document(name, known) for name, known in catalog(None).items()]) + "\n"


def exit_codes_page() -> str:
    """docs/reference/exit-codes.md."""
    lines = ["# Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    lines += ["", f"{MORE_EXIT_CODES}."]
    lines += ["", "`provision` and `apply` end with the exit code of their outcome:", ""]
    lines += ["| outcome | code |", "|---|---|"]
    lines += [f"| `{outcome}` | {code} |" for outcome, code in OUTCOMES.items()]
    for command in commands():
        if "exit code" in command.note:
            lines += ["", f"## {' '.join(command.words)}", "", "```text", command.note, "```"]
    return "\n".join(lines) + "\n"


def yaml_page() -> str:
    """docs/reference/yaml.md."""
    lines = [
        "# YAML",
        "",
        "A file has these keys and the list `handlers`. [](../configuration.md) describes the files and",
        "their order, [](handlers.md) the entries of the list. `azurelite config schema` prints a JSON Schema.",
        "",
        "| key | takes | default | |",
        "|---|---|---|---|",
    ]
    for option in options_of(Sections):
        default = "" if option.kind == "mapping" else f"`{cell(yaml_of(option.default))}`"
        lines.append(f"| `{option.name}` | {cell(option.kind)} | {default} | {cell(option.text)} |")
    return "\n".join(lines) + "\n"


def scenario_page() -> str:
    """docs/reference/scenario.md."""
    packaged = Path(simulator.__file__).with_name("default.yaml").read_text(encoding="utf-8").rstrip()
    lines = [
        "# Scenarios",
        "",
        "A scenario is a YAML file with the keys `vm` and `faults`. It describes the VM that the simulated Azure",
        "serves, and what goes wrong. `azurelite simulate`, `azurelite demo --scenario` and",
        "`azurelite.simulator.Scenario.load` read it. `contrib/scenarios` has examples.",
        "",
        "## Faults",
        "",
        "Each item of `faults` is a mapping. The first one that matches a request is played.",
        "",
        "| key | default | |",
        "|---|---|---|",
    ]
    texts = attribute_texts(Fault)
    lines += [f"| `{one.name}` | `{_default(one)}` | {cell(texts[one.name])} |" for one in dataclasses.fields(Fault)]
    lines += ["", f"Endpoints: {', '.join(f'`{name}`' for name in ENDPOINTS)}.", ""]
    lines += ["## The VM", "", "This is the packaged scenario. Yours names only the keys that differ.", ""]
    return "\n".join([*lines, "```yaml", packaged, "```"]) + "\n"


def _default(one: dataclasses.Field[Any]) -> str:
    value = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
    return yaml_of(value)
