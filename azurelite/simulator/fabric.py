"""The fabric's mind: routing, the state that moves, and the record of all that was asked.

Knows which endpoint a request is for, which incarnation and container are current, and in which order faults and true
answers apply. Refuses to know sockets, and threads beyond its one lock.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import Callable

from azurelite.simulator import faults, goalstate, health, imds, wireserver
from azurelite.simulator.message import Answer, Ask, json_answer
from azurelite.simulator.record import Report, Request
from azurelite.simulator.scenario import Fault, Scenario

_COMP_ENDPOINTS = {
    ("/", "versions"): "versions",
    ("/machine", "goalstate"): "goal_state",
    ("/machine/", "goalstate"): "goal_state",
    ("/machine", "health"): "health",
    ("/machine/", "health"): "health",
}


def endpoint_of(ask: Ask) -> str:
    """The endpoint's name, as records and faults use it; `unknown` for everything that Azure would not route."""
    if ask.path.rstrip("/") == "/metadata/versions":
        return "imds_versions"
    if ask.path == imds.ROOT or ask.path.startswith(f"{imds.ROOT}/"):
        return "imds"
    return _COMP_ENDPOINTS.get((ask.path, dict(ask.query).get("comp", "")), "unknown")


@dataclass(frozen=True)
class Verdict:
    """What to put on the wire. `answer` None: nothing, the connection is dropped."""

    answer: Answer | None
    fault: Fault | None


class Fabric:
    """One fabric and its VM. Every method may be called from any thread."""

    def __init__(self, scenario: Scenario, *, rate_limit: int | None, note: Callable[[Request], None]) -> None:
        """`note` is called with each request, in order, while the state is locked."""
        self._vm = scenario.vm
        self._plan = faults.FaultPlan(scenario.faults)
        self._rate = imds.RateLimit(rate_limit)
        self._note = note
        self._lock = threading.RLock()
        self._incarnation = scenario.vm.incarnation
        self._container_id = scenario.vm.container_id
        self._requests: list[Request] = []
        self._reports: list[Report] = []

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    @property
    def reports(self) -> list[Report]:
        with self._lock:
            return list(self._reports)

    def move_incarnation(self) -> None:
        with self._lock:
            self._incarnation += 1

    def move_container(self) -> None:
        with self._lock:
            # Derived, not drawn: a scenario must run the same way twice.
            self._container_id = str(uuid.uuid5(uuid.NAMESPACE_OID, self._container_id))

    def decide(self, ask: Ask, *, at: Callable[[], float], refusal: Answer | None = None) -> Verdict:
        """Decides and records one request; `at` tells the seconds since the start. `refusal`: HTTP itself says no.

        Recording comes before sending: whoever has an answer in hand finds its request in the record. For the same
        reason a fault's `move` happens here, where no later request can come in between.
        """
        endpoint = endpoint_of(ask)
        with self._lock:
            now = at()
            fault = self._plan.next(endpoint) if refusal is None else None
            answer = refusal or self._answer(ask, endpoint, fault=fault, now=now)
            status = None if answer is None else answer.status
            request = Request(
                number=len(self._requests) + 1,
                at=now,
                endpoint=endpoint,
                method=ask.method,
                target=ask.target,
                headers=dict(ask.headers),
                body=ask.body,
                status=status,
                fault=fault is not None,
            )
            self._requests.append(request)
            self._note(request)
            if fault is not None and fault.move is not None:
                (self.move_incarnation if fault.move == "incarnation" else self.move_container)()
        return Verdict(answer, fault)

    def _answer(self, ask: Ask, endpoint: str, *, fault: Fault | None, now: float) -> Answer | None:
        told: health.Health | None = None
        answer: Answer | None = None
        replaced = fault is not None and fault.replaces
        if endpoint == "health":
            answer, told = health.judge(ask, self._vm, incarnation=self._incarnation, container_id=self._container_id)
        elif not replaced:
            answer = self._truth(ask, endpoint, now=now)
        if fault is not None:
            answer = faults.disguise(answer, fault, endpoint=endpoint)
        if told is not None:
            # A report that met a made-up answer never reached the fabric, whatever status the client saw.
            self._reports.append(_report(told, answer, judged=not replaced))
        return answer

    def _truth(self, ask: Ask, endpoint: str, *, now: float) -> Answer:
        """The fabric's own answer. Only requests that come this far count towards IMDS's rate: made-up ones do not."""
        if endpoint in ("imds", "imds_versions"):
            if not self._rate.admits(now):
                return imds.throttled()
            answer = imds.answer_instance if endpoint == "imds" else imds.answer_versions
            return answer(ask, self._vm)
        if endpoint == "versions":
            return wireserver.answer_versions(ask)
        if endpoint == "goal_state":
            return goalstate.answer_goal_state(
                ask,
                incarnation=self._incarnation,
                container_id=self._container_id,
                instance_id=self._vm.instance_id,
            )
        if ask.path.startswith("/metadata"):
            return json_answer(404, {"error": "Not found"})
        return wireserver.error_answer(404, "ResourceNotFound", "There is no such resource.")


def _report(told: health.Health, answer: Answer | None, *, judged: bool) -> Report:
    status = 0 if answer is None else answer.status
    return Report(
        state=told.state,
        substatus=told.substatus,
        description=told.description,
        incarnation=told.incarnation,
        container_id=told.container_id,
        instance_id=told.instance_id,
        accepted=judged and status == 200,
        status=status,
    )
