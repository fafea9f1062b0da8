"""The goal state fetched, and the health report sent until Azure accepts it; nothing else counts as sent."""

from __future__ import annotations

from typing import Any, Optional, Union

import pytest
from fabric.conftest import Dial, Simulate
from kit import FastClock

from azurelite.errors import DocumentError, FabricError, HttpStatusError, ReportRefusedError, TransportError
from azurelite.fabric.health import READY, Health, failed, in_progress
from azurelite.simulator import Simulator

EARLY = (
    "<GoalState><Incarnation>1</Incarnation><Container><ContainerId>c</ContainerId>"
    "<RoleInstanceList></RoleInstanceList></Container></GoalState>"
)
STALE_BODY = "<Error><Code>InvalidContainerConfiguration</Code></Error>"


def asked(simulator: Simulator) -> list[tuple[str, Optional[int]]]:
    return [(request.endpoint, request.status) for request in simulator.requests]


def judged(simulator: Simulator) -> list[tuple[str, int, bool]]:
    return [(report.state, report.status, report.accepted) for report in simulator.reports]


class TestGoalState:
    def test_is_read_in_one_request(self, dial: Dial, simulate: Simulate) -> None:
        simulator = simulate(incarnation=5)
        fabric = dial(simulator.url)
        state = fabric.wireserver.fetch_goal_state(fabric.reading)
        vm = simulator.scenario.vm
        assert (state.container_id, state.instance_id, state.incarnation) == (vm.container_id, vm.instance_id, "5")
        assert [request.target for request in simulator.requests] == ["/machine/?comp=goalstate"]
        assert simulator.requests[0].headers["x-ms-version"] == "2012-11-30"

    @pytest.mark.parametrize("missing", [1, 3, 5])
    def test_a_role_instance_that_comes_later_is_waited_for(
        self, dial: Dial, simulate: Simulate, clock: FastClock, missing: int
    ) -> None:
        simulator = simulate({"endpoint": "goal_state", "body": EARLY, "requests": f"1-{missing}"})
        fabric = dial(simulator.url)
        assert fabric.wireserver.fetch_goal_state(fabric.reading).incarnation == "1"
        assert clock.slept == [0.5] * missing

    def test_a_role_instance_that_never_comes_is_given_up(
        self, dial: Dial, simulate: Simulate, clock: FastClock
    ) -> None:
        simulator = simulate({"endpoint": "goal_state", "body": EARLY})
        fabric = dial(simulator.url)
        with pytest.raises(DocumentError, match="RoleInstance is missing"):
            fabric.wireserver.fetch_goal_state(fabric.reading)
        assert (len(simulator.requests), sum(clock.slept)) == (6, 2.5)

    def test_it_is_not_waited_for_past_the_deadline(self, dial: Dial, simulate: Simulate, clock: FastClock) -> None:
        simulator = simulate({"endpoint": "goal_state", "body": EARLY})
        fabric = dial(simulator.url)
        with pytest.raises(DocumentError):
            fabric.wireserver.fetch_goal_state(fabric.reading.within(1.2))
        assert sum(clock.slept) <= 1.2

    @pytest.mark.parametrize("fault", [{"garbage": True}, {"body": ""}, {"body": "<Error/>"}, {"body": "{}"}])
    def test_another_document_is_told_at_once(
        self, dial: Dial, simulate: Simulate, fault: dict[str, Union[bool, str]]
    ) -> None:
        simulator = simulate({"endpoint": "goal_state", **fault})
        fabric = dial(simulator.url)
        with pytest.raises(DocumentError):
            fabric.wireserver.fetch_goal_state(fabric.reading)
        assert len(simulator.requests) == 1

    @pytest.mark.parametrize("status", [403, 408, 410, 429, 500, 502, 503, 504, 507])
    def test_a_passing_trouble_is_passed_over(self, dial: Dial, simulate: Simulate, status: int) -> None:
        simulator = simulate({"endpoint": "goal_state", "status": status, "requests": "1-2"})
        fabric = dial(simulator.url)
        assert fabric.wireserver.fetch_goal_state(fabric.reading).incarnation == "1"
        assert len(simulator.requests) == 3

    @pytest.mark.parametrize("status", [301, 401, 404, 405, 501])
    def test_a_final_refusal_is_told_at_once(self, dial: Dial, simulate: Simulate, status: int) -> None:
        simulator = simulate({"endpoint": "goal_state", "status": status})
        fabric = dial(simulator.url)
        with pytest.raises(HttpStatusError):
            fabric.wireserver.fetch_goal_state(fabric.reading)
        assert len(simulator.requests) == 1

    @pytest.mark.parametrize("fault", [{"drop": True}, {"truncate": 50}])
    def test_a_torn_answer_is_asked_for_again(self, dial: Dial, simulate: Simulate, fault: dict[str, Any]) -> None:
        simulator = simulate({"endpoint": "goal_state", "requests": "1-2", **fault})
        fabric = dial(simulator.url)
        assert fabric.wireserver.fetch_goal_state(fabric.reading).incarnation == "1"


