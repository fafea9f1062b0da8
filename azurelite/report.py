"""From an outcome to the text that Azure is told: one record of fields, as its troubleshooting page reads them.

Pure. The same text goes into the health report's description and the KVP record.
"""

from __future__ import annotations

import csv
import io
from typing import Optional, Sequence

from azurelite.clock import iso_utc
from azurelite.errors import AzureliteError
from azurelite.outcome import StepResult
from azurelite.version import VERSION

DOCUMENTATION = "https://aka.ms/linuxprovisioningerror"
_LIMIT = 512  # characters that surely fit WireServer's 4096 bytes after escaping
_LONGEST_REASON = 200  # characters
_LONGEST_VALUE = 120  # characters of one supporting value


def success_text(*, vm_id: Optional[str], now: float) -> str:
    """The record of a success."""
    return _record(["result=success", f"agent={_agent()}", f"timestamp={iso_utc(now)}", f"vm_id={vm_id}"])


def failure_text(error: AzureliteError, *, vm_id: Optional[str], now: float, step: Optional[str] = None) -> str:
    """The record of a failure.

    Args:
        error: gives the reason and the supporting data.
        vm_id: the VM.
        now: seconds since 1970.
        step: the handler that failed.

    Returns:
        At most 512 characters. Supporting data gives way first, so that reason, VM id, time and link stay.
    """
    reason = error.reason[:_LONGEST_REASON]
    tail = [f"vm_id={vm_id}", f"timestamp={iso_utc(now)}", f"documentation_url={DOCUMENTATION}"]
    data = [f"step={step}"] if step else []
    data += [f"{key}={value[:_LONGEST_VALUE]}" for key, value in error.data.items()]
    if error.message != error.reason:
        data.append(f"message={error.message}")
    while True:
        text = _record(["result=error", f"reason={reason}", f"agent={_agent()}", *data, *tail])
        over = len(text) - _LIMIT
        if over <= 0:
            return text
        if not data and not reason:
            return text[:_LIMIT]
        if not data:
            reason = reason[: -max(1, over // 2)]  # half: quoting may have doubled each character
            continue
        data[-1] = data[-1][: max(0, len(data[-1]) - over)]
        if len(data[-1]) < len("message=") + 8:
            data.pop()


def deciding_failure(steps: Sequence[StepResult]) -> Optional[StepResult]:
    """The step whose failure makes the whole a failure: the first required one."""
    return next((step for step in steps if step.required and step.status == "failed"), None)


def _agent() -> str:
    return f"azurelite/{VERSION}"


def _record(fields: Sequence[str]) -> str:
    flat = ["".join(character if character.isprintable() else " " for character in field) for field in fields]
    text = io.StringIO()
    csv.writer(text, delimiter="|", quotechar="'", lineterminator="").writerow(flat)
    return text.getvalue()
