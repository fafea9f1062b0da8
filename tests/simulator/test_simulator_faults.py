"""Faults: which request meets them, and what they do on the wire."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any
from xml.etree import ElementTree

import pytest
from simulator.conftest import HealthXml, Simulate

HANGUPS = (http.client.BadStatusLine, ConnectionError)
IMDS_GET = (
    b"GET /metadata/instance?api-version=2021-08-01 HTTP/1.1\r\nHost: x\r\nMetadata: true\r\nConnection: close\r\n\r\n"
)


def one(endpoint: str, **fault: object) -> dict[str, Any]:
    return {"faults": [{"endpoint": endpoint, **fault}]}


class TestWhichRequest:
    @pytest.mark.parametrize(
        ("requests", "statuses"),
        [(1, [500, 200, 200]), ("1-2", [500, 500, 200]), ("2-", [200, 500, 500]), (None, [500, 500, 500])],
    )
    def test_counted_from_one(self, simulate: Simulate, requests: object, statuses: list[int]) -> None:
        client = simulate(one("imds", status=500, **({"requests": requests} if requests else {})))
        assert [client.imds().status for _ in range(3)] == statuses
        assert [request.fault for request in client.sim.requests] == [status == 500 for status in statuses]

    def test_counted_per_endpoint(self, simulate: Simulate) -> None:
        client = simulate(one("goal_state", requests=2, status=503))
        statuses = [client.imds().status, client.goal_state().status, client.imds().status, client.goal_state().status]
        assert statuses == [200, 200, 200, 503]

    def test_any_counts_all(self, simulate: Simulate) -> None:
        client = simulate(one("any", requests=2, status=503))
        assert [client.imds().status, client.goal_state().status, client.ask("/else").status] == [200, 503, 404]

    def test_first_in_the_list_wins(self, simulate: Simulate) -> None:
        faults = [{"endpoint": "imds", "requests": 2, "status": 404}, {"endpoint": "any", "status": 500}]
        client = simulate({"faults": faults})
        assert [client.imds().status for _ in range(3)] == [500, 404, 500]

    @pytest.mark.parametrize(
        ("endpoint", "target"),
        [
            ("imds", "/metadata/instance/compute"),
            ("imds_versions", "/metadata/versions"),
            ("versions", "/?comp=versions"),
            ("goal_state", "/machine?comp=goalstate"),
            ("health", "/machine/?comp=health"),
        ],
    )
    def test_every_endpoint_has_its_name(self, simulate: Simulate, endpoint: str, target: str) -> None:
        client = simulate(one(endpoint, status=418))
        assert client.ask(target).status == 418
        assert [(request.endpoint, request.status) for request in client.sim.requests] == [(endpoint, 418)]


class TestAnswers:
    def test_status_headers_body(self, simulate: Simulate) -> None:
        client = simulate(one("imds", status=429, headers={"Retry-After": "2"}, body="later"))
        reply = client.imds()
        assert (reply.status, reply.headers["Retry-After"], reply.text) == (429, "2", "later")

    def test_status_without_a_name(self, simulate: Simulate) -> None:
        assert simulate(one("imds", status=599)).imds().status == 599

    def test_headers_alone_let_the_truth_through(self, simulate: Simulate) -> None:
        reply = simulate(one("imds", headers={"X-Odd": "1", "content-type": "text/html"})).imds()
        assert (reply.status, reply.headers["X-Odd"], reply.headers.get_all("Content-Type")) == (
            200,
            "1",
            ["text/html"],
        )
        assert json.loads(reply.body)["compute"]["name"] == "web-1-resource"

    def test_body_alone_is_a_200(self, simulate: Simulate) -> None:
        reply = simulate(one("imds", body='{"compute": 3}')).imds()
        assert (reply.status, reply.text) == (200, '{"compute": 3}')
        assert reply.headers["Content-Type"].startswith("application/json")

    def test_redirect(self, simulate: Simulate) -> None:
        reply = simulate(one("imds", redirect="http://127.0.0.1:1/elsewhere")).imds()
        assert (reply.status, reply.headers["Location"]) == (302, "http://127.0.0.1:1/elsewhere")

    def test_redirect_of_another_kind(self, simulate: Simulate) -> None:
        assert simulate(one("imds", redirect="http://127.0.0.1:1/", status=307)).imds().status == 307

    @pytest.mark.parametrize("endpoint", ["imds", "goal_state"])
    def test_garbage_is_no_document(self, simulate: Simulate, endpoint: str) -> None:
        client = simulate(one(endpoint, garbage=True))
        reply = client.imds() if endpoint == "imds" else client.goal_state()
        assert reply.status == 200
        with pytest.raises(ValueError, match="utf-8"):
            reply.body.decode()
        with pytest.raises(ElementTree.ParseError):
            ElementTree.fromstring(reply.body)

    def test_delay_alone_lets_the_truth_through(self, simulate: Simulate) -> None:
        client = simulate(one("imds", delay=0.15))
        before = time.monotonic()
        assert client.imds().status == 200
        assert time.monotonic() - before >= 0.15

    def test_delay_goes_with_status(self, simulate: Simulate) -> None:
        client = simulate(one("imds", delay=0.1, status=503))
        before = time.monotonic()
        assert client.imds().status == 503
        assert time.monotonic() - before >= 0.1

    def test_delayed_request_is_on_record_before_its_answer(self, simulate: Simulate) -> None:
        client = simulate(one("imds", delay=30))
        with socket.create_connection(client.sim.address) as link:
            link.sendall(b"GET /metadata/instance?api-version=2021-08-01 HTTP/1.1\r\nHost: a\r\nMetadata: true\r\n\r\n")
            limit = time.monotonic() + 20
            while not client.sim.requests:
                assert time.monotonic() < limit
                time.sleep(0.01)
            link.setblocking(False)
            with pytest.raises(BlockingIOError):
                link.recv(1)
        assert [request.endpoint for request in client.sim.requests] == ["imds"]

    def test_no_body_with_204(self, simulate: Simulate) -> None:
        reply = simulate(one("imds", status=204, body="never")).imds()
        assert (reply.status, reply.body) == (204, b"")


class TestWire:
    def test_drop(self, simulate: Simulate) -> None:
        client = simulate(one("imds", requests=1, drop=True))
        with pytest.raises(HANGUPS):
            client.imds()
        assert client.imds().status == 200
        assert [(request.status, request.fault) for request in client.sim.requests] == [(None, True), (200, False)]

    @pytest.mark.parametrize("bytes_sent", [0, 1, 100])
    def test_truncate_announces_the_whole(self, simulate: Simulate, bytes_sent: int) -> None:
        client = simulate(one("imds", truncate=bytes_sent))
        with pytest.raises(http.client.IncompleteRead) as caught:
            client.imds()
        assert len(caught.value.partial) == bytes_sent
        assert caught.value.expected is not None
        assert caught.value.expected > 1000

    def test_truncate_longer_than_the_body_cuts_nothing(self, simulate: Simulate) -> None:
        assert json.loads(simulate(one("imds", truncate=10**6)).imds().body)["compute"]

    def test_size(self, simulate: Simulate) -> None:
        reply = simulate(one("imds", size=1_000_000)).imds()
        assert (reply.status, len(reply.body), reply.headers["Content-Length"]) == (200, 1_000_000, "1000000")

    def test_size_costs_nothing_to_who_leaves_early(self, simulate: Simulate) -> None:
        client = simulate(one("imds", size=10**15))
        connection = http.client.HTTPConnection(*client.sim.address, timeout=5)
        connection.request("GET", "/metadata/instance", headers={"Metadata": "true"})
        assert len(connection.getresponse().read(5000)) == 5000
        connection.close()
        assert client.goal_state().status == 200

    def test_truncated_size(self, simulate: Simulate) -> None:
        client = simulate(one("imds", size=10**9, truncate=70_000))
        with pytest.raises(http.client.IncompleteRead) as caught:
            client.imds()
        assert len(caught.value.partial) == 70_000

    def test_drip_takes_its_time(self, simulate: Simulate) -> None:
        client = simulate(one("imds", body="12345", drip=0.03))
        before = time.monotonic()
        assert client.imds().text == "12345"
        assert time.monotonic() - before >= 5 * 0.03

    def test_drip_defeats_a_read_timeout_only_as_a_whole(self, simulate: Simulate) -> None:
        client = simulate(one("goal_state", drip=0.01))
        connection = http.client.HTTPConnection(*client.sim.address, timeout=0.3)
        connection.request("GET", "/machine?comp=goalstate", headers={"x-ms-version": "2012-11-30"})
        assert connection.getresponse().read(10) == b"<?xml vers"
        connection.close()

    def test_drip_headers(self, simulate: Simulate) -> None:
        client = simulate(one("imds", body="x", drip=0.001, drip_headers=True))
        before = time.monotonic()
        received = client.raw(IMDS_GET)
        assert received.endswith(b"\r\n\r\nx")
        assert time.monotonic() - before >= 0.001 * len(received)

    def test_connection_lives_on_after_a_faulty_status(self, simulate: Simulate) -> None:
        client = simulate(one("imds", requests=1, status=500, body="oops"))
        received = client.raw(IMDS_GET.replace(b"Connection: close\r\n", b"") + IMDS_GET)
        assert received.count(b"HTTP/1.1 ") == 2
        assert received.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")


class TestHealth:
    @pytest.mark.parametrize(
        ("fault", "status"),
        [({"status": 500}, 500), ({"status": 200}, 200), ({"garbage": True}, 200), ({"body": "x"}, 200)],
    )
    def test_made_up_answer_accepts_nothing(
        self, simulate: Simulate, health_xml: HealthXml, fault: dict[str, Any], status: int
    ) -> None:
        client = simulate(one("health", **fault))
        assert client.post_health(health_xml()).status == status
        (report,) = client.sim.reports
        (request,) = client.sim.requests
        assert (report.state, report.accepted, report.status) == ("Ready", False, status)
        assert (request.fault, request.status) == (True, status)

    def test_dropped_report_is_on_record(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate(one("health", drop=True))
        with pytest.raises(HANGUPS):
            client.post_health(health_xml())
        (report,) = client.sim.reports
        assert (report.accepted, report.status) == (False, 0)

    @pytest.mark.parametrize("fault", [{"delay": 0.01}, {"drip": 0.001}, {"headers": {"X": "y"}}, {"truncate": 5}])
    def test_true_answer_still_judges(self, simulate: Simulate, health_xml: HealthXml, fault: dict[str, Any]) -> None:
        client = simulate(one("health", **fault))
        assert client.post_health(health_xml()).status == 200
        assert [(report.accepted, report.status) for report in client.sim.reports] == [(True, 200)]

    def test_refused_twice_then_taken(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate(one("health", requests="1-2", status=503))
        assert [client.post_health(health_xml()).status for _ in range(3)] == [503, 503, 200]
        assert [report.accepted for report in client.sim.reports] == [False, False, True]

    def test_broken_document_leaves_no_report(self, simulate: Simulate) -> None:
        client = simulate(one("health", status=500))
        assert client.post_health(b"<").status == 500
        assert client.sim.reports == []


class TestMove:
    def test_incarnation_moves_after_the_answer(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate(one("goal_state", requests=1, move="incarnation"))
        first = ElementTree.fromstring(client.goal_state().body).findtext("Incarnation")
        assert first == "1"
        assert client.post_health(health_xml(incarnation=first)).status == 410
        second = ElementTree.fromstring(client.goal_state().body).findtext("Incarnation")
        assert client.post_health(health_xml(incarnation=second)).status == 200

    def test_container_moves_with_a_status(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate(one("health", requests=1, status=410, move="container"))
        assert client.post_health(health_xml()).status == 410
        reply = client.post_health(health_xml())
        assert (reply.status, b"InvalidContainerConfiguration" in reply.body) == (410, True)
        container = ElementTree.fromstring(client.goal_state().body).findtext("Container/ContainerId")
        assert client.post_health(health_xml(container=container)).status == 200

    def test_moves_even_when_nothing_is_answered(self, simulate: Simulate) -> None:
        client = simulate(one("goal_state", requests=1, drop=True, move="incarnation"))
        with pytest.raises(HANGUPS):
            client.goal_state()
        assert b"<Incarnation>2<" in client.goal_state().body
