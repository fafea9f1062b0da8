"""The state of the fabric, and the record of all requests.

This module knows which module answers an endpoint, the current VM, incarnation and container, and the order in which
faults and true answers apply. It knows no sockets, and only one lock.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

from azurelite.simulator import (
    certificates,
    faults,
    goalstate,
    health,
    imds,
    telemetry,
)
from azurelite.simulator.keyring import Certificate, KeyRing
from azurelite.simulator.message import Answer, Ask, json_answer
from azurelite.simulator.ovf import ovf_document
from azurelite.simulator.record import Report, Request
from azurelite.simulator.scenario import Fault, Scenario, Vm

_IMDS = ("imds", "imds_versions", "reprovision_data", "attested")


@dataclass(frozen=True)
class Verdict:
    """The answer to send. `answer` None: send nothing and drop the connection."""

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
        self._ring = KeyRing()
        self._assigned: bytes | None = None
        self._requests: list[Request] = []
        self._reports: list[Report] = []
        self._events: list[dict[str, str]] = []

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    @property
    def reports(self) -> list[Report]:
        with self._lock:
            return list(self._reports)

    @property
    def telemetry(self) -> list[dict[str, str]]:
        with self._lock:
            return list(self._events)

    @property
    def vm(self) -> Vm:
        with self._lock:
            return self._vm

    def ovf(self, *, prefix: str = "wa") -> bytes:
        with self._lock:
            return self._document(self._vm, prefix=prefix)

    @property
    def certificates(self) -> list[Certificate]:
        with self._lock:
            return self._ring.certificates(self._vm.certificate_keys)

    def move_incarnation(self) -> None:
        with self._lock:
            self._vm = replace(self._vm, incarnation=self._vm.incarnation + 1)

    def move_container(self) -> None:
        with self._lock:
            # Derived, not random: a scenario must run the same way every time.
            moved = uuid.uuid5(uuid.NAMESPACE_OID, self._vm.container_id)
            self._vm = replace(self._vm, container_id=str(moved))

    def assign(self, changes: Mapping[str, Any]) -> None:
        with self._lock:
            pool_marks = {
                "pps_type": "None",
                "preprovisioned_vm": False,
                "preprovisioned_type": None,
                "ovf_text": None,
            }
            moved = {"incarnation": self._vm.incarnation + 1}
            vm = self._vm.changed({**pool_marks, **moved, **changes}, where="assign")
            self._assigned = self._document(vm)
            self._vm = vm

    def decide(self, ask: Ask, *, at: Callable[[], float], refusal: Answer | None = None) -> Verdict:
        """Decide on and record one request. `at` returns the seconds since the start; `refusal` is an HTTP error.

        The request is recorded before the answer is sent, so that a client with an answer finds its request recorded.
        A fault's `move` happens here, too, so that no other request comes in between.
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
        if endpoint == "health" and "xml" in self._vm.dialects:
            answer, told = health.judge(ask, self._vm)
        elif endpoint == "health_json" and "json" in self._vm.dialects:
            answer, told = health.judge_json(ask)
        elif not replaced:
            answer = self._truth(ask, endpoint, now=now)
        if fault is not None:
            answer = faults.disguise(answer, fault, endpoint=endpoint)
        if told is not None:
            # A report answered by a fault never reached the fabric, whatever status the client saw.
            self._reports.append(_report(told, answer, judged=not replaced))
        return answer

    def _document(self, vm: Vm, *, prefix: str = "wa") -> bytes:
        named = vm.ovf_keys == "fingerprint" and vm.ovf_text is None
        known = self._ring.certificates(vm.certificate_keys) if named else []
        return ovf_document(vm, prefix=prefix, thumbprints=[certificate.thumbprint for certificate in known])

    def _truth(self, ask: Ask, endpoint: str, *, now: float) -> Answer:
        """The fabric's own answer. Only these requests count towards IMDS's rate limit; faults do not."""
        vm = self._vm
        if endpoint in _IMDS and not self._rate.admits(now):
            return imds.throttled()
        answers: dict[str, Callable[[], Answer]] = {
            "imds": lambda: imds.answer_instance(ask, vm),
            "imds_versions": lambda: imds.answer_versions(ask, vm),
            "attested": lambda: imds.answer_attested(ask, vm),
            "reprovision_data": lambda: imds.answer_reprovision_data(ask, vm, document=self._assigned),
            "versions": lambda: goalstate.answer_versions(ask, vm),
            "goal_state": lambda: goalstate.answer_goal_state(ask, vm),
            "certificates": lambda: certificates.answer_certificates(ask, vm, self._ring),
            "telemetry": lambda: telemetry.answer_telemetry(ask, vm, record=self._events.append),
        }
        if endpoint in answers:
            return answers[endpoint]()
        if ask.path.startswith("/metadata"):
            return json_answer(404, {"error": "Not found"})
        return goalstate.error_answer(404, "ResourceNotFound", "There is no such resource.")


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


REPROVISION_PATH = "/metadata/reprovisiondata"

_PATHS = {
    "/metadata/versions": "imds_versions",
    "/metadata/versions/": "imds_versions",
    REPROVISION_PATH: "reprovision_data",
    imds.ATTESTED: "attested",
    health.JSON_PATH: "health_json",
}
_COMP_ENDPOINTS = {
    ("/", "versions"): "versions",
    ("/machine", "goalstate"): "goal_state",
    ("/machine/", "goalstate"): "goal_state",
    ("/machine", "health"): "health",
    ("/machine/", "health"): "health",
    ("/machine", "telemetrydata"): "telemetry",
}


def endpoint_of(ask: Ask) -> str:
    """The endpoint's name, as records and faults use it; `unknown` for a path that Azure does not have."""
    if ask.path in _PATHS:
        return _PATHS[ask.path]
    if ask.path == imds.ROOT or ask.path.startswith(f"{imds.ROOT}/"):
        return "imds"
    comp = dict(ask.query).get("comp", "")
    if comp == "certificates" and re.fullmatch("/machine/[^/]+/[^/]+", ask.path):
        return "certificates"
    return _COMP_ENDPOINTS.get((ask.path, comp), "unknown")
