"""Conditions, ids and positions through whole runs: what is skipped, what is remembered, what Azure is told."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Iterator

import pytest
from kit import VM_ID, Guest

from azurelite.cli import main
from azurelite.simulator import Fault, Scenario, Simulator

DROP_IN = "etc/azurelite/conf.d/50-x.yaml"


@pytest.fixture
def ready(guest: Guest, fabric: Simulator) -> Guest:
    """A guest on Azure whose tags are role=web, environment=demo."""
    return guest.on_azure().configure(fabric, handlers=["hostname", "report_ready"])


@pytest.fixture
def silent_imds(guest: Guest) -> Iterator[Guest]:
    """A guest on Azure whose IMDS fails, so that nobody knows the tags."""
    scenario = dataclasses.replace(Scenario.default(), faults=(Fault(endpoint="imds", status=500),))
    short = {"imds": {"timeout": 1, "deadline": 1}, "deadline": 30}
    with Simulator(scenario, rate_limit=None) as fabric:
        yield guest.on_azure().configure(fabric, datasource=short, handlers=["report_ready"])


def steps(guest: Guest, verb: str, capsys: Any) -> dict[str, dict[str, Any]]:
    main([verb, "--root", guest.root, "--json"])
    return {step["name"]: step for step in json.loads(capsys.readouterr().out)["steps"]}


def write(name: str, *, extra: str = "") -> str:
    return f"{{write_files: {{id: {name}, after: hostname{extra}, files: [{{path: /{name}, content: x}}]}}}}"


def test_the_plan_says_which_condition_does_not_hold(ready: Guest, capsys: Any) -> None:
    entries = [write("web", extra=", when: tags.role == web"), write("db", extra=", when: tags.role == db")]
    ready.put({DROP_IN: f"handlers: [{', '.join(entries)}]"})
    assert main(["plan", "--root", ready.root]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert list(rows) == ["hostname", "web", "db", "report_ready"]
    assert rows["db"].split(maxsplit=2)[1:] == ["skip", "condition `tags.role == db` is false"]
    assert rows["web"].split()[1] == "run"
    assert "condition `tags.role == web` is true" in rows["web"]
    document = steps(ready, "plan", capsys)
    assert document["db"]["action"] == "skip"
    assert document["db"]["handler"] == "write_files"
    assert document["db"]["when"] == ["tags.role == db"]


@pytest.mark.spawns
def test_a_run_does_what_holds_and_remembers_it_by_its_id(ready: Guest, fabric: Simulator, capsys: Any) -> None:
    entries = [write("web", extra=", when: tags.role == web"), write("two")]
    entries.append(write("db", extra=", required: true, when: not tags.role"))
    ready.put({DROP_IN: f"handlers: [{', '.join(entries)}]"})
    found = steps(ready, "provision", capsys)
    assert {name: step["status"] for name, step in found.items()} == {
        "hostname": "done",
        "web": "done",
        "two": "done",
        "db": "skipped",
        "report_ready": "done",
    }
    assert found["db"]["reason"] == "condition `not tags.role` is false"
    assert (ready.path("web").exists(), ready.path("two").exists(), ready.path("db").exists()) == (True, True, False)
    assert [report.state for report in fabric.reports] == ["Ready"]
    records = sorted(os.listdir(ready.path(f"var/lib/azurelite/vms/{VM_ID}/handlers")))
    assert records == ["hostname", "report_ready", "two", "web"]


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.spawns
def test_where_the_tags_are_not_known_a_required_step_holds_ready_back(
    silent_imds: Guest, required: bool, capsys: Any
) -> None:
    entry = f"{{write_files: {{id: web, before: report_ready, when: tags.role == web, required: {required}}}}}"
    silent_imds.put({DROP_IN: f"handlers: [{entry}]"})
    code = main(["provision", "--root", silent_imds.root, "--json"])
    document = json.loads(capsys.readouterr().out)
    step = document["steps"][0]
    told = step["error"] if required else step["reason"]
    assert told.startswith("cannot check condition `tags.role == web`: ")
    assert step["status"] == ("failed" if required else "skipped")
    assert code == (1 if required else 0)
    assert document["report"]["state"] == ("NotReady" if required else "Ready")


def test_apply_takes_an_id_and_runs_it_whatever_its_condition(ready: Guest, capsys: Any) -> None:
    ready.put({DROP_IN: f"handlers: [{write('db', extra=', when: tags.role == db')}]"})
    assert main(["apply", "db", "--root", ready.root]) == 0
    assert ready.path("db").exists()


def test_every_boot_judges_its_conditions_anew(ready: Guest, capsys: Any) -> None:
    ready.put({DROP_IN: f"handlers: [{write('web', extra=', frequency: boot, when: tags.role == db')}]"})
    assert main(["provision", "--root", ready.root]) == 0
    capsys.readouterr()
    found = steps(ready, "provision", capsys)
    assert found["web"]["reason"] == "condition `tags.role == db` is false"
    assert steps(ready, "plan", capsys)["web"]["reason"] == "condition `tags.role == db` is false"
