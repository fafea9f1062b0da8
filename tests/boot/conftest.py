"""Fixtures of the boots, and the table that is printed when they are over."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest
from boot.machine import Key, Machine, Start, installed, missing, sweep
from boot.roots import Root

COLUMNS = ("init", "suite", "DHCP client", "Python", "start to Ready", "azurelite", "peak memory")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "boot"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def able() -> None:
    """This machine can boot roots. What is missing is the reason of a skip; with AZURELITE_NO_SKIPS, of a failure."""
    why = missing()
    if why:
        pytest.skip(why)
    sweep()


@pytest.fixture
def start(able: None, shared: Path, tmp_path: Path) -> Iterator[Start]:
    """Give a root, get a machine that is off; it is gone when the test is over."""
    key = Key(tmp_path)
    running: list[Machine] = []

    def make(root: Root) -> Machine:
        machine = Machine(root, installed(shared, root), key)
        running.append(machine)
        machine.install()
        return machine

    yield make
    for machine in running:
        machine.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One row per root that has come to Ready."""
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "boot"
    ]
    if not rows:
        return
    table = [COLUMNS, *sorted(rows)]
    widths = [max(len(str(row[i])) for row in table) for i in range(len(COLUMNS))]
    terminalreporter.section("boots")
    for row in table:
        terminalreporter.write_line("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())
