"""Events: what a caller hears of a run, in which order, and that nothing it does with them changes the run."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional

import pytest
from kit import ED25519, FastClock, Guest

import azurelite
from azurelite import Azure, Event
from azurelite.cli import main
from azurelite.fabric.exchange import Exchange
from azurelite.outcome import Outcome
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.system.explain import lock

CANARIES = {
    "password": "canary-Password-1",
    "custom_data": "#cloud-config\nlocale: C.UTF-8\nwrite_files: [{path: /etc/c, content: canary-file}]\n"
    "users: [{name: bob, plain_text_passwd: canary-bob, lock_passwd: false}]\nhostname: canary-name\n",
}


def scenario(*faults: Fault, **vm: Any) -> Simulator:
    said = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], **vm}})
    return Simulator(Scenario(said.vm, faults), rate_limit=None)


def provision(guest: Guest, heard: Callable[[Event], object], **options: Any) -> Outcome:
    with Azure(root=guest.root, clock=FastClock(), on_event=heard) as azure:
        return azure.provision(**options)


def requests_of(events: list[Event]) -> list[Exchange]:
    """By start time: two may run side by side."""
    return sorted((event.exchange for event in events if event.exchange is not None), key=lambda one: one.started)


def everything(event: Event) -> str:
    """All that is to be had from an event."""
    change = event.change
    contents = "" if change is None else f"{change.before!r} {change.after!r} {change.diff()} {change.as_dict()}"
    result = event.result
    inner = "" if result is None else f"{result.as_dict()} {[(one.before, one.after) for one in result.changes]}"
    return f"{event} {event!r} {contents} {inner}"


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_events_of_a_provisioning_are_its_outcome_in_order(guest: Guest, dry_run: bool) -> None:
    events: list[Event] = []
    with scenario() as fabric:
        outcome = provision(guest.on_azure().configure(fabric), events.append, dry_run=dry_run)
    assert outcome.exit_code == 0
    results = {event.step: event.result for event in events if event.result is not None}  # the last one of each step
    assert list(results.values()) == list(outcome.steps)
    assert [event.change for event in events if event.change is not None] == list(outcome.changes)
    assert requests_of(events) == list(outcome.exchanges)
    # Each step begins, does what it does, and ends before the next one.
    names = [step.name for step in outcome.steps]
    marks = [(event.kind, event.step) for event in events if event.kind.startswith("step")]
    again = max(place for place, mark in enumerate(marks) if mark == ("step_ends", "ssh_keys"))
    assert marks[again - 1] == ("step_begins", "report_ready")
    del marks[again]  # it ends twice: there is no OpenSSH, which its result then notes
    assert marks == [(kind, name) for name in names for kind in ("step_begins", "step_ends")]
    for step in outcome.steps:
        first = next(
            place for place, event in enumerate(events) if (event.kind, event.step) == ("step_begins", step.name)
        )
        last = next(place for place, event in enumerate(events) if (event.kind, event.step) == ("step_ends", step.name))
        inside = [event for event in events[first:last] if event.step == step.name]
        assert step.name == "report_ready" or inside == events[first:last]
        assert tuple(event.change for event in inside if event.kind == "change") == step.changes
    requests = [(event.step, event.exchange.method) for event in events if event.exchange is not None]
    sent = [] if dry_run else [("report_ready", "POST")]
    assert requests == [(None, "GET"), (None, "GET"), *sent]
    word = "would " if dry_run else ""
    assert f"hostname: {word}write /etc/hostname (0644)" in map(str, events)


def test_a_change_is_told_before_it_is_made_with_the_content(guest: Guest) -> None:
    seen: list[tuple[Any, ...]] = []

    def heard(event: Event) -> None:
        if event.change is not None and event.change.target == "/etc/hostname":
            seen.append((event.change.before, event.change.after, guest.text("etc/hostname")))

    with scenario() as fabric:
        provision(guest.on_azure().configure(fabric), heard)
    assert seen == [(b"localhost\n", b"web-1\n", "localhost\n")]
    assert guest.text("etc/hostname") == "web-1\n"


def test_a_dry_run_knows_the_contents_that_the_real_run_makes(guest: Guest) -> None:
    with scenario() as fabric:
        guest.on_azure().configure(fabric)
        told = azurelite.provision(root=guest.root, dry_run=True, clock=FastClock())
        made = provision(guest, lambda _: None)
        silent = azurelite.provision(root=guest.root, force=True, clock=FastClock())
    contents = [[(one.before, one.after) for one in outcome.changes] for outcome in (told, made)]
    assert contents[0] == contents[1]
    assert (b"localhost\n", b"web-1\n") in contents[0]
    assert silent.exit_code == 0


def test_nothing_is_kept_for_an_outcome_without_a_listener(guest: Guest) -> None:
    with scenario() as fabric:
        outcome = azurelite.provision(root=guest.on_azure().configure(fabric).root, clock=FastClock())
    assert outcome.changes
    assert {(one.before, one.after) for one in outcome.changes} == {(None, None)}


@pytest.mark.spawns
@pytest.mark.parametrize("dry_run", [True, False])
def test_no_event_holds_a_secret(guest: Guest, dry_run: bool, capsys: Any) -> None:
    handlers = [
        "hostname",
        "user",
        {"write_files": {"files": [{"path": "/etc/d", "content": "canary-option"}]}},
        {"passwords": {"users": [{"name": "azureuser", "password": "canary-Pass-2", "type": "text"}]}},
        {"custom_data": {"save": "/etc/custom"}},
        "ssh_host_keys",
        "report_ready",
    ]
    events: list[Event] = []
    with scenario(**CANARIES, disable_password_authentication=False) as fabric:
        guest.put({"dev/.keep": ""}).path("dev/sr0").write_bytes(fabric.media("udf"))
        guest.on_azure().configure(fabric, handlers=handlers, datasource={"media": {"device": "/dev/sr0"}})
        outcome = provision(guest, events.append, dry_run=dry_run)
        assert "/etc/d" in {change.target for change in outcome.changes}
        assert "/etc/c" in {change.target for change in outcome.changes}
        theirs = next(step for step in outcome.steps if step.name == "custom_data").changes
        assert [(one.before, one.after) for one in theirs if one.target == "/etc/hostname"] == [(None, None)]
        assert main(["provision", "--root", guest.root, "--dry-run", "--diff"]) == 0
    assert [everything(event) for event in events if "canary" in everything(event).replace("canary-name", "")] == []
    assert "PRIVATE" not in "".join(map(everything, events))
    captured = capsys.readouterr()
    assert "canary-" not in (captured.out + captured.err).replace("canary-name", "")


class BrokenError(Exception):
    """What a caller's function raises; the text may be a secret."""


