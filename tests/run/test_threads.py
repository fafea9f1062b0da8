"""The library's calls from several threads, on objects of their own and on a shared one; and each call twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from kit import ED25519, FastClock

import azurelite
from azurelite.outcome import Outcome
from azurelite.simulator import Guest, Scenario, Simulator, make_guest

THREADS = 8
HANDLERS = ["hostname", "user", "ssh_keys"]


@pytest.fixture
def azure_scenario() -> Scenario:
    return Scenario.from_dict({"vm": {"ssh_keys": [ED25519], "hostname": "web-1", "username": "alex"}})


@pytest.fixture
def azure(azure_guest: Guest, azure_clock: FastClock) -> Iterator[azurelite.Azure]:
    with azurelite.Azure(root=azure_guest.root, clock=azure_clock) as opened:
        yield opened


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """The results of one call of `work` in each thread; all threads begin together."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> Any:
        barrier.wait(60)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def crawl_and_apply(azure: azurelite.Azure) -> Outcome:
    return azure.apply(HANDLERS, azure.crawl())


def assert_applied(outcomes: list[Outcome]) -> None:
    assert [outcome.outcome for outcome in outcomes] == ["applied"] * THREADS
    assert {step.status for outcome in outcomes for step in outcome.steps} == {"done"}


def assert_provisioned(guest: Guest) -> None:
    assert guest.text("etc/hostname") == "web-1\n"
    assert guest.text("etc/passwd").count("\nalex:") == 1
    assert guest.text("home/alex/.ssh/authorized_keys") == ED25519 + "\n"


def test_each_thread_has_a_guest_of_its_own(tmp_path: Path, azure_simulator: Simulator) -> None:
    guests = [make_guest(tmp_path / str(number), azure_simulator) for number in range(THREADS)]

    def work(number: int) -> Outcome:
        with azurelite.Azure(root=guests[number].root, clock=FastClock()) as azure:
            outcome = crawl_and_apply(azure)
            azure.report_ready()
            azure.mark_done()
            assert azure.is_done()
            return outcome

    assert_applied(at_once(work))
    for guest in guests:
        assert_provisioned(guest)
    assert [(report.state, report.accepted) for report in azure_simulator.reports] == [("Ready", True)] * THREADS


def test_all_threads_share_one_object(azure: azurelite.Azure, azure_guest: Guest, azure_simulator: Simulator) -> None:
    outcomes = at_once(lambda _: crawl_and_apply(azure))
    assert_applied(outcomes)
    assert_provisioned(azure_guest)
    # Every change was made once, by whoever came first.
    changes = [str(change) for outcome in outcomes for change in outcome.changes]
    assert len(changes) == len(set(changes))
    at_once(lambda _: azure.report_ready())
    at_once(lambda _: azure.mark_done())
    assert all(at_once(lambda _: azure.is_done()))
    assert {report.state for report in azure_simulator.reports} == {"Ready"}


def test_each_thread_has_an_object_of_its_own_on_one_guest(azure_guest: Guest) -> None:
    def work(_: int) -> Outcome:
        with azurelite.Azure(root=azure_guest.root) as azure:  # the real clock: the run lock is waited for
            return crawl_and_apply(azure)

    outcomes = at_once(work)
    assert_applied(outcomes)
    assert_provisioned(azure_guest)
    changes = [str(change) for outcome in outcomes for change in outcome.changes]
    assert len(changes) == len(set(changes))


def test_steps_that_go_well_log_no_error(azure: azurelite.Azure, caplog: pytest.LogCaptureFixture) -> None:
    azure.apply(["hostname"], azure.crawl()).check()
    azure.apply(["user"], azure.crawl()).check()
    azure.apply(["ssh_keys"], azure.crawl()).check()
    azure.report_ready()
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


def test_one_of_several_provisions(azure: azurelite.Azure, azure_simulator: Simulator) -> None:
    found = sorted(outcome.outcome for outcome in at_once(lambda _: azure.provision()))
    assert found == [*["already provisioned"] * (THREADS - 1), "provisioned"]
    assert [report.state for report in azure_simulator.reports] == ["Ready"]


def test_a_failure_in_one_thread_holds_back_ready_in_the_others(
    azure: azurelite.Azure, azure_simulator: Simulator
) -> None:
    metadata = azure.crawl()
    refused = azurelite.Metadata.from_dict({**metadata.document(), "username": "../../root"})
    assert azure.apply(["user"], refused).exit_code == 1

    def report(_: int) -> None:
        with pytest.raises(azurelite.OutOfOrderError, match="user failed"):
            azure.report_ready()

    at_once(report)
    assert azure_simulator.reports == []


def essence(outcome: Outcome) -> Any:
    return outcome.outcome, outcome.exit_code, [(step.name, step.status) for step in outcome.steps]


CALLS: dict[str, Callable[[azurelite.Azure], Any]] = {
    "vm_id": lambda azure: azure.vm_id(),
    "is_done": lambda azure: azure.is_done(),
    "crawl": lambda azure: azure.crawl().document(secrets=True),
    "crawl media": lambda azure: azure.crawl(sources=["imds"]).document(),
    "apply": lambda azure: essence(azure.apply(HANDLERS, azure.crawl())),
    "apply without metadata": lambda azure: essence(azure.apply(HANDLERS)),
    "apply dry": lambda azure: essence(azure.apply(HANDLERS, dry_run=True)),
    "apply nothing": lambda azure: essence(azure.apply([])),
    "provision dry": lambda azure: essence(azure.provision(dry_run=True)),
    "plan": lambda azure: str(azure.plan()),
    "report_progress": lambda azure: azure.report_progress("still at it"),
    "report_ready": lambda azure: azure.report_ready(),
    "report_failure": lambda azure: azure.report_failure("no disk"),
    "goal_state": lambda azure: azure.goal_state(),
    "close": lambda azure: azure.close(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("anew", [False, True], ids=["one object", "two objects"])
def test_the_second_call_gives_the_same(azure_guest: Guest, name: str, anew: bool) -> None:
    call = CALLS[name]
    with azurelite.Azure(root=azure_guest.root, clock=FastClock()) as azure:
        first = call(azure)
        if not anew:
            assert call(azure) == first
            return
    with azurelite.Azure(root=azure_guest.root, clock=FastClock()) as azure:
        assert call(azure) == first


def test_a_second_run_changes_nothing(azure: azurelite.Azure, azure_guest: Guest, azure_simulator: Simulator) -> None:
    azure.provision().check()
    before = azure_guest.snapshot()
    assert azure.provision().outcome == "already provisioned"
    assert azure.apply(HANDLERS, azure.crawl()).changes == ()
    azure.mark_done()
    assert azure_guest.snapshot() == before
    assert [report.state for report in azure_simulator.reports] == ["Ready"]
