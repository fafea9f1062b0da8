"""The three steps of a report as public functions, and `azurelite report --verbose`, which prints them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Callable, Optional

import pytest
from kit import FastClock, Guest

import azurelite
from azurelite.cli import main
from azurelite.errors import ConfigError
from azurelite.simulator import Scenario, Simulator

STATE = azurelite.GoalState(container_id="c & <d>", instance_id='i."j"', incarnation="7")


@pytest.fixture
def served() -> Any:
    """Starts a fabric with faults (mappings) and a VM (keywords)."""
    started: list[Simulator] = []

    def start(*faults: dict[str, Any], **vm: Any) -> Simulator:
        started.append(Simulator(Scenario.from_dict({"vm": vm, "faults": list(faults)}), rate_limit=None))
        started[-1].start()
        return started[-1]

    yield start
    for simulator in started:
        simulator.stop()


def test_the_three_steps_are_a_report(guest: Guest, served: Callable[..., Simulator]) -> None:
    simulator = served(incarnation=3)
    root = guest.on_azure().configure(simulator).root
    state = azurelite.goal_state(root=root)
    vm = simulator.vm
    assert (state.container_id, state.instance_id, state.incarnation) == (vm.container_id, vm.instance_id, "3")
    azurelite.post_report(azurelite.build_report("Ready", state), root=root)
    assert [(report.state, report.accepted) for report in simulator.reports] == [("Ready", True)]
    assert [request.endpoint for request in simulator.requests] == ["goal_state", "health"]


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("Ready", None, ("Ready", None, None)),
        ("NotReady", "no <disk> & no 'net'", ("NotReady", "ProvisioningFailed", "no <disk> & no 'net'")),
        ("NotReady", "&" * 5000, ("NotReady", "ProvisioningFailed", "&" * 819)),
        ("Provisioning", "half way", ("NotReady", "Provisioning", "half way")),
        ("Provisioning", None, ("NotReady", "Provisioning", "provisioning continues")),
    ],
)
def test_every_state_is_accepted(
    guest: Guest, served: Callable[..., Simulator], state: str, reason: Optional[str], expected: tuple[Any, ...]
) -> None:
    simulator = served()
    root = guest.on_azure().configure(simulator).root
    azurelite.post_report(azurelite.build_report(state, azurelite.goal_state(root=root), reason), root=root)
    (report,) = simulator.reports
    assert (report.state, report.substatus, report.description, report.accepted) == (*expected, True)


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("ready", None, "unknown state 'ready' of a report: use one of Ready, NotReady, Provisioning"),
        ("", None, "unknown state '' of a report"),
        ("Ready", "x", "cannot have a reason"),
        ("NotReady", None, "needs a reason"),
        ("NotReady", "  ", "needs a reason"),
    ],
)
def test_a_report_that_makes_no_sense_is_not_built(state: str, reason: Optional[str], said: str) -> None:
    with pytest.raises(azurelite.ConfigError, match=said):
        azurelite.build_report(state, STATE, reason)


def test_values_are_escaped() -> None:
    document = azurelite.build_report("Ready", STATE)
    assert b"<ContainerId>c &amp; &lt;d&gt;</ContainerId>" in document
    assert b"<GoalStateIncarnation>7</GoalStateIncarnation>" in document


@pytest.mark.parametrize("move", ["incarnation", "container"])
@pytest.mark.parametrize("status", [410, 400])
def test_an_outdated_goal_state_is_for_the_caller(
    guest: Guest, served: Callable[..., Simulator], move: str, status: int
) -> None:
    simulator = served(stale_container_status=status)
    root = guest.on_azure().configure(simulator).root
    document = azurelite.build_report("Ready", azurelite.goal_state(root=root))
    getattr(simulator, f"move_{move}")()
    with pytest.raises(azurelite.ReportRefusedError) as caught:
        azurelite.post_report(document, root=root)
    assert caught.value.data["http_code"] == ("410" if move == "incarnation" else str(status))
    azurelite.post_report(azurelite.build_report("Ready", azurelite.goal_state(root=root)), root=root)
    assert [report.accepted for report in simulator.reports] == [False, True]


@pytest.mark.parametrize("endpoint", ["goal_state", "health"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_each_step_waits_for_what_passes(
    guest: Guest, served: Callable[..., Simulator], endpoint: str, status: int
) -> None:
    simulator = served({"endpoint": endpoint, "requests": "1-2", "status": status})
    root, clock = guest.on_azure().configure(simulator).root, FastClock()
    state = azurelite.goal_state(root=root, clock=clock)
    azurelite.post_report(azurelite.build_report("Ready", state), root=root, clock=clock)
    assert simulator.reports[-1].accepted
    assert len(clock.slept) == 2


@pytest.mark.parametrize("body", ["<html>", ""])
def test_a_web_page_is_no_acceptance(guest: Guest, served: Callable[..., Simulator], body: str) -> None:
    simulator = served({"endpoint": "health", "status": 200, "body": body})
    root = guest.on_azure().configure(simulator).root
    document = azurelite.build_report("Ready", azurelite.goal_state(root=root))
    if not body:
        azurelite.post_report(document, root=root)
        return
    with pytest.raises(azurelite.DocumentError, match="web page"):
        azurelite.post_report(document, root=root)


@pytest.mark.parametrize("step", [azurelite.goal_state, lambda root: azurelite.post_report(b"<Health/>", root=root)])
def test_without_proof_of_azure_nothing_is_sent(
    guest: Guest, served: Callable[..., Simulator], step: Callable[..., Any]
) -> None:
    simulator = served()
    with pytest.raises(azurelite.NotAzureError):
        step(root=guest.configure(simulator).root)
    assert simulator.requests == []


@pytest.mark.spawns
def test_building_a_report_needs_no_http() -> None:
    code = (
        "import sys, azurelite\n"
        "before = 'azurelite.fabric.goalstate' in sys.modules\n"
        "azurelite.build_report('Ready', azurelite.GoalState('c', 'i', '1'))\n"
        "print(before, 'urllib3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False False\n"


class TestVerbose:
    """`azurelite report … --verbose`."""

    def test_it_prints_what_the_articles_script_prints(
        self, guest: Guest, served: Callable[..., Simulator], capsys: Any
    ) -> None:
        simulator = served(incarnation=5)
        root = guest.on_azure().configure(simulator).root
        assert main(["report", "ready", "--verbose", "--root", root]) == 0
        lines = capsys.readouterr().out.splitlines()
        document = simulator.requests[-1].body.decode()
        assert lines == [
            "Retrieving goal state from the WireServer",
            "Incarnation: 5",
            f"ContainerId: {simulator.vm.container_id}",
            f"InstanceId: {simulator.vm.instance_id}",
            "Sending the following data to the WireServer:",
            document,
            "Response: 200 OK",
            "Azure accepted the report: ready",
        ]

    @pytest.mark.parametrize("words", [["ready"], ["progress"], ["failure", "--reason", "broken"]])
    def test_without_it_one_line_is_printed_on_the_console(
        self, guest: Guest, served: Callable[..., Simulator], capsys: Any, words: list[str]
    ) -> None:
        guest.on_azure().configure(served()).put({"var/log/.keep": ""})
        assert main(["report", *words, "--root", guest.root]) == 0
        assert tuple(capsys.readouterr()) == (f"Azure accepted the report: {words[0]}\n", "")

    def test_each_try_with_another_goal_state_is_printed(
        self, guest: Guest, served: Callable[..., Simulator], capsys: Any
    ) -> None:
        simulator = served({"endpoint": "health", "requests": "1", "status": 410, "move": "incarnation"})
        assert main(["report", "ready", "--verbose", "--root", guest.on_azure().configure(simulator).root]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("Incarnation")] == ["Incarnation: 1", "Incarnation: 2"]
        assert [line.split(" from")[0] for line in lines if "Response" in line] == [
            "Response: HTTP 410",
            "Response: 200 OK",
        ]

    def test_a_reason_and_a_refusal_are_printed(
        self, guest: Guest, served: Callable[..., Simulator], capsys: Any
    ) -> None:
        simulator = served({"endpoint": "health", "status": 400})
        root = guest.on_azure().configure(simulator, datasource={"wireserver": {"dialect": "xml"}}).root
        assert main(["report", "failure", "--reason", "no disk", "--verbose", "--root", root]) == 3
        out = capsys.readouterr().out
        assert "reason=no disk" in out
        assert "Response: HTTP 400" in out
        assert simulator.requests[-1].status == 400


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
class TestBlank:
    def test_a_failure_without_a_reason_is_refused_and_nothing_is_sent(
        self, guest: Guest, served: Callable[..., Simulator], capsys: Any, reason: str
    ) -> None:
        simulator = served()
        root = guest.on_azure().configure(simulator).root
        with pytest.raises(ConfigError, match="a report of a failure needs a reason, which the portal shows"):
            azurelite.report_failure(reason, root=root)
        assert main(["report", "failure", "--reason", reason, "--root", root]) == 2
        assert "needs --reason TEXT" in capsys.readouterr().err
        assert simulator.requests == []

    def test_progress_has_a_default(self, guest: Guest, served: Callable[..., Simulator], reason: str) -> None:
        simulator = served()
        azurelite.report_progress(reason, root=guest.on_azure().configure(simulator).root)
        assert simulator.reports[-1].description == "provisioning continues"
        goal_state = azurelite.goal_state(root=guest.root)
        assert b"<Description>provisioning continues<" in azurelite.build_report("Provisioning", goal_state, reason)
