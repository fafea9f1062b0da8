"""What the sources leave of the time, so that Azure is told in any case."""

from __future__ import annotations

import pytest
from kit import ED25519, FastClock, Guest

from azurelite.fabric.client import Fabric
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator

RESERVES = {1200.0: 120.0, 600.0: 60.0, 100.0: 10.0, 60.0: 10.0, 20.0: 10.0, 10.0: 5.0, 2.0: 1.0}
UNAVAILABLE = Fault(endpoint="imds", status=503)


class StillClock(FastClock):
    """Time passes in sleeps only."""

    def monotonic(self) -> float:
        return self.skipped


@pytest.mark.parametrize(("seconds", "reserve"), RESERVES.items())
def test_a_tenth_and_at_least_ten_seconds_are_kept_for_reporting(seconds: float, reserve: float) -> None:
    with Fabric(seconds, clock=StillClock()) as fabric:
        assert (fabric.deadline.remaining(), fabric.reading.remaining()) == (seconds, seconds - reserve)
    with Fabric(1, clock=StillClock()) as renewed:
        renewed.renew(seconds)
        assert (renewed.deadline.remaining(), renewed.reading.remaining()) == (seconds, seconds - reserve)


# the time budget -> seconds for the work on the machine, after the sources and before the report
LOCAL_WORK = {1200.0: 60.0, 600.0: 60.0, 100.0: 45.0, 60.0: 25.0, 20.0: 5.0, 10.0: 2.5, 2.0: 0.5, 0.0: 0.0}


@pytest.mark.parametrize(("seconds", "share"), LOCAL_WORK.items())
def test_no_source_uses_up_the_time_of_the_work_on_the_machine(seconds: float, share: float) -> None:
    with Fabric(seconds, clock=StillClock()) as fabric:
        assert fabric.reading.remaining() - fabric.sources.remaining() == share
        fabric.renew(20.0)
        assert (fabric.sources.remaining(), fabric.reading.remaining(), fabric.deadline.remaining()) == (5, 10, 20)


def test_a_source_that_never_answers_leaves_time_for_the_work_and_for_the_report(guest: Guest) -> None:
    clock = StillClock()
    with Simulator(Scenario(Scenario.default().vm, (UNAVAILABLE,)), rate_limit=None) as fabric:
        guest.on_azure().configure(fabric, datasource={"deadline": 60})
        outcome = provision(Options(root=guest.root, clock=clock))
        assert outcome.exit_code == 1
        assert [report.state for report in fabric.reports] == ["NotReady"]
    assert 20 < clock.skipped <= 25


def test_beside_a_disc_imds_is_waited_for_no_longer_than_a_minute(guest: Guest) -> None:
    """The disc has all that a VM needs, and Azure would wait for twenty minutes."""
    clock = StillClock()
    vm = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], "ovf_username": "azureuser"}}).vm
    with Simulator(Scenario(vm, (UNAVAILABLE,)), rate_limit=None) as fabric:
        guest.put({"dev/.keep": ""}).path("dev/sr0").write_bytes(fabric.media("udf"))
        sources = {"media": {"device": "/dev/sr0"}, "imds": {"deadline": 1000}}
        guest.on_azure().configure(fabric, datasource=sources)
        outcome = provision(Options(root=guest.root, clock=clock))
        assert outcome.exit_code == 0, outcome
        assert [report.state for report in fabric.reports] == ["Ready"]
    assert 30 < clock.skipped <= 60