@pytest.mark.parametrize("error", [BrokenError("canary"), azurelite.ConfigError("canary"), RecursionError("canary")])
def test_a_broken_function_changes_nothing_and_is_dropped(
    guest: Guest, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Event] = []

    def heard(event: Event) -> None:
        calls.append(event)
        if event.kind == "step_begins":
            raise error

    with scenario() as fabric:
        outcome = provision(guest.on_azure().configure(fabric), heard)
        assert [report.state for report in fabric.reports] == ["Ready"]
    assert (outcome.outcome, len(outcome.steps)) == ("provisioned", 6)
    assert [event.kind for event in calls].count("step_begins") == 1
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    kind = type(error).__name__
    assert len(said) == 1
    assert said[0].startswith(f"on_event: the function raised {kind} at test_events.py:")
    assert "canary" not in said[0]


def test_what_a_function_returns_does_not_matter(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[Event] = []

    def heard(event: Event) -> object:
        calls.append(event)
        return azurelite.ConfigError("a value")

    with scenario() as fabric:
        assert provision(guest.on_azure().configure(fabric), heard).outcome == "provisioned"
    assert calls[-1].kind == "step_ends"
    assert "on_event" not in caplog.text


def test_a_function_may_call_azurelite_and_hears_no_events_of_that(guest: Guest) -> None:
    kinds: list[str] = []
    told: list[bool] = []
    with scenario() as fabric, contextlib.ExitStack() as stack:
        guest.on_azure().configure(fabric)

        def heard(event: Event) -> None:
            kinds.append(event.kind)
            if (event.kind, event.step) == ("step_begins", "hostname"):
                told.append(azure.report_progress("half way"))

        azure = stack.enter_context(Azure(root=guest.root, clock=FastClock(), on_event=heard))
        assert azure.provision().outcome == "provisioned"
        assert [report.description for report in fabric.reports] == ["half way", None]
    assert told == [True]
    assert kinds.count("request") == 3


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        ({"endpoint": "imds", "status": 503, "requests": "1-2"}, None),
        ({"endpoint": "goal_state", "status": 503, "requests": "1-2"}, None),
        ({"endpoint": "health", "status": 503, "requests": "1-2"}, "report_ready"),
    ],
)
def test_each_pause_between_two_tries_is_a_wait(guest: Guest, fault: dict[str, Any], step: Optional[str]) -> None:
    events: list[Event] = []
    with Simulator(Scenario.from_dict({"vm": {"ssh_keys": [ED25519]}, "faults": [fault]}), rate_limit=None) as fabric:
        outcome = provision(guest.on_azure().configure(fabric), events.append)
    assert outcome.exit_code == 0
    waits = [event for event in events if event.kind == "waiting"]
    assert [event.step for event in waits] == [step] * 2
    assert all("503" in event.text for event in waits)
    assert requests_of(events) == list(outcome.exchanges)


@pytest.mark.spawns
def test_a_long_program_is_one_wait(guest: Guest, tmp_path: Path) -> None:
    """A plug-in's interpreter, whose changes are told afterwards."""
    (tmp_path / "slow.py").write_text(
        "import time\ndef apply(ctx, options):\n    ctx.system.files.write('/etc/slow', b'x', mode=0o644)\n"
        "    time.sleep(1)\n"
    )
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch, scenario() as fabric:
        patch.setenv("PYTHONPATH", str(tmp_path))
        patch.syspath_prepend(str(tmp_path))
        guest.on_azure().configure(fabric, handlers=["slow:apply", "report_ready"])
        outcome = provision(guest, events.append)
    assert outcome.exit_code == 0
    own = [(event.kind, event.text) for event in events if event.step == outcome.steps[0].name]
    assert [kind for kind, _ in own] == ["step_begins", "waiting", "change", "step_ends"]
    assert own[2][1] == "write /etc/slow (0644)"


