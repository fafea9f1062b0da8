"""WireServer's XML dialect: routes, versions, the goal state, and judging health reports as the fabric does."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from simulator.conftest import Client, HealthXml, Simulate

ROLE = "Container/RoleInstanceList/RoleInstance"
BOTH = ["/machine?comp={}", "/machine/?comp={}"]


class TestVersions:
    def test_need_no_header(self, fabric: Client) -> None:
        reply = fabric.ask("/?comp=versions")
        root = ElementTree.fromstring(reply.body)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
        assert root.findtext("Preferred/Version") == "2015-04-05"
        assert "2012-11-30" in [item.text for item in root.findall("Supported/Version")]

    @pytest.mark.parametrize(
        ("preferred", "supported", "welcome", "refused"),
        [
            ("2012-11-30", ["2010-12-15"], ["2012-11-30", "2010-12-15"], ["2015-04-05", "2012-09-15"]),
            ("2015-04-05", [], ["2015-04-05"], ["2012-11-30", ""]),
            ("a<b", ["2010-28-10"], ["a<b", "2010-28-10"], ["2010-10-28"]),
        ],
    )
    def test_scenario_decides_them(
        self, simulate: Simulate, preferred: str, supported: list[str], welcome: list[str], refused: list[str]
    ) -> None:
        client = simulate({"vm": {"protocol_preferred": preferred, "protocol_supported": supported}})
        root = ElementTree.fromstring(client.ask("/?comp=versions").body)
        assert root.findtext("Preferred/Version") == preferred
        assert [item.text for item in root.findall("Supported/Version")] == supported
        for versions, status in ((welcome, 200), (refused, 400)):
            assert {client.goal_state(headers={"x-ms-version": version}).status for version in versions} == {status}

    def test_other_verb_is_refused(self, fabric: Client) -> None:
        reply = fabric.ask("/?comp=versions", method="POST", body=b"")
        assert (reply.status, reply.headers["Allow"]) == (405, "GET")


class TestGoalState:
    @pytest.mark.parametrize("route", BOTH)
    @pytest.mark.parametrize(
        ("version", "status"),
        [("2012-11-30", 200), ("2015-04-05", 200), (None, 400), ("", 400), ("2012-11-31", 400), ("1.0", 400)],
    )
    def test_protocol_version(self, fabric: Client, route: str, version: str | None, status: int) -> None:
        headers = {} if version is None else {"x-ms-version": version}
        reply = fabric.ask(route.format("goalstate"), headers=headers)
        assert reply.status == status
        assert ElementTree.fromstring(reply.body).tag == ("GoalState" if status == 200 else "Error")
        assert fabric.sim.requests[-1].endpoint == "goal_state"

    def test_says_the_vm(self, fabric: Client) -> None:
        vm, root = fabric.sim.scenario.vm, ElementTree.fromstring(fabric.goal_state().body)
        assert root.findtext("Incarnation") == "1"
        assert root.findtext("Container/ContainerId") == vm.container_id
        assert root.findtext(f"{ROLE}/InstanceId") == vm.instance_id
        assert root.find(f"{ROLE}/Configuration/Certificates") is None

    def test_is_laid_out_for_grep(self, fabric: Client) -> None:
        body = fabric.goal_state().body
        assert body.startswith(b'<?xml version="1.0" encoding="utf-8"?>\r\n')
        assert body.count(b"\n") == body.count(b"\r\n")
        for line in body.decode().split("\r\n"):
            assert len(re.findall(r"<[A-Za-z]", line)) <= 1, line

    @pytest.mark.parametrize("name", ["HostingEnvironmentConfig", "SharedConfig", "ExtensionsConfig", "FullConfig"])
    def test_configuration_urls_are_absolute_and_escaped(self, fabric: Client, name: str) -> None:
        body = fabric.goal_state().text
        url = ElementTree.fromstring(body.encode()).findtext(f"{ROLE}/Configuration/{name}", "")
        assert url.startswith(f"{fabric.sim.url}/machine/7b324f53-")
        assert "%2D" in url
        assert "%5Fthstringnopa2?comp=config&type=" in url
        assert "&amp;type=" in body

    def test_ids_are_escaped(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"instance_id": "a<b&c"}})
        assert ElementTree.fromstring(client.goal_state().body).findtext(f"{ROLE}/InstanceId") == "a<b&c"

    def test_moves(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"incarnation": 4}})
        before = ElementTree.fromstring(client.goal_state().body)
        client.sim.move_incarnation()
        client.sim.move_container()
        after = ElementTree.fromstring(client.goal_state().body)
        assert (before.findtext("Incarnation"), after.findtext("Incarnation")) == ("4", "5")
        assert before.findtext("Container/ContainerId") != after.findtext("Container/ContainerId")
        assert f"/machine/{after.findtext('Container/ContainerId')}/" in client.goal_state().text

    def test_other_verb_is_refused(self, fabric: Client) -> None:
        assert fabric.goal_state(method="POST", body=b"x").status == 405


class TestHealthAccepted:
    @pytest.mark.parametrize("route", BOTH)
    @pytest.mark.parametrize(
        "kind",
        ["text/xml; charset=utf-8", "text/xml;charset=utf-8", "Text/XML;  Charset=UTF-8", 'text/xml; charset="utf-8"'],
    )
    def test_ready(self, fabric: Client, health_xml: HealthXml, route: str, kind: str) -> None:
        headers = {"x-ms-version": "2012-11-30", "Content-Type": kind}
        reply = fabric.ask(route.format("health"), method="POST", headers=headers, body=health_xml())
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["x-ms-latest-goal-state-incarnation-number"] == "1"
        report, vm = fabric.sim.reports[-1], fabric.sim.scenario.vm
        assert (report.state, report.substatus, report.description) == ("Ready", None, None)
        assert (report.incarnation, report.container_id) == ("1", vm.container_id)
        assert (report.instance_id, report.accepted, report.status) == (vm.instance_id, True, 200)

    @pytest.mark.parametrize("substatus", ["Provisioning", "ProvisioningFailed"])
    def test_not_ready(self, fabric: Client, health_xml: HealthXml, substatus: str) -> None:
        body = health_xml(state="NotReady", substatus=substatus, description="result=error|reason=a &lt; b")
        assert fabric.post_health(body).status == 200
        report = fabric.sim.reports[-1]
        assert (report.state, report.substatus, report.accepted) == ("NotReady", substatus, True)
        assert report.description == "result=error|reason=a < b"

    @pytest.mark.parametrize(
        "changes",
        [
            {"state": "Ready", "substatus": "Anything", "description": "x" * 5000},
            {"state": "NotReady", "substatus": "ProvisioningFailed", "description": ""},
            {"state": "NotReady", "substatus": "ProvisioningFailed", "description": "x" * 4096},
            {"state": "NotReady", "substatus": "ProvisioningFailed", "description": "&amp;" * 819},
        ],
    )
    def test_at_the_limits(self, fabric: Client, health_xml: HealthXml, changes: dict[str, str]) -> None:
        assert fabric.post_health(health_xml(**changes)).status == 200

    def test_current_ones_after_moves(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate()
        client.sim.move_incarnation()
        client.sim.move_container()
        container = ElementTree.fromstring(client.goal_state().body).findtext("Container/ContainerId")
        reply = client.post_health(health_xml(incarnation="2", container=container))
        assert (reply.status, reply.headers["x-ms-latest-goal-state-incarnation-number"]) == (200, "2")


class TestHealthRefused:
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
    def test_other_verbs(self, fabric: Client, health_xml: HealthXml, method: str) -> None:
        before = len(fabric.sim.reports)
        headers = {"x-ms-version": "2012-11-30", "Content-Type": "text/xml; charset=utf-8"}
        reply = fabric.ask("/machine?comp=health", method=method, headers=headers, body=health_xml())
        assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        assert len(fabric.sim.reports) == before

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "text/xml; charset=utf-8"},
            {"Content-Type": "text/xml; charset=utf-8", "x-ms-version": "2012-11-31"},
            {"x-ms-version": "2012-11-30"},
            {"x-ms-version": "2012-11-30", "Content-Type": "text/xml"},
            {"x-ms-version": "2012-11-30", "Content-Type": "text/xml; charset=utf-16"},
            {"x-ms-version": "2012-11-30", "Content-Type": "application/xml; charset=utf-8"},
            {"x-ms-version": "2012-11-30", "Content-Type": "application/json"},
        ],
    )
    def test_headers(self, fabric: Client, health_xml: HealthXml, headers: dict[str, str]) -> None:
        reply = fabric.ask("/machine?comp=health", method="POST", headers=headers, body=health_xml())
        assert reply.status == 400
        assert (fabric.sim.reports[-1].accepted, fabric.sim.reports[-1].status) == (False, 400)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"not xml",
            b"<Health>",
            b"\xff\xfe<",
            b"<?xml version='1.0' encoding='no-such'?><Health/>",
            b"<health/>",
            b"<Health/>",
            b'<Health xmlns="urn:x"/>',
            b"<!DOCTYPE Health><Health/>",
            b'<!DOCTYPE Health [<!ENTITY a "b">]><Health><GoalStateIncarnation>&a;</GoalStateIncarnation></Health>',
            b'<!DOCTYPE Health SYSTEM "http://127.0.0.1:1/x.dtd"><Health/>',
        ],
    )
    def test_what_is_no_health_document(self, fabric: Client, body: bytes) -> None:
        before = len(fabric.sim.reports)
        assert fabric.post_health(body).status == 400
        assert len(fabric.sim.reports) == before

    def test_dtd_before_a_perfect_report(self, fabric: Client, health_xml: HealthXml) -> None:
        body = health_xml().replace(b"?>", b"?><!DOCTYPE Health>", 1)
        assert fabric.post_health(body).status == 400

    @pytest.mark.parametrize("missing", ["incarnation", "container", "instance", "state"])
    def test_missing_elements(self, fabric: Client, health_xml: HealthXml, missing: str) -> None:
        assert fabric.post_health(health_xml(**{missing: None})).status == 400

    @pytest.mark.parametrize(
        "changes",
        [
            {"state": "ready"},
            {"state": " Ready "},
            {"state": ""},
            {"state": "Provisioning"},
            {"state": "NotReady"},
            {"state": "NotReady", "substatus": "ProvisioningFailed"},
            {"state": "NotReady", "description": "x"},
            {"state": "NotReady", "substatus": "Failed", "description": "x"},
            {"state": "NotReady", "substatus": "ProvisioningFailed", "description": "x" * 4097},
            {"state": "NotReady", "substatus": "ProvisioningFailed", "description": "&amp;" * 820},
            {"state": "NotReady", "substatus": "ProvisioningFailed", "description": "ü" * 2049},
            {"instance": ""},
            {"instance": "fbb84507-46cd-4f4e-bd78-a2edaa9d059b._someoneelse"},
        ],
    )
    def test_wording_and_instance(self, fabric: Client, health_xml: HealthXml, changes: dict[str, str]) -> None:
        reply = fabric.post_health(health_xml(**changes))
        assert reply.status == 400
        assert b"InvalidContainerConfiguration" not in reply.body
        assert (fabric.sim.reports[-1].accepted, fabric.sim.reports[-1].status) == (False, 400)

    @pytest.mark.parametrize("incarnation", ["0", "2", "01", "one", ""])
    def test_incarnation_that_is_not_current(self, fabric: Client, health_xml: HealthXml, incarnation: str) -> None:
        reply = fabric.post_health(health_xml(incarnation=incarnation))
        assert reply.status == 410
        assert b"InvalidContainerConfiguration" not in reply.body
        assert fabric.sim.reports[-1].incarnation == incarnation

    @pytest.mark.parametrize("status", [410, 400])
    def test_container_that_is_not_current(self, simulate: Simulate, health_xml: HealthXml, status: int) -> None:
        client = simulate({"vm": {"stale_container_status": status}})
        client.sim.move_container()
        reply = client.post_health(health_xml())
        assert reply.status == status
        assert ElementTree.fromstring(reply.body).findtext("Code") == "InvalidContainerConfiguration"
        assert [(report.accepted, report.status) for report in client.sim.reports] == [(False, status)]

    def test_after_the_fabric_moved_on(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate()
        assert client.post_health(health_xml()).status == 200
        client.sim.move_incarnation()
        assert client.post_health(health_xml()).status == 410
        assert client.post_health(health_xml(incarnation="2")).status == 200
        assert [report.accepted for report in client.sim.reports] == [True, False, True]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/machine",
        "/machine/",
        "/machine/x?comp=goalstate",
        "/machine?comp=nothing",
        "/?comp=goalstate",
        "/else?a=b",
    ],
)
def test_unknown_route_is_not_found(fabric: Client, target: str) -> None:
    reply = fabric.ask(target, headers={"x-ms-version": "2012-11-30"})
    request = fabric.sim.requests[-1]
    assert (reply.status, request.endpoint, request.target, request.status) == (404, "unknown", target, 404)
