"""A pool VM's way out of the pool, and attested data."""

from __future__ import annotations

import base64
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from simulator.conftest import Client, HealthXml, Simulate

from azurelite.simulator import ScenarioError
from azurelite.simulator.ovf import ovf_document

TARGET = "/metadata/reprovisiondata?api-version=2019-06-01"
ATTESTED = "/metadata/attested/document?api-version=2021-02-01"
EXTENDED = "/metadata/instance?api-version=2021-08-01&extended=true"
POOL = {"pps_type": "Savable", "preprovisioned_vm": True, "preprovisioned_type": "Savable", "ovf_text": "<pool/>"}


def instance(client: Client) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(client.imds(EXTENDED).body)
    return document


def incarnation(client: Client) -> str:
    return ElementTree.fromstring(client.goal_state().body).findtext("Incarnation", "")


@pytest.mark.parametrize("target", [TARGET, ATTESTED])
class TestRequestRules:
    @pytest.mark.parametrize(
        ("headers", "refused"),
        [
            ({"metadata": "True"}, False),
            ({}, True),
            ({"Metadata": "false"}, True),
            ({"Metadata": "true", "X-Forwarded-For": "10.0.0.9"}, True),
        ],
    )
    def test_headers(self, fabric: Client, target: str, headers: dict[str, str], refused: bool) -> None:
        assert (fabric.ask(target, headers=headers).status == 400) is refused

    @pytest.mark.parametrize("query", ["", "?api-version=", "?api-version=2019-06-02", "?Api-Version=2019-06-01"])
    def test_api_version(self, fabric: Client, target: str, query: str) -> None:
        reply = fabric.imds(target.partition("?")[0] + query)
        assert reply.status == 400
        assert "newest-versions" in json.loads(reply.body)

    def test_duplicate_parameter(self, fabric: Client, target: str) -> None:
        assert fabric.imds(f"{target}&a=1&a=2").status == 400

    @pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE"])
    def test_other_verbs(self, fabric: Client, target: str, method: str) -> None:
        reply = fabric.imds(target, method=method)
        assert (reply.status, reply.headers["Allow"]) == (405, "GET")

    def test_counts_towards_the_rate(self, simulate: Simulate, target: str) -> None:
        client = simulate(rate_limit=2)
        assert [client.imds(target).status == 429 for _ in range(3)] == [False, False, True]

    def test_trailing_slash_is_another_route(self, fabric: Client, target: str) -> None:
        assert fabric.imds(target.replace("?", "/?")).status == 404
        assert fabric.sim.requests[-1].endpoint == "unknown"


