"""Events: what a run does, told to one function of the caller while it does it.

Nobody listens in most runs, so this module is imported only where somebody does.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Literal, Optional

from azurelite.errors import AzureliteError, place_of
from azurelite.fabric.exchange import Exchange
from azurelite.guard import guard
from azurelite.outcome import StepResult
from azurelite.record import Record
from azurelite.system.changes import Change

LOG = logging.getLogger(__name__)

Kind = Literal["step_begins", "change", "request", "waiting", "step_ends"]


class Event(Record):
    """Something that a run does. As text it is one line. It never holds a secret.

    Attributes:
        kind: "step_begins"; "change": the machine is about to be changed, or would be in a dry run; "request": a
            request to Azure has ended; "waiting": once per wait, which may take a while; "step_ends". Every step of
            the outcome begins and ends, also one that is skipped. `ssh_keys` ends once more where the check of the
            login before Ready adds to its result.
        step: the handler; None outside of the steps.
        text: what is done, for people.
        change: of "change".
        exchange: of "request".
        result: of "step_ends", with all changes of the step.
    """

    kind: Kind
    step: Optional[str]
    text: str
    change: Optional[Change] = None
    exchange: Optional[Exchange] = None
    result: Optional[StepResult] = None

    def __str__(self) -> str:
        return self.text if self.step is None else f"{self.step}: {self.text}"


Listener = Callable[[Event], object]


class Events:
    """Makes the events of one `Azure`, and hands them to its listener, one after the other.

    An error of the listener changes nothing: it is logged, and the listener gets no more events. Nor does it get those
    that it causes itself, by calling azurelite.

    Args:
        listener: the caller's function.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener: Optional[Listener] = listener
        self._telling: Optional[int] = None  # the thread that the listener runs in
        self._step: Optional[str] = None
        self._wait: Optional[str] = None

    def begin(self, step: str) -> None:
        """A step begins."""
        self._step = step
        self._tell("step_begins", "begins")

    def end(self, result: StepResult) -> None:
        """The step has ended, or a later step has changed its result."""
        text = {"skipped": f"skipped: {result.reason}", "failed": f"failed: {result.error}"}
        running = self._step if self._step != result.name else None
        self._step = result.name
        self._tell("step_ends", text.get(result.status, f"done in {result.seconds:.3f} s"), result=result)
        self._step = running

    def change(self, change: Change, *, dry_run: bool) -> None:
        """A change is about to be made."""
        self._tell("change", f"would {change}" if dry_run else str(change), change=change)

    def request(self, exchange: Exchange) -> None:
        """A request has ended."""
        answer = exchange.error or exchange.status
        self._tell("request", f"{exchange.method} {exchange.url}: {answer}", exchange=exchange)

    def wait(self, what: str) -> None:
        """The run waits. The loops that wait call this again and again."""
        if what != self._wait:
            self._tell("waiting", f"waiting: {what}")
            self._wait = what

    def _tell(
        self,
        kind: Kind,
        text: str,
        *,
        change: Optional[Change] = None,
        exchange: Optional[Exchange] = None,
        result: Optional[StepResult] = None,
    ) -> None:
        listener = self._listener
        self._wait = None
        if listener is None or self._telling == threading.get_ident():
            return
        event = Event(kind, self._step, text, change, exchange, result)
        self._telling = threading.get_ident()
        try:
            error = guard(lambda: _call(listener, event))
        finally:
            self._telling = None
        if error is not None:
            self._listener = None
            what = error.data.get("exception", type(error).__name__)
            place = error.data.get("place") or place_of(error.__traceback__)
            LOG.error("on_event: the function raised %s at %s; it gets no more events", what, place)


def _call(listener: Listener, event: Event) -> Optional[AzureliteError]:
    """Call it; what it returns does not matter."""
    listener(event)
    return None
