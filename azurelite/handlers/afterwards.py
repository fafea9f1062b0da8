"""What may only happen once Azure knows that the VM is ready: the question that such handlers ask."""

from __future__ import annotations

from typing import Optional

from azurelite.handlers import REPORT_READY, Context


def too_early(ctx: Context) -> Optional[str]:
    """Why it is too early for what ends or undoes the run; None when it is not.

    Where the configuration lists no `report_ready`, somebody else reports, and nothing is waited for.
    """
    if ctx.outcome.outcome == "failed":
        return "provisioning has failed"
    report = ctx.outcome.report
    if report is not None:
        return None if report.accepted and report.state == "Ready" else "Azure has not accepted Ready"
    if not any(entry.name == REPORT_READY for entry in ctx.config.handlers):
        return None
    # In a dry run, or when Ready was accepted in an earlier run, its step is behind us and there is no report.
    if any(step.name == REPORT_READY and step.status != "failed" for step in ctx.outcome.steps):
        return None
    return f"Azure does not know yet that the VM is ready: move it behind `{REPORT_READY}`"
