"""The log on standard error: each line has a level, a source and a text."""

from __future__ import annotations

import logging
import re

import pytest
from kit import Guest

from azurelite.cli import main
from azurelite.cli.shell import LineFormat
from azurelite.simulator import Fault, Scenario, Simulator

LINE = re.compile(r"azurelite: (debug|info|warning|error): [A-Za-z_][\w:.-]*: \S.*")


def line(text: str, *args: object, name: str = "azurelite.run.pool", level: int = logging.INFO) -> str:
    return LineFormat().format(logging.LogRecord(name, level, "pool.py", 1, text, args, None))


@pytest.mark.parametrize("source", ["imds", "resource_disk", "register-vm", "acme.motd:apply"])
def test_a_source_in_the_text_is_kept(source: str) -> None:
    assert line("%s: unreachable: no route", source) == f"azurelite: info: {source}: unreachable: no route"


@pytest.mark.parametrize(
    "text", ["waiting", "/etc/hostname: Read-only file system", "cannot fork: no memory", "10.0.0.1: no route", ""]
)
def test_without_a_source_the_module_is_the_source(text: str) -> None:
    assert line("%s", text) == f"azurelite: info: pool: {text}"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_each_level_is_named_in_small_letters(level: str) -> None:
    assert line("waiting", level=getattr(logging, level.upper())) == f"azurelite: {level}: pool: waiting"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    found = capsys.readouterr().err.splitlines()
    assert found
    assert [one for one in found if not LINE.fullmatch(one)] == []
    return found


def test_every_line_of_a_run_has_a_level_and_a_source(
    guest: Guest, fabric: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    guest.on_azure().configure(fabric)
    assert main(["provision", "--debug", "--root", guest.root]) == 0
    found = lines(capsys)
    assert "azurelite: info: hostname: write /etc/hostname" in "\n".join(found)
    assert "azurelite: info: report_ready: Azure accepted Ready" in found


def test_every_line_of_a_failing_run_has_a_level_and_a_source(guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    with Simulator(Scenario(Scenario.default().vm, (Fault(endpoint="imds", status=500),))) as broken:
        guest.on_azure().configure(broken, datasource={"deadline": 2})
        assert main(["provision", "--root", guest.root]) == 1
    assert any(one.startswith("azurelite: error: ") for one in lines(capsys))


def test_the_error_that_ends_the_program_is_an_error_line(guest: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    guest.on_azure().put({"etc/azurelite/azurelite.yaml": "datasource: {deadlin: 1}\n"})
    assert main(["plan", "--root", guest.root]) == 2
    assert capsys.readouterr().err.startswith("azurelite: error: /etc/azurelite/azurelite.yaml:1:14: in `datasource`: ")
