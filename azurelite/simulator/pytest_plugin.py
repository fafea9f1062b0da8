"""Fixtures for tests of programs that use azurelite: a simulated Azure, a guest in a folder, a clock.

Switch them on in the `conftest.py` of your tests (pytest itself is not a requirement of azurelite)::

    pytest_plugins = ["azurelite.simulator.pytest_plugin"]

Then::

    def test_my_init(azure_guest, azure_simulator, azure_clock):
        with azurelite.Azure(root=azure_guest.root, clock=azure_clock) as azure:
            my_init(azure)
        assert [report.state for report in azure_simulator.reports] == ["Ready"]

Another VM, or faults: define a fixture `azure_scenario` of your own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from azurelite.simulator.guest import FastClock, Guest, make_guest
from azurelite.simulator.scenario import Scenario
from azurelite.simulator.server import Simulator


@pytest.fixture
def azure_scenario() -> Scenario:
    """What `azure_simulator` plays: the default VM, without faults."""
    return Scenario.default()


@pytest.fixture
def azure_simulator(azure_scenario: Scenario) -> Iterator[Simulator]:
    """A running Azure on a free port of the loopback, without a limit on requests per second."""
    with Simulator(azure_scenario, rate_limit=None) as simulator:
        yield simulator


@pytest.fixture
def azure_guest(azure_simulator: Simulator, tmp_path: Path) -> Guest:
    """A guest before its first boot, in `azure-guest` below `tmp_path`; its configuration names the simulator."""
    return make_guest(tmp_path / "azure-guest", azure_simulator)


@pytest.fixture
def azure_clock() -> FastClock:
    """A clock whose sleeps take no time."""
    return FastClock()
