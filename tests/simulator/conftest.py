"""A started simulator and a plain HTTP client for it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import pytest

from azurelite.simulator import Scenario, Simulator

IMDS = {"Metadata": "true"}
XML = {"x-ms-version": "2012-11-30", "Content-Type": "text/xml; charset=utf-8"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """Speaks to one simulator, one connection per request."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim

    def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 5,
    ) -> Reply:
        connection = http.client.HTTPConnection(*self.sim.address, timeout=timeout)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def imds(self, target: str = "/metadata/instance?api-version=2021-08-01", **options: Any) -> Reply:
        return self.ask(target, headers={**IMDS, **options.pop("headers", {})}, **options)

    def goal_state(self, **options: Any) -> Reply:
        return self.ask("/machine/?comp=goalstate", headers={**XML, **options.pop("headers", {})}, **options)

    def post_health(self, body: bytes, **options: Any) -> Reply:
        headers = {**XML, **options.pop("headers", {})}
        return self.ask("/machine?comp=health", method="POST", headers=headers, body=body, **options)

    def raw(self, data: bytes, *, timeout: float = 5) -> bytes:
        """Sends bytes as they are and returns all that comes until the simulator hangs up."""
        with socket.create_connection(self.sim.address, timeout=timeout) as link:
            link.sendall(data)
            received = b""
            while block := link.recv(65536):
                received += block
            return received


Simulate = Callable[..., Client]
HealthXml = Callable[..., bytes]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Client]:
    """A default fabric without rate limit, shared by a module's tests that change nothing."""
    with Simulator(Scenario.default(), rate_limit=None) as sim:
        yield Client(sim)


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Starts a fabric from a scenario document, as often as a test likes."""
    started: list[Simulator] = []

    def start(document: dict[str, Any] | None = None, **options: Any) -> Client:
        sim = Simulator(Scenario.from_dict(document or {}), **{"rate_limit": None, **options})
        sim.start()
        started.append(sim)
        return Client(sim)

    yield start
    for sim in started:
        sim.stop()


@pytest.fixture(scope="session")
def health_xml() -> HealthXml:
    """Writes a health document; by default the one that the default fabric accepts. None leaves an element out."""
    vm = Scenario.default().vm

    def write(**changes: str | None) -> bytes:
        said = {
            "incarnation": str(vm.incarnation),
            "container": vm.container_id,
            "instance": vm.instance_id,
            "state": "Ready",
            "substatus": None,
            "description": None,
            **changes,
        }

        def element(name: str, key: str) -> str:
            return "" if said[key] is None else f"<{name}>{said[key]}</{name}>"

        details = element("SubStatus", "substatus") + element("Description", "description")
        return (
            '<?xml version="1.0" encoding="utf-8"?><Health xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            f"{element('GoalStateIncarnation', 'incarnation')}<Container>{element('ContainerId', 'container')}"
            f"<RoleInstanceList><Role>{element('InstanceId', 'instance')}<Health>{element('State', 'state')}"
            f"{'<Details>' + details + '</Details>' if details else ''}"
            "</Health></Role></RoleInstanceList></Container></Health>"
        ).encode()

    return write
