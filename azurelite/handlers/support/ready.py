"""What may only happen once Azure knows that the VM is ready: the questions that such handlers ask."""

from __future__ import annotations

from typing import Optional

from azurelite.handlers import REPORT_READY, Context
from azurelite.state import marker


def reported(ctx: Context) -> bool:
    """Azure has accepted Ready for this VM in a run that has ended, by what the disk says at this moment."""
    vm_id = ctx.metadata.vm_id
    return vm_id is not None and marker.reported(ctx.system.root, vm_id)


def ahead(ctx: Context) -> bool:
    """Nothing has failed, and telling Azure is still to come: it is listed, and neither done now nor earlier."""
    had_its_turn = ctx.outcome.report is not None or any(step.name == REPORT_READY for step in ctx.outcome.steps)
    listed = any(entry.name == REPORT_READY for entry in ctx.config.handlers)
    return ctx.outcome.outcome != "failed" and listed and not had_its_turn and not reported(ctx)


def too_early(ctx: Context) -> Optional[str]:
    """Why it is too early for what ends or undoes the run; None when it is not.

    Where the configuration lists no `report_ready`, somebody else reports, and nothing is waited for. In a dry run, or
    when Ready was accepted in an earlier run, its step may be behind us with no report.
    """
    if ctx.outcome.outcome == "failed":
        return "provisioning has failed"
    report = ctx.outcome.report
    refused = report is not None and not (report.accepted and report.state == "Ready")
    if refused or any(step.name == REPORT_READY and step.status == "failed" for step in ctx.outcome.steps):
        return "Azure has not accepted Ready"
    return f"Azure does not know yet that the VM is ready: move it behind `{REPORT_READY}`" if ahead(ctx) else None
