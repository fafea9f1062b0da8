"""IMDS is as strict as Azure's documentation says, and its document as full."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from simulator.conftest import Client, Simulate

from azurelite.simulator import Scenario, Simulator

TARGET = "/metadata/instance?api-version=2021-08-01"
NEWEST = ["2023-11-15", "2023-07-01", "2021-12-13"]


def compute_of(client: Client, api_version: str, **options: Any) -> dict[str, Any]:
    reply = client.imds(f"/metadata/instance/compute?api-version={api_version}", **options)
    compute: dict[str, Any] = json.loads(reply.body)
    return compute


class TestRequestRules:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Metadata": "true"}, 200),
            ({"metadata": "True"}, 200),
            ({"METADATA": "TRUE"}, 200),
            ({}, 400),
            ({"Metadata": "false"}, 400),
            ({"Metadata": ""}, 400),
            ({"Metadata": "true, true"}, 400),
            ({"Metadata": "true", "X-Forwarded-For": "10.0.0.9"}, 400),
            ({"Metadata": "true", "x-forwarded-for": ""}, 400),
        ],
    )
    def test_headers(self, fabric: Client, headers: dict[str, str], status: int) -> None:
        for target in (TARGET, "/metadata/versions"):
            reply = fabric.ask(target, headers=headers)
            assert reply.status == status
            assert reply.headers["Content-Type"].startswith("application/json")
            assert ("error" in json.loads(reply.body)) == (status != 200)

    @pytest.mark.parametrize(
        "target",
        [
            "/metadata/instance",
            "/metadata/instance?api-version=",
            "/metadata/instance?api-version=2021-08-02",
            "/metadata/instance?Api-Version=2021-08-01",
            "/metadata/instance/compute/vmId?format=text",
        ],
    )
    def test_an_unknown_api_version_gets_the_newest_versions(self, fabric: Client, target: str) -> None:
        reply = fabric.imds(target)
        assert reply.status == 400
        assert json.loads(reply.body) == {
            "error": "Bad request. api-version is invalid or was not specified in the request.",
            "newest-versions": NEWEST,
        }

    @pytest.mark.parametrize("again", ["api-version=2021-08-01", "api-version=2019-06-01", "x=1&x=2"])
    def test_duplicate_parameter_is_refused(self, fabric: Client, again: str) -> None:
        reply = fabric.imds(f"{TARGET}&{again}")
        assert (reply.status, json.loads(reply.body)["error"]) == (400, "Bad request. Duplicate query parameter")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
    def test_other_verbs_are_refused(self, fabric: Client, method: str) -> None:
        for target in (TARGET, "/metadata/versions"):
            reply = fabric.imds(target, method=method)
            assert (reply.status, reply.headers["Allow"]) == (405, "GET")

    def test_versions_need_no_api_version(self, fabric: Client) -> None:
        reply = fabric.imds("/metadata/versions")
        known = json.loads(reply.body)["apiVersions"]
        assert reply.status == 200
        assert known == sorted(known)
        assert {"2019-06-01", "2021-08-01", "2023-11-15"} <= set(known)

    def test_scenario_decides_the_versions(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"api_versions": ["2019-06-01", "2018-02-01"]}})
        assert client.imds().status == 400
        assert json.loads(client.imds().body)["newest-versions"] == ["2019-06-01", "2018-02-01"]
        assert client.imds("/metadata/instance?api-version=2019-06-01").status == 200


class TestRouteAndFormat:
    @pytest.mark.parametrize(
        ("below", "query", "status", "kind", "body"),
        [
            ("/compute/location", "&format=text", 200, "text/plain", "westeurope"),
            ("/compute/location", "", 400, "application/json", None),
            ("/compute/location", "&format=json", 400, "application/json", None),
            ("/compute", "&format=yaml", 400, "application/json", None),
            ("/compute/osProfile/computerName", "&format=text", 200, "text/plain", "web-1"),
            ("/compute/publicKeys/0/path", "&format=text", 200, "text/plain", "/home/azureuser/.ssh/authorized_keys"),
            ("/compute/customData", "&format=text", 200, "text/plain", ""),
            ("/compute/tagsList/0", "", 200, "application/json", '{"name":"role","value":"web"}'),
            ("/compute/tagsList/", "&format=text", 200, "text/plain", "0/\n1/"),
            ("", "&format=text", 200, "text/plain", "compute/\nnetwork/"),
            ("/network/interface/0/ipv6", "", 200, "application/json", '{"ipAddress":[]}'),
            ("/compute/nothing", "", 404, "application/json", None),
            ("/compute/nothing", "&format=text", 404, "application/json", None),
            ("/compute/publicKeys/2", "", 404, "application/json", None),
            ("/compute/publicKeys/-1", "", 404, "application/json", None),
            ("/compute/location/more", "&format=text", 404, "application/json", None),
            ("/extended", "", 404, "application/json", None),
            ("/Compute", "", 404, "application/json", None),
        ],
    )
    def test_element(self, fabric: Client, *, below: str, query: str, status: int, kind: str, body: str | None) -> None:
        reply = fabric.imds(f"/metadata/instance{below}?api-version=2021-08-01{query}")
        assert (reply.status, reply.headers["Content-Type"].split(";")[0]) == (status, kind)
        assert body is None or reply.text == body

    def test_subtree_is_the_documents_own(self, fabric: Client) -> None:
        whole = json.loads(fabric.imds().body)
        assert compute_of(fabric, "2021-08-01") == whole["compute"]

    @pytest.mark.parametrize("target", ["/metadata", "/metadata/instances", "/metadata/attested/documents"])
    def test_other_routes_are_not_found(self, fabric: Client, target: str) -> None:
        assert fabric.imds(target).status == 404
        assert fabric.sim.requests[-1].endpoint == "unknown"


class TestDocument:
    def test_says_the_vm(self, fabric: Client) -> None:
        vm, document = fabric.sim.scenario.vm, json.loads(fabric.imds().body)
        compute = document["compute"]
        assert compute["vmId"] == vm.vm_id
        assert compute["name"] == "web-1-resource"
        assert compute["osProfile"] == {
            "adminUsername": "azureuser",
            "computerName": "web-1",
            "disablePasswordAuthentication": "true",
        }
        assert [key["keyData"] for key in compute["publicKeys"]] == list(vm.ssh_keys)
        assert compute["tags"] == "role:web;environment:demo"
        assert compute["resourceId"].endswith("/virtualMachines/web-1-resource")
        assert compute["storageProfile"]["osDisk"]["osType"] == "Linux"
        (interface,) = document["network"]["interface"]
        assert interface["ipv4"]["subnet"] == [{"address": "10.0.0.0", "prefix": "24"}]
        assert len(interface["macAddress"]) == 12
        assert set(document) == {"compute", "network"}

    def test_every_primitive_is_a_string(self, fabric: Client) -> None:
        def leaves(node: object) -> Iterator[object]:
            if isinstance(node, (dict, list)):
                for item in node.values() if isinstance(node, dict) else node:
                    yield from leaves(item)
            else:
                yield node

        assert {type(leaf) for leaf in leaves(json.loads(fabric.imds().body))} == {str}

    def test_extended_only_on_demand(self, fabric: Client) -> None:
        document = json.loads(fabric.imds(f"{TARGET}&extended=true").body)
        assert document["extended"] == {"compute": {"hasCustomData": False, "ppsType": "None"}}
        assert "extended" not in json.loads(fabric.imds(f"{TARGET}&extended=false").body)

    @pytest.mark.parametrize(
        ("api_version", "present", "absent"),
        [
            ("2017-04-02", {"vmId", "name", "location"}, {"zone", "publicKeys", "tags", "osProfile", "azEnvironment"}),
            ("2019-06-01", {"publicKeys", "storageProfile", "zone"}, {"osProfile", "userData", "tagsList"}),
            ("2020-06-01", {"tagsList", "securityProfile"}, {"osProfile", "userData"}),
            ("2020-07-15", {"osProfile"}, {"userData"}),
            ("2021-01-01", {"osProfile", "userData"}, set()),
        ],
    )
    def test_schema_follows_the_api_version(
        self, fabric: Client, api_version: str, present: set[str], absent: set[str]
    ) -> None:
        keys = set(compute_of(fabric, api_version))
        assert present <= keys
        assert not absent & keys

    @pytest.mark.parametrize(("api_version", "known"), [("2020-09-01", False), ("2020-10-01", True)])
    def test_the_password_flag_needs_a_newer_api_version_than_its_profile(
        self, fabric: Client, api_version: str, known: bool
    ) -> None:
        profile = compute_of(fabric, api_version)["osProfile"]
        assert profile["computerName"] == "web-1"
        assert ("disablePasswordAuthentication" in profile) is known

    @pytest.mark.parametrize(
        ("vm", "path", "expected"),
        [
            ({"disable_password_authentication": False}, ("osProfile", "disablePasswordAuthentication"), "false"),
            ({"disable_password_authentication": "True"}, ("osProfile", "disablePasswordAuthentication"), "True"),
            ({"username": None}, ("osProfile",), {"computerName": "web-1", "disablePasswordAuthentication": "true"}),
            ({"username": ""}, ("osProfile", "adminUsername"), ""),
            ({"user_data": "#!/bin/sh\necho ü\n"}, ("userData",), "IyEvYmluL3NoCmVjaG8gw7wK"),
            ({"ssh_keys": []}, ("publicKeys",), []),
            ({"tags": {}}, ("tagsList",), []),
            ({"imds": {"compute": {"osProfile": {"adminUsername": None}}}}, ("osProfile", "computerName"), "web-1"),
            ({"imds": {"compute": {"osProfile": None}}}, ("osProfile",), None),
            ({"imds": {"compute": {"osProfile": {"computerName": True}}}}, ("osProfile", "computerName"), True),
            ({"imds": {"compute": {"publicKeys": [{"keyData": "x"}]}}}, ("publicKeys",), [{"keyData": "x"}]),
            ({"imds": {"compute": {"new": {"a": {"b": "c", "gone": None}}}}}, ("new",), {"a": {"b": "c"}}),
            ({"imds": {"compute": {"location": {"odd": "shape"}}}}, ("location",), {"odd": "shape"}),
        ],
    )  # fmt: skip
    def test_scenario_shapes_the_document(
        self, simulate: Simulate, vm: dict[str, Any], path: tuple[str, ...], expected: object
    ) -> None:
        node: Any = compute_of(simulate({"vm": vm}), "2021-08-01")
        for key in path:
            node = node.get(key)
        assert node == expected

    def test_old_schema_leaves_the_next_answer_whole(self, fabric: Client) -> None:
        compute_of(fabric, "2020-06-01")
        compute = compute_of(fabric, "2023-11-15")
        assert set(compute["securityProfile"]) >= {"encryptionAtHost", "securityType"}
        assert set(compute["osProfile"]) == {"adminUsername", "computerName", "disablePasswordAuthentication"}

    def test_old_schema_leaves_the_scenario_whole(self, simulate: Simulate) -> None:
        override = {"compute": {"osProfile": {"disablePasswordAuthentication": "false"}}}
        client = simulate({"vm": {"imds": override}})
        compute_of(client, "2020-07-15")
        assert compute_of(client, "2021-08-01")["osProfile"]["disablePasswordAuthentication"] == "false"

    def test_override_does_not_outwit_the_schema(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"imds": {"compute": {"osProfile": {"computerName": "other"}}}}})
        assert "osProfile" not in compute_of(client, "2019-06-01")

    def test_override_can_say_custom_data(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"imds": {"extended": {"compute": {"hasCustomData": True}}}}})
        assert json.loads(client.imds(f"{TARGET}&extended=true").body)["extended"]["compute"]["hasCustomData"] is True
        assert "extended" not in json.loads(client.imds().body)

    def test_boolean_override_reads_as_text(self, simulate: Simulate) -> None:
        client = simulate({"vm": {"imds": {"compute": {"flag": True}}}})
        assert client.imds("/metadata/instance/compute/flag?api-version=2021-08-01&format=text").text == "true"


class TestRate:
    def test_sixth_request_in_a_second_is_throttled(self, simulate: Simulate) -> None:
        client = simulate(rate_limit=5)
        replies = [client.imds("/metadata/versions" if number % 2 else TARGET) for number in range(7)]
        assert [reply.status for reply in replies] == [200] * 5 + [429] * 2
        assert replies[-1].headers["Retry-After"] == "1"
        time.sleep(1.05)
        assert client.imds().status == 200

    def test_made_up_answers_do_not_count(self, simulate: Simulate) -> None:
        client = simulate({"faults": [{"endpoint": "imds", "requests": "1-3", "status": 500}]}, rate_limit=2)
        assert [client.imds().status for _ in range(6)] == [500] * 3 + [200] * 2 + [429]

    def test_wireserver_is_not_throttled(self, simulate: Simulate) -> None:
        client = simulate(rate_limit=1)
        assert [client.goal_state().status for _ in range(4)] == [200] * 4

    def test_limit_is_on_unless_switched_off(self) -> None:
        with Simulator(Scenario.default()) as sim:
            connection = http.client.HTTPConnection(*sim.address, timeout=5)
            statuses = []
            for _ in range(6):
                connection.request("GET", TARGET, headers={"Metadata": "true"})
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()
        assert statuses == [200] * 5 + [429]
