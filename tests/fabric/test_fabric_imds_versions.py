"""Which api-version is asked after another was refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kit import FastClock

from azurelite.errors import FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import ImdsSettings
from azurelite.simulator import Fault, Scenario, Simulator


def asked(versions: tuple[str, ...], *faults: Fault) -> list[str]:
    """The queries that a host is asked which knows these versions."""
    vm = replace(Scenario.default().vm, api_versions=versions)
    with Simulator(Scenario(vm, faults), rate_limit=None) as simulator:
        fabric = Fabric(60, imds=ImdsSettings(endpoint=simulator.url), clock=FastClock())
        with fabric:
            fabric.imds.fetch_instance(fabric.deadline)
        return [request.target.partition("?")[2] for request in simulator.requests]


FIRST, LAST = "api-version=2021-08-01&extended=true", "api-version=2019-06-01"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (("2019-06-01", "2021-08-01"), [FIRST]),
        (("2019-06-01", "2021-02-01"), [FIRST, "api-version=2021-02-01&extended=true"]),
        (("2019-06-01", "2020-10-01", "2021-02-01"), [FIRST, "api-version=2021-02-01&extended=true"]),
        (("2023-11-15", "2025-04-07"), [FIRST, "api-version=2025-04-07&extended=true"]),
        (("2019-06-01", "2019-11-01"), [FIRST, "api-version=2019-11-01"]),
        (("2019-06-01", "2020-07-15", "2020-09-01"), [FIRST, "api-version=2020-09-01"]),
        (("2019-06-01",), [FIRST, LAST]),
        (("2017-08-01", "2018-10-01", "2019-03-11"), [FIRST, "api-version=2019-03-11"]),
        (("2018-04-02",), [FIRST, "api-version=2018-04-02"]),
        (("2017-03-01",), [FIRST, "api-version=2017-03-01"]),
    ],
)
def test_the_newest_that_is_offered_and_then_the_last_resort(versions: tuple[str, ...], expected: list[str]) -> None:
    assert asked(versions) == expected


@pytest.mark.parametrize(
    "body", ["", "nonsense", "[]", '{"newest-versions": 7}', '{"newest-versions": ["../../x", 1]}']
)
def test_an_answer_that_offers_nothing_leads_to_the_last_resort(body: str) -> None:
    assert asked(("2019-06-01",), Fault(endpoint="imds", requests=1, status=400, body=body)) == [FIRST, LAST]


def test_an_offered_version_that_is_refused_leads_to_the_last_resort() -> None:
    refused = Fault(endpoint="imds", requests="1-2", status=400, body='{"newest-versions": ["2018-10-01"]}')
    assert asked(("2019-06-01",), refused) == [FIRST, "api-version=2018-10-01", LAST]


def test_a_host_that_refuses_everything_is_asked_three_times_at_most() -> None:
    with pytest.raises(FabricError, match="HTTP 400") as caught:
        asked(("2021-02-01",), Fault(endpoint="imds", status=400, body='{"newest-versions": ["2021-02-01"]}'))
    assert caught.value.reason == "http error 400 querying IMDS"
