"""Telemetry events for WireServer: only where the configuration asks for them, and never in the way of anything."""

from __future__ import annotations

from typing import Any

import pytest
from kit import FastClock, Guest

from azurelite.fabric.telemetry import SIZE_LIMIT, StepEvent, telemetry_document
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.simulator.telemetry import read_telemetry

HANDLERS = ["hostname", "user", "ssh_keys", "report_ready"]


def run(guest: Guest, fabric: Simulator, **sections: Any) -> Outcome:
    no_disc = {"media": {"device": "none"}}
    guest.on_azure().configure(fabric, handlers=HANDLERS, datasource=no_disc, **sections)
    return provision(Options(root=guest.root, clock=FastClock()))


def scenario(*faults: Fault, **vm: Any) -> Simulator:
    return Simulator(Scenario(Scenario.default().vm.changed(vm, where="test"), faults))


@pytest.mark.parametrize("sections", [{}, {"report": {}}, {"report": {"telemetry": False}}])
def test_nothing_is_sent_unless_it_is_asked_for(guest: Guest, sections: dict[str, Any]) -> None:
    with scenario() as fabric:
        assert run(guest, fabric, **sections).outcome == "provisioned"
    assert "telemetry" not in [request.endpoint for request in fabric.requests]


def test_one_request_after_ready_has_every_step(guest: Guest) -> None:
    with scenario(password="canary-5f2a") as fabric:
        assert run(guest, fabric, report={"telemetry": True}).outcome == "provisioned"
    assert [request.endpoint for request in fabric.requests][-2:] == ["health", "telemetry"]
    assert [event["Operation"] for event in fabric.telemetry] == HANDLERS
    assert {event["OperationSuccess"] for event in fabric.telemetry} == {"True"}
    assert b"canary" not in fabric.requests[-1].body


def test_a_later_boot_sends_none(guest: Guest) -> None:
    with scenario() as fabric:
        later = {"write_files": {"files": [], "frequency": "boot"}}
        no_disc = {"media": {"device": "none"}}
        guest.on_azure().configure(fabric, handlers=[*HANDLERS, later], datasource=no_disc, report={"telemetry": True})
        for _ in range(2):
            provision(Options(root=guest.root, clock=FastClock()))
    assert [request.endpoint for request in fabric.requests].count("telemetry") == 1


def test_a_failure_is_an_event_too(guest: Guest) -> None:
    with scenario(username="daemon") as fabric:
        run(guest, fabric, report={"telemetry": True})
    event = next(one for one in fabric.telemetry if one["Operation"] == "user")
    assert event["OperationSuccess"] == "False"
    assert event["Message"].startswith("the user name 'daemon' is refused")


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"drop": True}], ids=str)
def test_where_azure_does_not_take_it_the_vm_is_ready_all_the_same(guest: Guest, fault: dict[str, Any]) -> None:
    with scenario(Fault(endpoint="telemetry", **fault)) as fabric:
        assert run(guest, fabric, report={"telemetry": True}).outcome == "provisioned"
    assert [request.endpoint for request in fabric.requests].count("telemetry") == 1
    assert fabric.telemetry == []


@pytest.mark.parametrize("text", ["]]>", "<a/>&amp;\"'", "ä\x00\n\x1b", "𝄞" * 2000, ""])
def test_no_text_breaks_the_document(text: str) -> None:
    (event,) = read_telemetry(telemetry_document([StepEvent("x", True, 3, text)]))
    assert event["Message"] == "".join(one if one.isprintable() else " " for one in text)[:1000]
    assert event["Duration"] == "3"


def test_many_events_are_cut_to_one_request() -> None:
    document = telemetry_document([StepEvent("x", True, 3, "&" * 1000)] * 100)
    assert len(document) <= SIZE_LIMIT
    assert 5 < len(read_telemetry(document)) < 100


BAD = [
    b"",
    b"<TelemetryData/>",
    b'<TelemetryData version="1.0"/>',
    b'<TelemetryData version="1.0"><Provider id="x"/></TelemetryData>',
    b'<!DOCTYPE x><TelemetryData version="1.0"/>',
    telemetry_document([StepEvent("x", True, 1, "")]).replace(b'"True"', b'"yes"'),
    telemetry_document([StepEvent("x", True, 1, "")]).replace(b"mt:wstr", b"mt:text"),
    telemetry_document([StepEvent("x", True, 1, "")]).replace(b"Operation", b"Name", 1),
]


@pytest.mark.parametrize("document", BAD, ids=range(len(BAD)))
def test_the_simulator_refuses_what_is_not_such_a_document(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"\."):
        read_telemetry(document)
