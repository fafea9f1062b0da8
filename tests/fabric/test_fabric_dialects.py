"""The two dialects of the health report, and which one is spoken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kit import FastClock

from azurelite.errors import FabricError, ReportRefusedError
from azurelite.fabric.client import Fabric
from azurelite.fabric.health import READY, failed, in_progress
from azurelite.fabric.settings import WireServerSettings
from azurelite.simulator import Fault, Scenario, Simulator


def told(health: Any, *faults: Fault, dialect: Any = "auto", seconds: float = 30, **vm: Any) -> Simulator:
    """Send one report to a host of that kind."""
    scenario = Scenario(replace(Scenario.default().vm, **vm), faults)
    with Simulator(scenario, rate_limit=None) as simulator:
        settings = WireServerSettings(simulator.url, dialect=dialect)
        with Fabric(seconds, wireserver=settings, clock=FastClock()) as fabric:
            fabric.wireserver.send(health, fabric.deadline)
    return simulator


def endpoints(simulator: Simulator) -> list[str]:
    return [request.endpoint for request in simulator.requests]


def test_json_alone_needs_no_goal_state() -> None:
    simulator = told(READY, dialect="json", dialects=("json",))
    assert endpoints(simulator) == ["health_json"]
    assert simulator.reports[0].accepted


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (READY, ("Ready", None, None)),
        (failed('no "disk" <here>'), ("NotReady", "ProvisioningFailed", 'no "disk" <here>')),
        (in_progress("half way"), ("NotReady", "Provisioning", "half way")),
    ],
)
@pytest.mark.parametrize("dialect", ["xml", "json"])
def test_both_say_the_same(dialect: str, health: Any, expected: tuple[Any, ...]) -> None:
    (report,) = told(health, dialect=dialect, dialects=("xml", "json")).reports
    assert (report.state, report.substatus, report.description) == expected
    assert report.accepted


def test_auto_speaks_xml_where_it_is_understood() -> None:
    assert endpoints(told(READY, dialects=("xml", "json"))) == ["goal_state", "health"]


@pytest.mark.parametrize("status", [400, 404, 405])
def test_auto_turns_to_json_when_xml_is_refused_for_good(status: int) -> None:
    simulator = told(READY, Fault(endpoint="health", status=status), dialects=("xml", "json"))
    assert endpoints(simulator)[-1] == "health_json"
    assert simulator.reports[-1].accepted


def test_auto_turns_to_json_when_there_is_no_goal_state() -> None:
    simulator = told(READY, Fault(endpoint="goal_state", status=404), dialects=("json",))
    assert endpoints(simulator) == ["goal_state", "health_json"]


def test_a_trouble_that_may_pass_is_waited_for_in_xml() -> None:
    simulator = told(READY, Fault(endpoint="health", requests="1-3", status=500), dialects=("xml", "json"))
    assert endpoints(simulator) == ["goal_state", "health", "health", "health", "health"]


@pytest.mark.parametrize("endpoint", ["goal_state", "health"])
@pytest.mark.parametrize("seconds", [12, 30, 1200])
def test_auto_turns_to_json_when_xml_is_forbidden_for_ever(endpoint: str, seconds: float) -> None:
    simulator = told(READY, Fault(endpoint=endpoint, status=403), dialects=("xml", "json"), seconds=seconds)
    assert endpoints(simulator).count(endpoint) == 5
    assert endpoints(simulator)[-1] == "health_json"
    assert simulator.reports[-1].accepted


@pytest.mark.parametrize("endpoint", ["goal_state", "health"])
@pytest.mark.parametrize("tries", [1, 4, 7, 40])
def test_xml_is_tried_again_when_it_was_only_throttled_and_json_is_not_known(endpoint: str, tries: int) -> None:
    simulator = told(READY, Fault(endpoint=endpoint, requests=f"1-{tries}", status=403), seconds=600)
    assert endpoints(simulator)[-1] == "health"
    assert simulator.reports[-1].accepted
    assert ("health_json" in endpoints(simulator)) is (tries > 4)


@pytest.mark.parametrize("dialect", ["xml", "json"])
def test_a_dialect_that_is_set_is_the_only_one_though_it_is_forbidden(dialect: str) -> None:
    endpoint = {"xml": "health", "json": "health_json"}[dialect]
    with pytest.raises(ReportRefusedError, match="HTTP 403"):
        told(READY, Fault(endpoint=endpoint, status=403), dialect=dialect, dialects=("xml", "json"))


def test_a_host_that_forbids_everything_has_refused() -> None:
    faults = [Fault(endpoint=endpoint, status=403) for endpoint in ("health", "health_json")]
    with pytest.raises(ReportRefusedError, match="HTTP 403"):
        told(READY, *faults, dialects=("xml", "json"), seconds=120)


def test_a_host_that_refuses_both_has_refused() -> None:
    with pytest.raises(ReportRefusedError):
        told(READY, Fault(endpoint="health", status=400), Fault(endpoint="health_json", status=400), dialects=("xml",))


def test_a_host_that_only_comes_up_is_asked_until_it_is_there() -> None:
    simulator = told(READY, Fault(endpoint="goal_state", requests="1-3", status=404))
    assert [report.accepted for report in simulator.reports][-1]


@pytest.mark.parametrize(
    ("preferred", "supported"),
    [("2015-04-05", ("2015-04-05",)), ("2015-04-05", ("2011-12-31", "2015-04-05"))],
)
def test_another_version_is_spoken_where_the_first_is_refused(preferred: str, supported: tuple[str, ...]) -> None:
    simulator = told(READY, protocol_preferred=preferred, protocol_supported=supported)
    assert endpoints(simulator) == ["goal_state", "versions", "goal_state", "health"]
    assert simulator.requests[-1].headers["x-ms-version"] == "2015-04-05"


def test_the_usual_version_counts_though_it_is_only_preferred() -> None:
    simulator = told(READY, protocol_preferred="2012-11-30", protocol_supported=("2011-12-31",))
    assert endpoints(simulator) == ["goal_state", "health"]


def test_a_host_of_unknown_versions_is_named() -> None:
    with pytest.raises(FabricError, match="offers no other that azurelite supports: 2031-01-01"):
        told(READY, dialect="xml", protocol_preferred="2031-01-01", protocol_supported=("2031-01-01",))