class TestPool:
    def test_assignment(self, simulate: Simulate) -> None:
        client = simulate({"vm": POOL})
        assert client.sim.ovf() == b"<pool/>"
        reply = client.imds(TARGET)
        assert (reply.status, reply.headers["Content-Type"]) == (404, "application/json; charset=utf-8")
        assert instance(client)["extended"]["compute"]["ppsType"] == "Savable"

        client.sim.assign(hostname="db-1", ssh_keys=["ssh-ed25519 AAAA x"], custom_data="c", tags={"a": "b"})
        reply = client.imds(TARGET)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
        assert reply.body == ovf_document(client.sim.vm) == client.sim.ovf()
        assert b"<HostName>db-1</HostName>" in reply.body
        assert b"<PreprovisionedVm>false</PreprovisionedVm>" in reply.body
        document = instance(client)
        assert document["extended"]["compute"] == {"hasCustomData": True, "ppsType": "None"}
        assert document["compute"]["osProfile"]["computerName"] == "db-1"
        assert [key["keyData"] for key in document["compute"]["publicKeys"]] == ["ssh-ed25519 AAAA x"]
        assert incarnation(client) == "2"
        assert client.sim.requests[0].endpoint == "reprovision_data"

    def test_vm_that_was_never_in_a_pool(self, fabric: Client) -> None:
        assert fabric.imds(TARGET).status == 404
        assert fabric.sim.vm == fabric.sim.scenario.vm

    @pytest.mark.parametrize("kind", ["None", "Running", "Savable", "PreprovisionedOSDisk", "Odd"])
    def test_type_in_imds(self, simulate: Simulate, kind: str) -> None:
        assert instance(simulate({"vm": {"pps_type": kind}}))["extended"]["compute"]["ppsType"] == kind

    def test_changes_win_over_what_assignment_means(self, simulate: Simulate) -> None:
        client = simulate({"vm": POOL})
        client.sim.assign(pps_type="Running", preprovisioned_vm=True, ovf_text="<odd", incarnation=9, container_id="c")
        assert client.imds(TARGET).body == b"<odd"
        assert instance(client)["extended"]["compute"]["ppsType"] == "Running"
        assert incarnation(client) == "9"
        assert (client.sim.vm.preprovisioned_vm, client.sim.vm.container_id) == (True, "c")

    def test_report_of_the_old_incarnation_is_stale(self, simulate: Simulate, health_xml: HealthXml) -> None:
        client = simulate({"vm": POOL})
        assert client.post_health(health_xml()).status == 200
        client.sim.assign()
        assert client.post_health(health_xml()).status == 410
        assert client.post_health(health_xml(incarnation="2")).status == 200

    def test_can_be_assigned_anew(self, simulate: Simulate) -> None:
        client = simulate()
        for name in ("a", "b"):
            client.sim.assign(hostname=name)
        assert "<HostName>b</HostName>" in client.imds(TARGET).text
        assert incarnation(client) == "3"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"hostnam": "x"}, "assign: hostnam: unknown key; did you mean hostname?"),
            ({"hostname": None}, "assign: hostname: expected a text, got null"),
            ({"password": "\0"}, "UserPassword: XML cannot hold"),
        ],
    )
    def test_mistake_changes_nothing(self, simulate: Simulate, changes: dict[str, str | None], message: str) -> None:
        client = simulate()
        with pytest.raises(ValueError, match=message.replace("?", r"\?")) as caught:
            client.sim.assign(**changes)
        assert isinstance(caught.value, ScenarioError) is ("assign" in message)
        assert client.imds(TARGET).status == 404
        assert client.sim.vm == client.sim.scenario.vm

    def test_fault(self, simulate: Simulate) -> None:
        client = simulate({"faults": [{"endpoint": "reprovision_data", "requests": 1, "body": "<x/>"}]})
        first = client.imds(TARGET)
        assert (first.status, first.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
        assert client.imds(TARGET).status == 404


class TestAttested:
    @pytest.mark.parametrize("nonce", [None, "0", "1234567890"])
    def test_document(self, fabric: Client, nonce: str | None) -> None:
        reply = fabric.imds(ATTESTED + ("" if nonce is None else f"&nonce={nonce}"))
        document = json.loads(reply.body)
        assert (reply.status, set(document), document["encoding"]) == (200, {"encoding", "signature"}, "pkcs7")
        signed = json.loads(base64.b64decode(document["signature"], validate=True))
        assert signed["vmId"] == fabric.sim.vm.vm_id
        assert signed["nonce"] == nonce or (nonce is None and signed["nonce"])
        assert fabric.sim.requests[-1].endpoint == "attested"

    @pytest.mark.parametrize("query", ["&nonce=", "&nonce=x", "&nonce=12345678901", "&nonce=-1", "&format=text"])
    def test_refusals(self, fabric: Client, query: str) -> None:
        assert fabric.imds(ATTESTED + query).status == 400

    def test_fault_is_json(self, simulate: Simulate) -> None:
        client = simulate({"faults": [{"endpoint": "attested", "status": 503}]})
        reply = client.imds(ATTESTED)
        assert (reply.status, reply.headers["Content-Type"]) == (503, "application/json; charset=utf-8")
