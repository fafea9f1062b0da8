"""Whether Azure has accepted Ready, for handlers that must wait for it: ejecting the disc, rebooting, disabling."""

from __future__ import annotations

from typing import Optional

from azurelite.handlers import REPORT_READY, Context
from azurelite.state import marker


def reported(ctx: Context) -> bool:
    """Whether Azure has accepted Ready for this VM in a finished run, read from the disk now."""
    vm_id = ctx.metadata.vm_id
    return vm_id is not None and marker.reported(ctx.system.root, vm_id)


def report_pending(ctx: Context) -> bool:
    """Whether `report_ready` is listed and has not run yet, neither in this run nor in an earlier one.

    False if provisioning has failed.
    """
    has_run = ctx.outcome.report is not None or any(step.name == REPORT_READY for step in ctx.outcome.steps)
    listed = any(entry.name == REPORT_READY for entry in ctx.config.handlers)
    return ctx.outcome.outcome != "failed" and listed and not has_run and not reported(ctx)


def why_wait(ctx: Context) -> Optional[str]:
    """Why the handler must not act yet; None if it may.

    Without `report_ready` in the configuration another program reports, so the handler does not wait. In a dry run, or
    if Ready was accepted in an earlier run, the step may have run without a report.
    """
    if ctx.outcome.outcome == "failed":
        return "provisioning has failed"
    report = ctx.outcome.report
    refused = report is not None and not (report.accepted and report.state == "Ready")
    if refused or any(step.name == REPORT_READY and step.status == "failed" for step in ctx.outcome.steps):
        return "Azure has not accepted Ready"
    pending = f"Ready is not reported yet: move the entry after `{REPORT_READY}`"
    return pending if report_pending(ctx) else None
