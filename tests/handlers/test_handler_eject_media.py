"""`eject_media`: when the disc is ejected. The system call itself is tested with the whole run."""

from __future__ import annotations

from typing import Any, Callable, Optional

import pytest
from kit import FastClock

from azurelite.config.load import Config, HandlerEntry
from azurelite.errors import HandlerError, MachineError
from azurelite.handlers import Context
from azurelite.handlers.eject_media import Options, apply
from azurelite.outcome import Outcome, ReportResult, StepResult
from azurelite.record import replace
from azurelite.system.machine import System

READY = ReportResult("Ready", accepted=True)
LISTED = Config(handlers=(HandlerEntry("report_ready"), HandlerEntry("eject_media")))
SILENT = Config(handlers=(HandlerEntry("eject_media"),))
STEP = StepResult("report_ready", "done", required=True)


@pytest.fixture
def host(context: Callable[..., Context]) -> Callable[..., Context]:
    """A context on this machine's own root, by default a dry run."""

    def make(
        outcome: Outcome, *, config: Config = LISTED, dry_run: bool = True, device: Optional[str] = "/dev/no-drive"
    ) -> Context:
        system = System("/", dry_run=dry_run, clock=FastClock())
        return replace(context(), system=system, outcome=outcome, media_device=device, config=config)

    return make


@pytest.mark.parametrize(
    ("outcome", "config"),
    [
        (Outcome("provisioned", "", report=READY, steps=(STEP,)), LISTED),
        # Accepted in an earlier run, or a dry run: the step has run.
        (Outcome("provisioned", "", steps=(STEP,)), LISTED),
        (Outcome("provisioned", "", steps=(replace(STEP, status="skipped"),)), LISTED),
        (Outcome("provisioned", ""), SILENT),
    ],
)
def test_after_ready_the_disc_is_ejected(host: Callable[..., Context], outcome: Outcome, config: Config) -> None:
    ctx = host(outcome, config=config)
    apply(ctx, Options())
    assert [str(change) for change in ctx.system.journal.since(0)] == ["eject /dev/no-drive"]


@pytest.mark.parametrize(
    ("outcome", "match"),
    [
        (Outcome("provisioned", ""), "move the entry after `report_ready`"),
        (Outcome("provisioned", "", steps=(replace(STEP, status="failed"),)), "has not accepted Ready"),
        (Outcome("provisioned", "", report=ReportResult("Ready", accepted=False)), "has not accepted Ready"),
        (Outcome("provisioned", "", report=ReportResult("NotReady", accepted=True)), "has not accepted Ready"),
        (Outcome("failed", "", report=ReportResult("NotReady", accepted=True)), "provisioning has failed"),
    ],
)
def test_before_ready_the_disc_is_not_ejected(host: Callable[..., Context], outcome: Outcome, match: str) -> None:
    ctx = host(outcome)
    with pytest.raises(HandlerError, match=match):
        apply(ctx, Options())
    assert len(ctx.system.journal) == 0


def test_without_a_disc_or_in_a_foreign_root_there_is_nothing_to_do(
    host: Callable[..., Context], context: Callable[..., Context], notes: list[str]
) -> None:
    foreign: Any = replace(context(), media_device="/dev/no-drive")
    for ctx in (host(Outcome("provisioned", ""), device=None), foreign):
        apply(ctx, Options())
        assert len(ctx.system.journal) == 0
    assert notes == []


def test_a_missing_drive_is_an_error(host: Callable[..., Context]) -> None:
    with pytest.raises(MachineError, match="cannot eject /dev/no-drive: No such file"):
        apply(host(Outcome("provisioned", "", report=READY), dry_run=False), Options())