class TestReport:
    @pytest.mark.parametrize(
        ("health", "state", "substatus", "description"),
        [
            (READY, "Ready", None, None),
            (failed("no user"), "NotReady", "ProvisioningFailed", "no user"),
            (in_progress("step 2"), "NotReady", "Provisioning", "step 2"),
        ],
    )
    def test_each_kind_is_accepted(
        self,
        dial: Dial,
        simulate: Simulate,
        health: Health,
        state: str,
        substatus: Optional[str],
        description: Optional[str],
    ) -> None:
        simulator = simulate()
        fabric = dial(simulator.url)
        fabric.wireserver.send(health, fabric.deadline)
        (report,) = simulator.reports
        assert (report.state, report.substatus, report.description, report.accepted) == (
            state,
            substatus,
            description,
            True,
        )

    def test_it_is_posted_as_azure_wants_it(self, dial: Dial, simulate: Simulate) -> None:
        simulator = simulate()
        fabric = dial(simulator.url)
        fabric.wireserver.send(READY, fabric.deadline)
        post = simulator.requests[-1]
        assert (post.method, post.target) == ("POST", "/machine?comp=health")
        assert post.headers["Content-Type"] == "text/xml; charset=utf-8"
        assert post.headers["x-ms-version"] == "2012-11-30"

    def test_the_goal_state_of_the_crawl_is_not_fetched_again(self, dial: Dial, simulate: Simulate) -> None:
        simulator = simulate()
        fabric = dial(simulator.url)
        fabric.wireserver.fetch_goal_state(fabric.reading)
        for _ in range(2):
            fabric.wireserver.send(READY, fabric.deadline)
        assert asked(simulator) == [("goal_state", 200), ("health", 200), ("health", 200)]


class TestStaleGoalState:
    @pytest.mark.parametrize("status", [410, 400])
    @pytest.mark.parametrize("what", ["incarnation", "container"])
    def test_it_is_fetched_again_and_the_report_built_anew(
        self, dial: Dial, simulate: Simulate, what: str, status: int
    ) -> None:
        simulator = simulate(stale_container_status=status)
        fabric = dial(simulator.url)
        fabric.wireserver.fetch_goal_state(fabric.reading)
        simulator.move_incarnation() if what == "incarnation" else simulator.move_container()
        fabric.wireserver.send(READY, fabric.deadline)
        refusal = 410 if what == "incarnation" else status
        assert judged(simulator) == [("Ready", refusal, False), ("Ready", 200, True)]
        assert asked(simulator) == [("goal_state", 200), ("health", refusal), ("goal_state", 200), ("health", 200)]
        before, after = simulator.reports
        assert (before.incarnation, before.container_id) != (after.incarnation, after.container_id)

    def test_nothing_is_waited_for_when_it_has_moved(self, dial: Dial, simulate: Simulate, clock: FastClock) -> None:
        simulator = simulate()
        fabric = dial(simulator.url)
        fabric.wireserver.fetch_goal_state(fabric.reading)
        simulator.move_incarnation()
        fabric.wireserver.send(READY, fabric.deadline)
        assert clock.slept == []

    def test_several_moves_are_followed(self, dial: Dial, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "health", "move": "incarnation", "requests": "1-2", "status": 410})
        fabric = dial(simulator.url)
        fabric.wireserver.send(failed("x"), fabric.deadline)
        assert [report.incarnation for report in simulator.reports] == ["1", "2", "3"]
        assert [report.accepted for report in simulator.reports] == [False, False, True]

    def test_a_goal_state_that_lags_behind_is_asked_for_after_a_pause(
        self, dial: Dial, simulate: Simulate, clock: FastClock
    ) -> None:
        simulator = simulate({"endpoint": "health", "status": 410, "requests": "1-3"})
        fabric = dial(simulator.url)
        fabric.wireserver.send(READY, fabric.deadline)
        assert clock.slept == [1.0] * 3
        assert judged(simulator)[-1] == ("Ready", 200, True)
        assert {one.target for one in simulator.requests if one.method == "POST"} == {"/machine?comp=health"}

    @pytest.mark.parametrize("fault", [{"status": 410}, {"status": 400, "body": STALE_BODY}], ids=["410", "400"])
    def test_stale_for_ever_ends_at_the_deadline(
        self, dial: Dial, simulate: Simulate, clock: FastClock, fault: dict[str, Union[int, str]]
    ) -> None:
        simulator = simulate({"endpoint": "health", **fault})
        fabric = dial(simulator.url, seconds=20)
        with pytest.raises(ReportRefusedError) as caught:
            fabric.wireserver.send(READY, fabric.deadline)
        assert caught.value.reason == f"http error {fault['status']} reporting health"
        assert 15 <= sum(clock.slept) <= 20
        assert not any(report.accepted for report in simulator.reports)
        assert len(simulator.reports) <= 21

    def test_a_goal_state_that_moves_for_ever_is_not_chased_without_pause(
        self, dial: Dial, simulate: Simulate, clock: FastClock
    ) -> None:
        simulator = simulate({"endpoint": "goal_state", "move": "incarnation"})
        fabric = dial(simulator.url, seconds=20)
        with pytest.raises(ReportRefusedError):
            fabric.wireserver.send(READY, fabric.deadline)
        assert len(simulator.reports) <= 30
        assert 15 <= sum(clock.slept) <= 20

    def test_stale_and_then_no_goal_state_is_a_failure(self, dial: Dial, simulate: Simulate) -> None:
        stale = {"endpoint": "health", "status": 410}
        simulator = simulate(stale, {"endpoint": "goal_state", "status": 503, "requests": "2-"})
        fabric = dial(simulator.url, seconds=10)
        with pytest.raises(FabricError):
            fabric.wireserver.send(READY, fabric.deadline)
        assert len(simulator.reports) == 1


