"""The result of a run: one result per step, and the outcome of the whole."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from azurelite.errors import AzureliteError
from azurelite.fabric.exchange import Exchange
from azurelite.record import Record
from azurelite.system.changes import Change

EXIT_CODES = {
    "provisioned": 0,
    "applied": 0,
    "already provisioned": 0,
    "not azure": 0,
    "disabled": 0,
    "dry run": 0,
    "nothing to do": 0,
    "failed": 1,
    "unreachable": 3,
}


class StepResult(Record):
    """The result of one step.

    Attributes:
        name: the handler.
        status: "done", "skipped" or "failed".
        required: its failure fails the run.
        started: seconds after the fabric was opened.
        seconds: how long it took.
        changes: what it changed, or would change in a dry run.
        reason: why it was skipped.
        error: why it failed.
        notes: warnings.
        again: it was skipped because it could not be done here: a later boot must do it.
    """

    name: str
    status: str
    required: bool
    started: float = 0.0
    seconds: float = 0.0
    changes: tuple[Change, ...] = ()
    reason: Optional[str] = None
    error: Optional[AzureliteError] = None
    notes: tuple[str, ...] = ()
    again: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "status": self.status,
            "required": self.required,
            "started": round(self.started, 4),
            "seconds": round(self.seconds, 4),
            "changes": [str(change) for change in self.changes],
            "reason": self.reason,
            "error": self.error.message if self.error else None,
            "notes": list(self.notes),
        }


class ReportResult(Record):
    """The last report to Azure.

    Attributes:
        state: "Ready" or "NotReady".
        accepted: whether Azure accepted it.
        description: the reason in a report of NotReady.
        error: why Azure did not accept it.
    """

    state: str
    accepted: bool
    description: Optional[str] = None
    error: Optional[str] = None

    @property
    def is_ready(self) -> bool:
        """Whether Azure has accepted Ready."""
        return self.accepted and self.state == "Ready"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


class Outcome(Record):
    """The outcome of a run.

    Attributes:
        outcome: a key of EXIT_CODES.
        reason: one line for people.
        vm_id: the VM.
        seconds: how long the run took.
        report: the last report to Azure; None if there was none.
        steps: in order.
        exchanges: every request that was sent.
        error: the failure that decided the outcome.
        warnings: about the configuration, each with its place.
        brief: the reason, with a short name for a cause that the log already has; None: use `reason`.
    """

    outcome: str
    reason: str
    vm_id: Optional[str] = None
    seconds: float = 0.0
    report: Optional[ReportResult] = None
    steps: tuple[StepResult, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    error: Optional[AzureliteError] = None
    brief: Optional[str] = None
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The exit code of the process that ends with this outcome."""
        return EXIT_CODES[self.outcome]

    def check(self) -> None:
        """Raise if the run failed or Azure was not reached; without an error of its own, an AzureliteError.

        Raises:
            AzureliteError: the failure that decided the outcome.
        """
        if self.exit_code != 0:
            raise self.error or AzureliteError(self.reason or self.outcome)

    raise_for_status = check

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in order."""
        return tuple(change for step in self.steps for change in step.changes)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: what `provision --json` prints."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "vm_id": self.vm_id,
            "seconds": round(self.seconds, 4),
            "report": self.report.as_dict() if self.report else None,
            "warnings": list(self.warnings),
            "steps": [step.as_dict() for step in self.steps],
            "requests": [_rounded(vars(exchange)) for exchange in self.exchanges],
        }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


def deciding_failure(steps: Sequence[StepResult]) -> Optional[StepResult]:
    """The first required step that failed; it fails the run."""
    return next((step for step in steps if step.required and step.status == "failed"), None)
