"""The JSON dialect of health reports, and which dialects a host speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from simulator.conftest import Client, HealthXml, Reply, Simulate

from azurelite.simulator import Scenario, Simulator

PATH = "/provisioning/health"
JSON = {"Content-Type": "application/json"}
READY = b'{"state":"Ready"}'


def not_ready(**details: object) -> bytes:
    said = {"subStatus": "ProvisioningFailed", "description": "result=error", **details}
    return json.dumps(
        {"state": "NotReady", "details": {key: said[key] for key in said if said[key] is not ...}}
    ).encode()


def post(client: Client, body: bytes, *, headers: dict[str, str] = JSON, **options: Any) -> Reply:
    return client.ask(PATH, **{"method": "POST", "headers": headers, "body": body, **options})


@pytest.fixture(scope="module")
def fabric() -> Iterator[Client]:
    """A fabric that speaks JSON, shared by the tests that change nothing."""
    with Simulator(Scenario.from_dict({"vm": {"dialects": ["xml", "json"]}})) as sim:
        yield Client(sim)


class TestAccepted:
    @pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/json;x=y"])
    def test_ready(self, fabric: Client, kind: str) -> None:
        reply = post(fabric, b' {"state" : "Ready"}\r\n', headers={"content-type": kind})
        assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", "0")
        assert fabric.sim.requests[-1].endpoint == "health_json"
        report = fabric.sim.reports[-1]
        assert (report.state, report.substatus, report.description) == ("Ready", None, None)
        assert (report.incarnation, report.container_id, report.instance_id) == ("", "", "")
        assert (report.accepted, report.status) == (True, 200)

    @pytest.mark.parametrize("substatus", ["ProvisioningFailed", "Provisioning"])
    @pytest.mark.parametrize("description", ["", "a < b | ü \U0001f600", "x" * 4096, "\u20ac" * 1365])
    def test_not_ready(self, fabric: Client, substatus: str, description: str) -> None:
        assert post(fabric, not_ready(subStatus=substatus, description=description)).status == 200
        report = fabric.sim.reports[-1]
        assert (report.state, report.substatus, report.accepted) == ("NotReady", substatus, True)
        assert report.description == description

    def test_needs_no_goal_state(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"dialects": ["json"]}})
        client.sim.move_incarnation()
        client.sim.move_container()
        assert post(client, READY).status == 200


class TestRefused:
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "PATCH"])
    def test_other_verbs(self, fabric: Client, method: str) -> None:
        before = len(fabric.sim.reports)
        reply = post(fabric, READY, method=method)
        assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        assert len(fabric.sim.reports) == before

    @pytest.mark.parametrize("kind", [None, "", "text/xml; charset=utf-8", "text/json", "application/jsonp"])
    def test_content_type(self, fabric: Client, kind: str | None) -> None:
        reply = post(fabric, READY, headers={} if kind is None else {"Content-Type": kind})
        assert reply.status == 400
        assert "Content-Type" in json.loads(reply.body)["error"]
        assert (fabric.sim.reports[-1].accepted, fabric.sim.reports[-1].status) == (False, 400)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"Ready",
            b'"Ready"',
            b"[]",
            b"null",
            b"{}",
            b'{"state":"Ready"',
            b'{"state":"Ready"}x',
            b'{"state":null}',
            b'{"state":1}',
            b'{"state":["Ready"]}',
            b'{"State":"Ready"}',
            b'{"state":"Ready","more":1}',
            b'{"state":"Ready","state":"Ready"}',
            b'{"state":"Ready","details":{}}',
            b'\xef\xbb\xbf{"state":"Ready"}',
            b'{"state":"Re\xffady"}',
            '{"state":"Ready"}'.encode("utf-16"),
            b"[" * 200_000,
            b'{"state":"NotReady","details":null}',
            b'{"state":"NotReady","details":[]}',
            not_ready(description=None),
            not_ready(description=3),
            not_ready(subStatus={}),
            not_ready(substatus="x"),
            b'{"state":"NotReady","details":{"subStatus":"Provisioning","description":"\\ud800"}}',
        ],
    )
    def test_what_is_no_report(self, fabric: Client, body: bytes) -> None:
        before = len(fabric.sim.reports)
        reply = post(fabric, body)
        assert reply.status == 400
        assert "error" in json.loads(reply.body)
        assert len(fabric.sim.reports) == before

    @pytest.mark.parametrize(
        "body",
        [
            b'{"state":"ready"}',
            b'{"state":""}',
            b'{"state":"NotReady"}',
            b'{"state":"NotReady","details":{}}',
            not_ready(description=...),
            not_ready(subStatus=...),
            not_ready(subStatus="Failed"),
            not_ready(subStatus=""),
            not_ready(description="x" * 4097),
            not_ready(description="\u20ac" * 1366),
        ],
    )
    def test_wording(self, fabric: Client, body: bytes) -> None:
        assert post(fabric, body).status == 400
        assert (fabric.sim.reports[-1].accepted, fabric.sim.reports[-1].status) == (False, 400)


class TestDialects:
    @pytest.mark.parametrize(
        ("dialects", "xml", "in_json"),
        [(["xml", "json"], 200, 200), (["xml"], 200, 404), (["json"], 404, 200), ([], 404, 404)],
    )
    def test_one_that_is_not_spoken_is_not_found(
        self, simulate: Simulate, health_xml: HealthXml, dialects: list[str], xml: int, in_json: int
    ) -> None:
        client = simulate({"vm": {"dialects": dialects}})
        assert client.post_health(health_xml()).status == xml
        assert post(client, READY).status == in_json
        assert [request.endpoint for request in client.sim.requests] == ["health", "health_json"]
        assert len(client.sim.reports) == [xml, in_json].count(200)
        assert client.goal_state().status == 200

    def test_xml_alone_unless_said_otherwise(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate()
        assert (client.post_health(health_xml()).status, post(client, READY).status) == (200, 404)

    @pytest.mark.parametrize("target", [PATH + "/", "/provisioning", "/provisioning/Health"])
    def test_near_misses_are_unknown(self, fabric: Client, target: str) -> None:
        assert fabric.ask(target, method="POST", headers=JSON, body=READY).status == 404
        assert fabric.sim.requests[-1].endpoint == "unknown"

    def test_query_does_not_matter(self, fabric: Client) -> None:
        assert fabric.ask(f"{PATH}?a=b", method="POST", headers=JSON, body=READY).status == 200


class TestFaults:
    def test_made_up_answer(self, simulate: Simulate) -> None:
        client = simulate(
            {"vm": {"dialects": ["json"]}, "faults": [{"endpoint": "health_json", "requests": 1, "status": 500}]}
        )
        first = post(client, READY)
        assert (first.status, first.headers["Content-Type"]) == (500, "application/json; charset=utf-8")
        assert post(client, READY).status == 200
        assert [(report.accepted, report.status) for report in client.sim.reports] == [(False, 500), (True, 200)]
