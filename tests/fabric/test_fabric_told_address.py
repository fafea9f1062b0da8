"""What a goal state or a lease may say of addresses, and what it may not."""

from __future__ import annotations

import pytest
from kit import FastClock

from azurelite.errors import DocumentError, FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.health import READY
from azurelite.fabric.http import HttpClient
from azurelite.fabric.settings import WireServerSettings
from azurelite.fabric.wireserver import WireServer
from azurelite.simulator import Fault, Scenario, Simulator

BASE = "http://168.63.129.16"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{BASE}:80/machine/x?comp=certificates&a=b", f"{BASE}/machine/x?comp=certificates&a=b"),
        ("http://evil.example/machine/x", f"{BASE}/machine/x"),
        ("@evil/x", f"{BASE}/@evil/x"),
        (".evil/x", f"{BASE}/.evil/x"),
        ("//evil/x", f"{BASE}/x"),
        ("http://evil", f"{BASE}/"),
    ],
)
def test_a_goal_state_does_not_choose_whom_we_ask(url: str, expected: str) -> None:
    wireserver = WireServer(HttpClient(FastClock()), WireServerSettings())
    assert wireserver.own_address(url) == expected


def test_an_address_that_is_none_is_one_error() -> None:
    with pytest.raises(DocumentError):
        WireServer(HttpClient(FastClock()), WireServerSettings()).own_address("http://[bad")


@pytest.mark.parametrize("fault", [Fault(garbage=True), Fault(status=404), Fault(drop=True), Fault(body="<Error/>")])
def test_who_does_not_answer_as_wireserver_is_not_wireserver(fault: Fault) -> None:
    """A lease's address is only a hint: Ready goes to the known one as soon as the other does not speak like it."""
    stranger = Simulator(Scenario(Scenario.default().vm, (fault,)), listen=("127.0.0.2", 0))
    with stranger, Simulator(Scenario.default()) as azure:
        told = f"127.0.0.2:{stranger.address[1]}"
        with Fabric(20, wireserver=WireServerSettings(azure.url), clock=FastClock(), told_wireserver=told) as fabric:
            fabric.wireserver.send(READY, fabric.deadline)
    assert stranger.reports == []
    assert [report.accepted for report in azure.reports] == [True]


def test_a_lease_that_is_right_is_followed() -> None:
    with Simulator(Scenario.default()) as azure:
        told = f"127.0.0.1:{azure.address[1]}"
        with Fabric(20, clock=FastClock(), told_wireserver=told) as fabric:
            fabric.wireserver.send(READY, fabric.deadline)
    assert [report.accepted for report in azure.reports] == [True]


def test_without_any_wireserver_nothing_counts_as_sent() -> None:
    with Simulator(Scenario.default()) as gone:
        url = gone.url
    with (
        Fabric(3, wireserver=WireServerSettings(url, timeout=0.2), clock=FastClock()) as fabric,
        pytest.raises(FabricError),
    ):
        fabric.wireserver.send(READY, fabric.deadline)
