"""`power_state`: only after Ready, only if the condition holds. The shutdown itself: test_system_power."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from kit import FastClock, shim

from azurelite.config.document import Document
from azurelite.config.load import Config, HandlerEntry
from azurelite.config.schema import bind
from azurelite.errors import ConfigError, HandlerError, SkippedError
from azurelite.handlers import Context
from azurelite.handlers.power_state import Options, apply
from azurelite.outcome import Outcome, ReportResult, StepResult
from azurelite.record import replace
from azurelite.system.machine import System

LISTED = Config(handlers=(HandlerEntry("report_ready"), HandlerEntry("power_state")))
READY = Outcome("provisioned", "", report=ReportResult("Ready", accepted=True))


@pytest.fixture
def host(context: Callable[..., Context], tmp_path: Path) -> Callable[..., Context]:
    """A dry run on this machine's own root, with a shim as its only program."""
    shim(tmp_path / "bin", "shutdown")

    def make(outcome: Outcome = READY) -> Context:
        system = System("/", dry_run=True, clock=FastClock())
        system.commands.search_path = str(tmp_path / "bin")
        return replace(context(), system=system, outcome=outcome, config=LISTED)

    return make


def options(**values: Any) -> Options:
    return bind(Options, values, Document({}, {}), ("power_state",))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["reboot (after the run)"]),
        ({"mode": "poweroff", "delay": "now"}, ["poweroff (after the run)"]),
        ({"mode": "halt", "delay": 5}, ["halt (5 min after the run)"]),
        ({"delay": "+30", "message": "see you"}, ["reboot (30 min after the run)"]),
        ({"condition": True}, ["reboot (after the run)"]),
        ({"condition": False}, []),
        (
            {"condition": "test -e /x"},
            ["run the condition of power_state", "reboot (after the run)"],
        ),
        (
            {"condition": ["test", "-e", "/x"]},
            ["run the condition of power_state", "reboot (after the run)"],
        ),
    ],
)
def test_it_goes_down_after_the_run(host: Callable[..., Context], values: dict[str, Any], expected: list[str]) -> None:
    ctx = host()
    apply(ctx, options(**values))
    assert [str(change) for change in ctx.system.journal.since(0)] == expected


def test_before_ready_it_is_scheduled_on_condition_of_ready(host: Callable[..., Context]) -> None:
    ctx = host(Outcome("provisioned", ""))
    apply(ctx, options(delay=5))
    (change,) = ctx.system.journal.since(0)
    assert str(change) == "reboot (5 min after the run, if Azure has accepted Ready by then)"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("failed", "", report=ReportResult("NotReady", accepted=True)),
        Outcome("failed", ""),
        Outcome("provisioned", "", report=ReportResult("Ready", accepted=False)),
        Outcome("provisioned", "", steps=(StepResult("report_ready", "failed", required=True),)),
    ],
)
def test_it_is_refused_until_azure_has_accepted_ready(host: Callable[..., Context], outcome: Outcome) -> None:
    ctx = host(outcome)
    with pytest.raises(HandlerError, match="reboot refused: "):
        apply(ctx, options())
    assert len(ctx.system.journal) == 0


@pytest.mark.parametrize("values", [{}, {"condition": "exit 0"}])
def test_in_a_foreign_root_it_is_skipped(
    context: Callable[..., Context], notes: list[str], values: dict[str, Any]
) -> None:
    ctx = context()
    with pytest.raises(SkippedError, match="running system"):
        apply(ctx, options(**values))
    assert notes == []
    assert len(ctx.system.journal) == 0


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"mode": "suspend"}, "mode"),
        ({"delay": "soon"}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": "+"}, "delay"),
        ({"delay": 999999}, "delay"),
        ({"delay": "99999999999999999999"}, "delay"),
        ({"delay": "٣"}, "delay"),
        ({"delay": True}, "delay"),
        ({"message": "two\nlines"}, "message"),
        ({"message": "--help"}, "message"),
        ({"condition": ""}, "condition"),
        ({"condition": []}, "condition"),
        ({"condition": "a\0b"}, "condition"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_invalid_options_are_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        options(**values)
