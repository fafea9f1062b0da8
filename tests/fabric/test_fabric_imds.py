"""Fetching the instance document: which query, how long, and in which words a failure is told."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from fabric.conftest import Dial, Simulate
from kit import FastClock

from azurelite.errors import FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings
from azurelite.record import replace
from azurelite.simulator import Simulator

NEWEST = "/metadata/instance?api-version=2021-08-01&extended=true"
OLDER = "/metadata/instance?api-version=2019-06-01"


def targets(simulator: Simulator) -> list[str]:
    return [request.target for request in simulator.requests]


def test_one_request_suffices(dial: Dial, simulate: Simulate) -> None:
    simulator = simulate()
    fabric = dial(simulator.url)
    document = json.loads(fabric.imds.fetch_instance(fabric.reading))
    assert document["compute"]["osProfile"]["computerName"] == "web-1"
    assert "extended" in document
    assert targets(simulator) == [NEWEST]
    assert simulator.requests[0].headers["Metadata"] == "true"


def test_a_host_that_does_not_know_the_newest_version_is_asked_in_the_older_way(dial: Dial, simulate: Simulate) -> None:
    simulator = simulate(api_versions=["2018-10-01", "2019-06-01"])
    fabric = dial(simulator.url)
    document = json.loads(fabric.imds.fetch_instance(fabric.reading))
    assert document["compute"]["publicKeys"]
    assert "osProfile" not in document["compute"]
    assert targets(simulator) == [NEWEST, OLDER]


def test_a_host_that_knows_neither_and_offers_nothing_is_asked_twice_and_no_more(
    dial: Dial, simulate: Simulate
) -> None:
    simulator = simulate({"endpoint": "imds", "status": 400}, api_versions=["2018-10-01"])
    fabric = dial(simulator.url)
    with pytest.raises(FabricError) as caught:
        fabric.imds.fetch_instance(fabric.reading)
    assert caught.value.reason == "http error 400 querying IMDS"
    assert targets(simulator) == [NEWEST, OLDER]


@pytest.mark.parametrize("status", [404, 408, 410, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_passed_over(dial: Dial, simulate: Simulate, clock: FastClock, status: int) -> None:
    simulator = simulate({"endpoint": "imds", "status": status, "requests": "1-3"})
    fabric = dial(simulator.url)
    assert fabric.imds.fetch_instance(fabric.reading).startswith(b"{")
    assert targets(simulator) == [NEWEST] * 4
    assert clock.slept == [1.0] * 3


@pytest.mark.parametrize("status", [302, 401, 403, 405, 413, 501])
def test_a_final_refusal_is_told_at_once(dial: Dial, simulate: Simulate, status: int) -> None:
    simulator = simulate({"endpoint": "imds", "status": status})
    fabric = dial(simulator.url)
    with pytest.raises(FabricError) as caught:
        fabric.imds.fetch_instance(fabric.reading)
    assert caught.value.reason == f"http error {status} querying IMDS"
    assert caught.value.data == {"http_code": str(status), "url": simulator.url + NEWEST}
    assert len(simulator.requests) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"drop": True}, "connection error querying IMDS"),
        ({"truncate": 20}, "connection error querying IMDS"),
        ({"delay": 5.0}, "read timeout querying IMDS"),
        ({"drip": 0.05}, "read timeout querying IMDS"),
        ({"drip": 0.05, "drip_headers": True}, "read timeout querying IMDS"),
        ({"size": 5_000_000}, "response too large querying IMDS"),
        ({"status": 503}, "http error 503 querying IMDS"),
        ({"status": 404, "headers": {"Retry-After": "3"}}, "http error 404 querying IMDS"),
    ],
)
def test_a_lasting_trouble_is_told_in_the_words_of_azures_page(
    dial: Dial, simulate: Simulate, fault: dict[str, Any], reason: str
) -> None:
    simulator = simulate({"endpoint": "imds", **fault})
    fabric = dial(simulator.url, seconds=2, timeout=0.2)
    with pytest.raises(FabricError) as caught:
        fabric.imds.fetch_instance(fabric.reading)
    assert caught.value.reason == reason
    assert caught.value.exit_code == 3
    assert caught.value.data["url"] == simulator.url + NEWEST


def test_a_refused_connection_is_told_so(dial: Dial) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    fabric = dial(url, seconds=4)
    with pytest.raises(FabricError) as caught:
        fabric.imds.fetch_instance(fabric.reading)
    assert caught.value.reason == "connection error querying IMDS"


def test_its_own_deadline_ends_before_the_runs(dial: Dial, simulate: Simulate, clock: FastClock) -> None:
    simulator = simulate({"endpoint": "imds", "status": 503})
    fabric = dial(simulator.url, seconds=1200, imds_deadline=30)
    with pytest.raises(FabricError):
        fabric.imds.fetch_instance(fabric.reading)
    assert 25 <= sum(clock.slept) <= 30
    assert fabric.reading.remaining() > 1000


def test_both_queries_share_its_deadline(dial: Dial, simulate: Simulate, clock: FastClock) -> None:
    faults = [
        {"endpoint": "imds", "status": 503, "requests": "1-20"},
        {"endpoint": "imds", "status": 400, "requests": 21},
    ]
    simulator = simulate(*faults, {"endpoint": "imds", "status": 503})
    fabric = dial(simulator.url, seconds=1200, imds_deadline=30)
    with pytest.raises(FabricError):
        fabric.imds.fetch_instance(fabric.reading)
    assert sum(clock.slept) <= 30
    assert targets(simulator)[-1] == OLDER


@pytest.mark.parametrize(
    ("seconds", "reserve"), [(1200, 120), (100, 10), (60, 10), (20, 10), (10, 5), (4, 2)], ids=lambda value: f"{value}s"
)
def test_the_last_tenth_and_at_least_ten_seconds_are_kept_for_reporting(
    clock: FastClock, seconds: int, reserve: int
) -> None:
    fabric = Fabric(seconds, clock=clock)
    assert fabric.deadline.remaining() == pytest.approx(seconds, abs=0.2)
    assert fabric.deadline.remaining() - fabric.reading.remaining() == pytest.approx(reserve, abs=0.2)


def test_the_sources_never_eat_the_time_of_reporting(dial: Dial, simulate: Simulate) -> None:
    simulator = simulate({"endpoint": "imds", "status": 503})
    fabric = dial(simulator.url, seconds=60)
    with pytest.raises(FabricError):
        fabric.imds.fetch_instance(fabric.reading)
    assert fabric.deadline.remaining() >= 9.5


@pytest.mark.parametrize("slash", ["", "/", "//"])
def test_a_slash_behind_the_endpoint_does_no_harm(dial: Dial, simulate: Simulate, slash: str) -> None:
    simulator = simulate()
    fabric = dial(simulator.url + slash)
    fabric.imds.fetch_instance(fabric.reading)
    assert targets(simulator) == [NEWEST]


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "169.254.169.254",
        "https://169.254.169.254",
        "file:///etc/passwd",
        "http://",
        "http://user:word@host",
        "http://host:0",
        "http://host:99999",
        "http://host:port",
        "http://host/ a",
        "http://host\r\nX: y",
        "http://host?a=b",
        "http://host#a",
        "http://[::1",
    ],
)
def test_an_endpoint_must_be_the_base_of_an_http_url(endpoint: str) -> None:
    with pytest.raises(ValueError, match="an endpoint must be the base of an HTTP URL") as caught:
        ImdsSettings(endpoint)
    assert "user" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, 86401, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["timeout", "deadline"])
def test_a_time_must_be_above_nothing_and_below_a_day(key: str, seconds: float) -> None:
    with pytest.raises(ValueError, match="a time must be a number of seconds"):
        replace(ImdsSettings(), **{key: seconds})
