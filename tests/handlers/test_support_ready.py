"""When it is late enough for what ends or undoes the run: Azure has accepted Ready, now or in an earlier run."""

from __future__ import annotations

from typing import Callable, Optional

import pytest
from kit import VM_ID, Guest

from azurelite.config.load import Config, HandlerEntry
from azurelite.handlers import Context
from azurelite.handlers.support.ready import ahead, reported, too_early
from azurelite.outcome import Outcome, ReportResult, StepResult
from azurelite.record import replace
from azurelite.state import marker

LISTED = Config(handlers=(HandlerEntry("power_state"), HandlerEntry("report_ready")))
NOTHING_YET = Outcome("provisioned", "")
READY = ReportResult("Ready", accepted=True)


@pytest.mark.parametrize(
    ("text", "outcome", "is_ahead", "early"),
    [
        (None, NOTHING_YET, True, "move it behind"),
        ("unreported\n", NOTHING_YET, True, "move it behind"),
        ("\n", NOTHING_YET, False, None),  # `azurelite apply` on a VM that is provisioned
        ("\n", Outcome("failed", ""), False, "provisioning has failed"),
        (None, Outcome("failed", ""), False, "provisioning has failed"),
        (None, Outcome("provisioned", "", report=READY), False, None),
        (None, Outcome("provisioned", "", report=replace(READY, accepted=False)), False, "not accepted"),
        (None, Outcome("provisioned", "", steps=(StepResult("report_ready", "done", required=True),)), False, None),
        (None, Outcome("provisioned", "", steps=(StepResult("report_ready", "failed", required=True),)), False, "not"),
    ],
)  # fmt: skip
def test_what_counts_as_ready(
    guest: Guest,
    context: Callable[..., Context],
    text: Optional[str],
    outcome: Outcome,
    is_ahead: bool,
    early: Optional[str],
) -> None:
    if text is not None:
        guest.put({marker.marker_path(VM_ID).lstrip("/"): text})
    ctx = replace(context(vm_id=VM_ID), outcome=outcome, config=LISTED)
    assert reported(ctx) == (text == "\n")
    assert ahead(ctx) == is_ahead
    assert (early is None) == (too_early(ctx) is None)
    assert early is None or early in str(too_early(ctx))


def test_where_nobody_reports_nothing_is_waited_for(context: Callable[..., Context]) -> None:
    ctx = replace(context(), outcome=NOTHING_YET, config=Config(handlers=()))
    assert (ahead(ctx), too_early(ctx)) == (False, None)
