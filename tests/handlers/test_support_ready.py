"""Whether Azure has accepted Ready, in this run or in an earlier one."""

from __future__ import annotations

from typing import Callable, Optional

import pytest
from kit import VM_ID, Guest

from azurelite.config.load import Config, HandlerEntry
from azurelite.handlers import Context
from azurelite.handlers.support.ready import report_pending, reported, why_wait
from azurelite.outcome import Outcome, ReportResult, StepResult
from azurelite.record import replace
from azurelite.state import marker

LISTED = Config(handlers=(HandlerEntry("power_state"), HandlerEntry("report_ready")))
NOTHING_YET = Outcome("provisioned", "")
READY = ReportResult("Ready", accepted=True)


@pytest.mark.parametrize(
    ("text", "outcome", "pending", "why"),
    [
        (None, NOTHING_YET, True, "move the entry after"),
        ("unreported\n", NOTHING_YET, True, "move the entry after"),
        ("\n", NOTHING_YET, False, None),  # `azurelite apply` on a VM that is provisioned
        ("\n", Outcome("failed", ""), False, "provisioning has failed"),
        (None, Outcome("failed", ""), False, "provisioning has failed"),
        (None, Outcome("provisioned", "", report=READY), False, None),
        (None, Outcome("provisioned", "", report=replace(READY, accepted=False)), False, "not accepted"),
        (None, Outcome("provisioned", "", steps=(StepResult("report_ready", "done", required=True),)), False, None),
        (None, Outcome("provisioned", "", steps=(StepResult("report_ready", "failed", required=True),)), False, "not"),
    ],
)  # fmt: skip
def test_handlers_wait_until_azure_has_accepted_ready(
    guest: Guest,
    context: Callable[..., Context],
    text: Optional[str],
    outcome: Outcome,
    pending: bool,
    why: Optional[str],
) -> None:
    if text is not None:
        guest.put({marker.marker_path(VM_ID).lstrip("/"): text})
    ctx = replace(context(vm_id=VM_ID), outcome=outcome, config=LISTED)
    assert reported(ctx) == (text == "\n")
    assert report_pending(ctx) == pending
    assert (why is None) == (why_wait(ctx) is None)
    assert why is None or why in str(why_wait(ctx))


def test_without_report_ready_in_the_list_handlers_do_not_wait(context: Callable[..., Context]) -> None:
    ctx = replace(context(), outcome=NOTHING_YET, config=Config(handlers=()))
    assert (report_pending(ctx), why_wait(ctx)) == (False, None)
