"""The status of a run as other programs read it: `status.json`, for everybody.

It has outcome, names of steps, reasons, remedies and counts; neither changes nor names that come from user data.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from azurelite import layout
from azurelite.errors import AzureliteError
from azurelite.outcome import Outcome, StepResult, deciding_failure

FORMAT = 1
UNFINISHED = ("running", "waiting", "background")
FAILED = ("failed", "unreachable")
STATES = (*UNFINISHED, "done", "degraded", *FAILED, "disabled", "not azure")
NEVER_RAN = "never ran"  # in this boot: there is no status, or one of an earlier boot
# What `azurelite status` ends with: the code, the states, and what they mean.
EXIT_CODES: tuple[tuple[int, tuple[str, ...], str], ...] = (
    (0, ("done", "degraded", "background", "disabled", "not azure"),
     "done, degraded (an optional step failed), in the background, disabled, not Azure"),
    (1, ("failed",), "failed, or ended without a result"),
    (3, ("unreachable",), "Azure was not reached"),
    (4, ("running", "waiting", NEVER_RAN),
     "no outcome yet: has not run in this boot, running, waiting, or the time of --wait is over"),
)  # fmt: skip
FAILURE_KEYS = ("boot_id", "updated", "state", "step", "reason", "remedy")

_STATE_OF = {"provisioned": "done", "already provisioned": "done", "applied": "done", "nothing to do": "done"}
_PRIVATE = ("user_data", "custom_data")  # steps whose messages may quote names from user data
_HIDDEN = "a part of it failed"
_SEE = "Read the details with `sudo azurelite status --long`."
_LONGEST = 2000  # characters of one text


def blank(state: str, *, boot_id: Optional[str], updated: str, pid: int) -> dict[str, Any]:
    """A status with all keys, without a result."""
    return {
        "format": FORMAT,
        "boot_id": boot_id,
        "state": state,
        "step": None,
        "reason": None,
        "remedy": None,
        "updated": updated,
        "pid": pid,
        "outcome": None,
        "vm_id": None,
        "seconds": 0.0,
        "report": None,
        "steps": [],
        "requests": 0,
        "log": layout.LOG,
        "outputs": [],
        "last_failure": None,
    }


def exit_code(state: str) -> int:
    """What `azurelite status` ends with in this state."""
    return next(code for code, states, _ in EXIT_CODES if state in states)


def public_step(result: StepResult) -> dict[str, Any]:
    """One row of `steps`."""
    return {
        "name": result.name,
        "status": result.status,
        "required": result.required,
        "started": round(result.started, 4),
        "seconds": round(result.seconds, 4),
        "changes": len(result.changes),
        "reason": _public(result.name, result.reason),
        "error": _public(result.name, result.error.message if result.error else None),
        "remedy": _remedy(result.name, result.error),
    }


def conclusion(outcome: Outcome) -> dict[str, Any]:
    """What a finished run changes in the status: all but the keys that the writer knows."""
    state = _STATE_OF.get(outcome.outcome, outcome.outcome)
    failure = deciding_failure(outcome.steps) if state in FAILED else _first_failed(outcome.steps)
    reason: Optional[str] = outcome.reason
    remedy = outcome.error.remedy if outcome.error is not None else None
    if failure is not None and (state == "done" or failure.error is outcome.error):
        state = "degraded" if state == "done" else state
        text = _public(failure.name, failure.error.message if failure.error else None)
        reason = f"{failure.name}: {text}" if text else f"{failure.name} failed"
        remedy = _remedy(failure.name, failure.error)
    else:
        failure = None
    report = outcome.report.as_dict() if outcome.report is not None else None
    if report is not None and failure is not None and is_private(failure.name):
        report["description"] = None
    return {
        "state": state,
        "step": failure.name if failure is not None else None,
        "reason": _short(reason),
        "remedy": remedy,
        "outcome": outcome.outcome,
        "vm_id": outcome.vm_id,
        "seconds": round(outcome.seconds, 4),
        "report": report,
        "steps": [public_step(step) for step in outcome.steps],
        "requests": len(outcome.exchanges),
    }


def is_private(name: str) -> bool:
    """Whether the messages of a step may quote user data."""
    return name.startswith(_PRIVATE)


def failure_of(status: dict[str, Any]) -> dict[str, Any]:
    """The part of a failed run's status that later boots tell."""
    return {key: status.get(key) for key in FAILURE_KEYS}


def _first_failed(steps: Sequence[StepResult]) -> Optional[StepResult]:
    return next((step for step in steps if step.status == "failed"), None)


def _public(name: str, text: Optional[str]) -> Optional[str]:
    if text is None:
        return None
    return _HIDDEN if is_private(name) else _short(text)


def _remedy(name: str, error: Optional[AzureliteError]) -> Optional[str]:
    if error is None:
        return None
    return _SEE if is_private(name) else error.remedy


def _short(text: Optional[str]) -> Optional[str]:
    return text if text is None or len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