def test_another_run_is_waited_for(guest: Guest) -> None:
    events: list[Event] = []
    waited = threading.Event()
    with scenario() as fabric:
        guest.on_azure().configure(fabric)

        def first(event: Event) -> None:
            if (event.kind, event.step) == ("step_begins", "hostname"):
                thread.start()
                assert waited.wait(30)

        def second(event: Event) -> None:
            events.append(event)
            waited.set()

        results: list[Outcome] = []
        azure = Azure(root=guest.root, on_event=second)  # with the real clock
        thread = threading.Thread(target=lambda: results.append(azure.provision()))
        assert provision(guest, first).outcome == "provisioned"
        thread.join(30)
    assert [str(event) for event in events] == ["waiting: another run of azurelite"]
    assert [result.outcome for result in results] == ["already provisioned"]


def test_apply_and_the_reports_tell_too(guest: Guest) -> None:
    events: list[Event] = []
    with scenario() as fabric:
        guest.on_azure().configure(fabric)
        with Azure(root=guest.root, clock=FastClock(), on_event=events.append) as azure:
            metadata = azure.crawl()
            assert [event.kind for event in events] == ["request"] * 2
            events.clear()
            azure.apply(["hostname", "user", "ssh_keys"], metadata)
            assert [event.kind for event in events if event.step == "hostname"] == [
                "step_begins",
                "change",
                "step_ends",
            ]
            assert {event.step for event in events} == {"hostname", "user", "ssh_keys"}
            events.clear()
            azure.report_ready()
            assert [(event.kind, event.step) for event in events] == [("request", None)]


def test_the_configuration_s_defaults_tell_too(guest: Guest) -> None:
    """A failure is reported also with a broken configuration; a broken function stays dropped then."""
    events: list[Event] = []
    azure = Azure(root=guest.on_azure().root, config={"nonsense": 1}, on_event=events.append)
    with pytest.raises(azurelite.ConfigError), azure:
        azure.crawl()
    assert events == []


def test_a_lock_is_waited_for_with_a_word() -> None:
    calls: list[None] = []

    def attempt() -> None:
        if len(calls) < 3:
            raise BlockingIOError

    from azurelite.clock import Deadline

    lock(attempt, Deadline(FastClock(), 5), waiting=lambda: calls.append(None))
    assert len(calls) == 3


def test_the_examples_of_the_page_print_events_and_diffs(guest: Guest, capsys: Any) -> None:
    page = (Path(__file__).parents[2] / "docs/library.md").read_text(encoding="utf-8")
    section = page.partition("\n## Events\n")[2].partition("\n## ")[0]
    first, second = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    with scenario() as fabric:
        guest.on_azure().configure(fabric)
        module = SimpleNamespace(Azure=partial(Azure, root=guest.root, clock=FastClock()))
        for text, expected in [
            (second, "would write /etc/hostname (0644)\n--- /etc/hostname\n"),
            (first, "hostname: begins\nhostname: write /etc/hostname (0644)\n"),
        ]:
            exec(text.replace("import azurelite\n", ""), {"azurelite": module})
            assert expected in capsys.readouterr().out


class TestDiff:
    """`--dry-run --diff`."""

    @pytest.mark.parametrize("words", [["provision"], ["apply", "hostname"]])
    def test_it_follows_the_sentence_of_the_change(self, guest: Guest, words: list[str], capsys: Any) -> None:
        with scenario() as fabric:
            guest.on_azure().configure(fabric)
            before = guest.snapshot()
            assert main([*words, "--root", guest.root, "--dry-run", "--diff"]) == 0
            assert guest.snapshot() == before
        out = capsys.readouterr().out
        diff = "--- /etc/hostname\n+++ /etc/hostname\n@@ -1 +1 @@\n-localhost\n+web-1\n"
        assert f"would write /etc/hostname (0644)\n{diff}" in out
        assert out.count("---") == 1
        assert out.splitlines()[-1].startswith("dry run")

    @pytest.mark.parametrize("words", [["provision"], ["apply", "hostname"]])
    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["--diff"], "--diff shows what a dry run would change: add --dry-run"),
            (["--diff", "--json"], "--diff shows what a dry run would change: add --dry-run"),
            (["--dry-run", "--diff", "--json"], "--diff excludes --json, whose output is one document: leave one out"),
        ],
    )
    def test_alone_or_with_json_it_is_a_mistake(
        self, guest: Guest, words: list[str], more: list[str], said: str, capsys: Any
    ) -> None:
        before = guest.snapshot()
        assert main([*words, "--root", guest.root, *more]) == 2
        assert capsys.readouterr().err == f"azurelite: error: {said}\n"
        assert guest.snapshot() == before
