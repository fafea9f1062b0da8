"""The goal state is under way while IMDS is asked; the answer is used once, and never asked for twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from kit import VM_ID, FastClock

from azurelite.datasource.crawl import Crawl, crawl
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.hypervisor.identity import Identity
from azurelite.simulator import Scenario, Simulator

FIRMWARE = Identity(on_azure=True, system_uuid=VM_ID, vm_id=VM_ID)


class TwoServers:
    """IMDS and WireServer at addresses of their own, as in Azure."""

    def __init__(self, *faults: dict[str, Any]) -> None:
        scenario = Scenario.from_dict({"vm": {}, "faults": list(faults)})
        self.imds, self.wireserver = (Simulator(scenario, rate_limit=None) for _ in range(2))
        self.clock = FastClock()

    def __enter__(self) -> TwoServers:
        self.imds.__enter__()
        self.wireserver.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.wireserver.__exit__(None, None, None)
        self.imds.__exit__(None, None, None)

    def crawl(self, **settings: Any) -> tuple[Crawl, Fabric]:
        imds = ImdsSettings(settings.pop("imds", self.imds.url), timeout=5)
        wireserver = WireServerSettings(settings.pop("wireserver", self.wireserver.url), timeout=5)
        with Fabric(60, imds=imds, wireserver=wireserver, clock=self.clock, **settings) as fabric:
            return crawl(fabric, identity=FIRMWARE, sources=("imds", "wireserver")), fabric


@pytest.fixture
def servers() -> Iterator[Callable[..., TwoServers]]:
    opened: list[TwoServers] = []

    def make(*faults: dict[str, Any]) -> TwoServers:
        opened.append(TwoServers(*faults).__enter__())
        return opened[-1]

    yield make
    for two in opened:
        two.__exit__()


def targets(simulator: Simulator) -> list[tuple[str, Any]]:
    return [(request.endpoint, request.status) for request in simulator.requests]


def test_one_request_each_and_the_goal_state_is_taken(servers: Callable[..., TwoServers]) -> None:
    two = servers()
    found, fabric = two.crawl()
    assert dict(found.metadata.gaps.failures) == {}
    assert (targets(two.imds), targets(two.wireserver)) == ([("imds", 200)], [("goal_state", 200)])
    assert fabric.wireserver.goal_state is not None
    starts = [exchange.started for exchange in fabric.http.exchanges]
    assert starts == sorted(starts)
    assert len(starts) == 2


def test_it_is_asked_while_imds_has_not_answered_yet(
    raw: Callable[[Callable[[Any], Any]], Any], servers: Callable[..., TwoServers]
) -> None:
    arrived = threading.Event()

    def imds(link: Any) -> None:
        link.read()
        together = arrived.wait(20)
        link.send(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % (200 if together else 400))

    def wireserver(link: Any) -> None:
        link.read()
        arrived.set()
        link.send(b"HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n")

    found, _ = servers().crawl(imds=raw(imds).url, wireserver=raw(wireserver).url)
    assert "imds" not in found.metadata.gaps.failures or "400" not in str(found.metadata.gaps.failures["imds"])
    assert arrived.is_set()


@pytest.mark.parametrize(
    ("fault", "asked", "slept"),
    [
        ({"status": 503, "requests": "1"}, [503, 200], 1),
        ({"status": 429, "headers": {"Retry-After": "4"}, "requests": "1"}, [429, 200], 1),
        ({"drop": True, "requests": "1"}, [None, 200], 1),
        ({"status": 404}, [404], 0),
    ],
)
def test_its_failure_counts_as_the_first_try(
    servers: Callable[..., TwoServers], fault: dict[str, Any], asked: list[Any], slept: int
) -> None:
    two = servers({"endpoint": "goal_state", **fault})
    found, _ = two.crawl()
    assert [status for _, status in targets(two.wireserver)] == asked
    assert len(two.clock.slept) == slept
    assert ("wireserver" in found.metadata.gaps.failures) is (asked[-1] != 200)


def test_one_server_is_asked_in_turn(servers: Callable[..., TwoServers]) -> None:
    two = servers()
    found, _ = two.crawl(wireserver=two.imds.url)
    assert dict(found.metadata.gaps.failures) == {}
    assert targets(two.imds) == [("imds", 200), ("goal_state", 200)]


def test_a_new_time_budget_forgets_it(servers: Callable[..., TwoServers]) -> None:
    two = servers()
    imds, wireserver = ImdsSettings(two.imds.url), WireServerSettings(two.wireserver.url)
    with Fabric(60, imds=imds, wireserver=wireserver, clock=two.clock) as fabric:
        fabric.wireserver.ask_ahead(fabric.reading, beside=two.imds.url)
        fabric.renew(60)
        fabric.wireserver.fetch_goal_state(fabric.reading)
        assert fabric.wireserver.goal_state is not None
        assert targets(two.wireserver)[-1] == ("goal_state", 200)