class TestRefusal:
    @pytest.mark.parametrize("status", [300, 302, 400, 401, 405, 411, 413, 415, 501])
    def test_a_final_status_is_told_at_once(self, dial: Dial, simulate: Simulate, status: int) -> None:
        simulator = simulate({"endpoint": "health", "status": status})
        fabric = dial(simulator.url)
        with pytest.raises(ReportRefusedError) as caught:
            fabric.wireserver.send(READY, fabric.deadline)
        assert caught.value.reason == f"http error {status} reporting health"
        assert caught.value.data["http_code"] == str(status)
        assert caught.value.exit_code == 3
        assert len(simulator.reports) == 1

    @pytest.mark.parametrize("status", [403, 404, 408, 429, 500, 502, 503, 504, 507])
    def test_a_passing_trouble_is_passed_over(self, dial: Dial, simulate: Simulate, status: int) -> None:
        simulator = simulate({"endpoint": "health", "status": status, "requests": "1-2"})
        fabric = dial(simulator.url)
        fabric.wireserver.send(READY, fabric.deadline)
        assert judged(simulator) == [("Ready", status, False)] * 2 + [("Ready", 200, True)]

    @pytest.mark.parametrize("status", [403, 429, 500, 503])
    def test_a_trouble_until_the_deadline_is_a_refusal(
        self, dial: Dial, simulate: Simulate, clock: FastClock, status: int
    ) -> None:
        simulator = simulate({"endpoint": "health", "status": status})
        fabric = dial(simulator.url, seconds=15)
        with pytest.raises(ReportRefusedError):
            fabric.wireserver.send(READY, fabric.deadline)
        assert 10 <= sum(clock.slept) <= 15
        assert not any(report.accepted for report in simulator.reports)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [({"drop": True}, "connection error"), ({"delay": 5.0}, "read timeout"), ({"drip": 9.0}, "read timeout")],
    )
    def test_no_answer_is_no_success(self, dial: Dial, simulate: Simulate, fault: dict[str, Any], kind: str) -> None:
        """With `drip`, the status line never comes whole."""
        drip = {"drip_headers": True} if "drip" in fault else {}
        simulator = simulate({"endpoint": "health", **fault, **drip})
        fabric = dial(simulator.url, seconds=0.9, timeout=0.2)
        with pytest.raises(TransportError) as caught:
            fabric.wireserver.send(READY, fabric.deadline)
        assert caught.value.kind == kind

    def test_without_a_goal_state_nothing_is_posted(self, dial: Dial, simulate: Simulate) -> None:
        simulator = simulate({"endpoint": "goal_state", "status": 500})
        fabric = dial(simulator.url, seconds=5)
        with pytest.raises(HttpStatusError):
            fabric.wireserver.send(READY, fabric.deadline)
        assert {endpoint for endpoint, _ in asked(simulator)} == {"goal_state"}

    def test_with_no_time_left_nothing_is_sent(self, dial: Dial, simulate: Simulate) -> None:
        simulator = simulate()
        fabric = dial(simulator.url)
        fabric.wireserver.fetch_goal_state(fabric.reading)
        with pytest.raises(TransportError):
            fabric.wireserver.send(READY, fabric.deadline.within(0))
        assert asked(simulator) == [("goal_state", 200)]

    def test_a_400_that_is_not_about_the_container_is_not_repeated(self, dial: Dial, simulate: Simulate) -> None:
        simulator = simulate(
            {"endpoint": "health", "status": 400, "body": "<Error><Code>InvalidHealthReport</Code></Error>"}
        )
        fabric = dial(simulator.url)
        with pytest.raises(ReportRefusedError):
            fabric.wireserver.send(READY, fabric.deadline)
        assert [endpoint for endpoint, _ in asked(simulator)][:2] == ["goal_state", "health"]
        assert len(simulator.reports) == 1
