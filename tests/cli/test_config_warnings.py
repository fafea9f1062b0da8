"""What is allowed but probably not meant: `config check` warns of it, and so does the log."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from kit import FastClock, Guest

import azurelite
from azurelite.cli import main
from azurelite.simulator import Simulator

ADMIN = "etc/azurelite/azurelite.yaml"
VENDOR = "usr/lib/azurelite/azurelite.yaml"
DROP_IN = "etc/azurelite/conf.d/50-x.yaml"
OTHER = "run/azurelite/conf.d/60-y.yaml"
WHOLE = "handlers: [user, report_ready]"
UNTOLD = "`handlers` does not list `report_ready`"
NOBODY = "`handlers` does not list `user`"

# the files -> the warnings, as file:line:column and words
CASES: list[tuple[dict[str, str], list[tuple[str, str]]]] = [
    # A drop-in that replaces a list.
    ({ADMIN: WHOLE, DROP_IN: WHOLE}, [(f"/{DROP_IN}:1:1", f"replaces the list of /{ADMIN}:1:1: give each entry")]),
    ({VENDOR: WHOLE, DROP_IN: WHOLE}, [(f"/{DROP_IN}:1:1", f"replaces the list of /{VENDOR}:1:1")]),
    ({DROP_IN: WHOLE, OTHER: f"\n\n{WHOLE}"}, [(f"/{OTHER}:3:1", f"replaces the list of /{DROP_IN}:1:1")]),
    (
        {ADMIN: WHOLE, DROP_IN: "handlers: [{tags: {}}]"},
        [(f"/{DROP_IN}:1:1", "replaces"), (f"/{DROP_IN}:1:1", UNTOLD), (f"/{DROP_IN}:1:1", NOBODY)],
    ),
    ({ADMIN: WHOLE, DROP_IN: "handlers: []"}, [(f"/{DROP_IN}:1:1", "replaces"), (f"/{DROP_IN}:1:1", "is empty")]),
    ({VENDOR: WHOLE, ADMIN: WHOLE}, []),
    ({ADMIN: WHOLE, DROP_IN: "handlers: [{tags: {after: user}}]"}, []),
    ({DROP_IN: "handlers: [{tags: {after: user}}]"}, []),
    ({ADMIN: "datasource: {deadline: 5}", DROP_IN: WHOLE}, []),
    # A list that lacks what nearly every VM needs.
    ({ADMIN: "handlers: []"}, [(f"/{ADMIN}:1:1", "`handlers` is empty, so nothing is done and Azure is not told")]),
    ({DROP_IN: "handlers: [packages]"}, [(f"/{DROP_IN}:1:1", UNTOLD), (f"/{DROP_IN}:1:1", NOBODY)]),
    ({ADMIN: "handlers: [user]"}, [(f"/{ADMIN}:1:1", f"{UNTOLD}, so Azure is not told that the VM is Ready: add it")]),
    ({ADMIN: "handlers: [report_ready]"}, [(f"/{ADMIN}:1:1", f"{NOBODY}, so no administrator is created: add it")]),
    ({ADMIN: "handlers: [{user: {id: boss}}, report_ready]"}, []),
    ({}, []),
    # A time that is longer than the time that ends it, if both are written.
    (
        {ADMIN: "datasource:\n  deadline: 60\n  imds: {deadline: 90}\n"},
        [(f"/{ADMIN}:3:10", f"`deadline` is longer than `datasource.deadline` (/{ADMIN}:2:3), which ends it")],
    ),
    (
        {VENDOR: "datasource: {deadline: 5}", ADMIN: "datasource: {wireserver: {timeout: 6}}"},
        [(f"/{ADMIN}:1:27", f"`timeout` is longer than `datasource.deadline` (/{VENDOR}:1:14)")],
    ),
    ({ADMIN: "datasource: {deadline: 5, imds: {timeout: 6}}"}, [(f"/{ADMIN}:1:34", "`datasource.deadline`")]),
    (
        {ADMIN: "datasource: {imds: {deadline: 5, timeout: 6}}"},
        [(f"/{ADMIN}:1:34", f"`timeout` is longer than `datasource.imds.deadline` (/{ADMIN}:1:21)")],
    ),
    (
        {ADMIN: "datasource: {deadline: 60}\nhandlers: [user, {run: {argv: [a], timeout: 61}}, report_ready]"},
        [(f"/{ADMIN}:2:36", "`timeout` is longer than `datasource.deadline`")],
    ),
    ({ADMIN: "datasource: {deadline: 60}\nhandlers: [user, report_ready, {run: {argv: [a], timeout: 61}}]"}, []),
    ({ADMIN: "datasource: {deadline: 60}\nhandlers: [user, {run: {argv: [a]}}, report_ready]"}, []),
    ({ADMIN: "datasource: {deadline: 5}"}, []),
    ({ADMIN: "datasource: {deadline: 60, imds: {deadline: 60, timeout: 60}}"}, []),
    ({ADMIN: "datasource: {imds: {deadline: 4000}}"}, []),
]


@pytest.mark.parametrize(("files", "expected"), CASES)
def test_check_names_each_with_its_place_and_is_content(
    guest: Guest, capsys: Any, files: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    assert main(["config", "check", "--root", guest.put(files).root]) == 0
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [place for place, _ in expected]
    for line, (place, words) in zip(lines, expected):
        assert line.startswith(f"{place}: warning: ")
        assert words in line
    number = captured.out.count("warning")
    assert captured.out.count(": OK") == max(1, len(files))
    assert number == len({place.partition(":")[0] for place, _ in expected})


@pytest.mark.parametrize(("files", "expected"), [case for case in CASES if case[1]])
def test_a_run_says_the_same(
    guest: Guest, fabric: Simulator, caplog: Any, files: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    endpoints = f"datasource: {{imds: {{endpoint: '{fabric.url}'}}, wireserver: {{endpoint: '{fabric.url}'}}}}"
    guest.on_azure().put({"usr/lib/azurelite/conf.d/0.yaml": endpoints, **files})
    with caplog.at_level(logging.WARNING):
        outcome = azurelite.provision(root=guest.root, clock=FastClock())
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("config: ")]
    assert len(said) == len(expected)
    status = json.loads(guest.text("run/azurelite/status-full.json"))
    assert status["warnings"] == list(outcome.warnings) == [line.removeprefix("config: ") for line in said]
    for place, words in expected:
        assert any(line.startswith(f"config: {place}: ") and words in line for line in said)
    caplog.clear()
    azurelite.provision(root=guest.root, clock=FastClock())
    assert not [record for record in caplog.records if record.getMessage().startswith("config: ")]


def test_files_are_named_on_the_command_line(tmp_path: Any, capsys: Any) -> None:
    below, above = tmp_path / "a.yaml", tmp_path / "conf.d" / "b.yaml"
    above.parent.mkdir()
    below.write_text(WHOLE)
    above.write_text("handlers: [user]")
    assert main(["config", "check", str(below), str(above)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{below}: OK\n{above}: OK (2 warnings)\n"
    assert captured.err.count(f"{above}:1:1: warning: ") == 2


def test_where_something_is_wrong_there_is_no_warning(guest: Guest, capsys: Any) -> None:
    guest.put({ADMIN: "handlers: [usr, report_ready]"})
    assert main(["config", "check", "--root", guest.root]) == 2
    assert "warning" not in "".join(capsys.readouterr())
