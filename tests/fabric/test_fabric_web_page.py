"""An answer of 200 that is a web page is not Azure's acceptance; an empty or unknown one is."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from kit import FastClock

from azurelite.errors import FabricError
from azurelite.fabric.client import Fabric
from azurelite.fabric.health import READY
from azurelite.fabric.settings import WireServerSettings
from azurelite.simulator import Scenario, Simulator

BOTH = {"vm": {"dialects": ["xml", "json"]}}


def requests_of(fault: dict[str, Any], *, dialect: Any, seconds: float = 20) -> list[str]:
    """Report Ready to a fabric with that fault: the endpoints that were asked."""
    endpoint = "health_json" if dialect == "json" else "health"
    scenario = Scenario.from_dict({**BOTH, "faults": [{"endpoint": endpoint, "status": 200, **fault}]})
    with Simulator(scenario, rate_limit=None) as simulator:
        settings = WireServerSettings(simulator.url, dialect=dialect)
        with Fabric(seconds, wireserver=settings, clock=FastClock()) as fabric:
            fabric.wireserver.send(READY, fabric.deadline)
    return [request.endpoint for request in simulator.requests if request.endpoint != "goal_state"]


PAGES: list[tuple[Optional[str], str]] = [
    ("text/html", "Please log in"),
    ("text/html; charset=utf-8", "<p>Please log in</p>"),
    ("TEXT/HTML", "x"),
    ("application/xhtml+xml", "<x/>"),
    ("text/xml", "<!doctype html><title>x</title>"),
    ("text/plain", "<!DOCTYPE HTML PUBLIC '-//IETF//DTD HTML 2.0//EN'>"),
    (None, "<html>"),
    (None, "<HTML lang=en>"),
    (None, "\ufeff \r\n<html\n>"),
    (None, "<?xml version='1.0'?>\n<!DOCTYPE html>"),
    (None, "<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>"),
    (None, "<!-- saved from a gateway -->\n<html>"),
]
ACCEPTED: list[tuple[Optional[str], str]] = [
    (None, ""),
    ("text/html", ""),
    ("text/html", " \r\n"),
    ("text/plain", "OK"),
    ("application/octet-stream", "\0"),
    ("application/json", "{}"),
    ("text/xml", "<Health/>"),
    ("text/xml", "<?xml version='1.0'?><Accepted>see &lt;html></Accepted>"),
    ("text/xml", "<htmlish/>"),
    (None, "<!-- never closed"),
    (None, "<?"),
]


def fault(kind: Optional[str], body: str, **more: Any) -> dict[str, Any]:
    return {"body": body, **({"headers": {"Content-Type": kind}} if kind is not None else {}), **more}


@pytest.mark.parametrize("dialect", ["xml", "json", "auto"])
@pytest.mark.parametrize(("kind", "body"), PAGES)
def test_a_web_page_is_not_an_acceptance(kind: Optional[str], body: str, dialect: str) -> None:
    with pytest.raises(FabricError, match="web page") as caught:
        requests_of(fault(kind, body), dialect=dialect)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("dialect", ["xml", "json", "auto"])
def test_after_a_web_page_the_report_is_sent_again(dialect: str) -> None:
    endpoint = "health_json" if dialect == "json" else "health"
    assert requests_of(fault("text/html", "starting", requests="1-3"), dialect=dialect) == [endpoint] * 4


@pytest.mark.parametrize("dialect", ["xml", "json", "auto"])
@pytest.mark.parametrize(("kind", "body"), ACCEPTED)
def test_an_empty_or_unknown_answer_is_an_acceptance(kind: Optional[str], body: str, dialect: str) -> None:
    assert len(requests_of(fault(kind, body), dialect=dialect)) == 1
