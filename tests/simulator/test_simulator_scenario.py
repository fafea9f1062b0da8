"""Scenarios: what the YAML may say, what it means, and how plainly a mistake is named."""

from __future__ import annotations

import base64
import dataclasses
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

import azurelite.simulator
from azurelite.simulator import Fault, Scenario, ScenarioError, Vm

DEFAULT = Path(azurelite.simulator.__file__).with_name("default.yaml")


class TestDefault:
    def test_says_every_key(self) -> None:
        said = yaml.safe_load(DEFAULT.read_text())["vm"]
        assert set(said) == {field.name for field in dataclasses.fields(Vm)}

    def test_is_an_ordinary_vm(self) -> None:
        scenario = Scenario.default()
        assert scenario.faults == ()
        assert scenario.vm.name != scenario.vm.hostname
        assert (scenario.vm.generation, scenario.vm.incarnation, scenario.vm.stale_container_status) == (2, 1, 410)

    def test_keys_are_valid_and_one_is_wrapped(self) -> None:
        kinds = []
        for key in Scenario.default().vm.ssh_keys:
            kind, encoded, _comment = key.replace("\r\n", "").split()
            blob = base64.b64decode(encoded, validate=True)
            (length,) = struct.unpack(">I", blob[:4])
            assert blob[4 : 4 + length].decode() == kind
            kinds.append((kind, "\r\n" in key))
        assert kinds == [("ssh-ed25519", False), ("ssh-rsa", True)]

    def test_wrapped_key_breaks_every_64_characters(self) -> None:
        lines = Scenario.default().vm.ssh_keys[1].split(" ")[1].split("\r\n")
        assert {len(line) for line in lines[:-1]} == {64}
        assert 0 < len(lines[-1]) <= 64


class TestReading:
    def test_left_out_keys_are_the_defaults(self) -> None:
        vm = Scenario.from_dict({"vm": {"hostname": "db-1", "tags": {"a": "b"}, "ssh_keys": []}}).vm
        assert vm == dataclasses.replace(Scenario.default().vm, hostname="db-1", tags={"a": "b"}, ssh_keys=())

    @pytest.mark.parametrize("document", [{}, {"vm": None}, {"vm": {}, "faults": None}, {"faults": []}])
    def test_nothing_said_is_the_default(self, document: dict[str, Any]) -> None:
        assert Scenario.from_dict(document) == Scenario.default()

    def test_file(self, tmp_path: Path) -> None:
        path = tmp_path / "scenario.yaml"
        path.write_text(
            "vm: {hostname: db-1}\nfaults:\n  - {endpoint: health, requests: 1-3, status: 410, move: incarnation}\n"
        )
        scenario = Scenario.load(path)
        assert scenario.vm.hostname == "db-1"
        assert scenario.faults == (Fault(endpoint="health", requests="1-3", status=410, move="incarnation"),)
        assert Scenario.load(str(path)) == scenario

    def test_empty_file_is_the_default(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.yaml"
        path.write_text("# nothing\n")
        assert Scenario.load(path) == Scenario.default()

    @pytest.mark.parametrize(
        ("requests", "hit"),
        [
            (None, [1, 2, 3, 4, 5, 6]),
            (1, [1]),
            ("2", [2]),
            ("1-3", [1, 2, 3]),
            ("4-", [4, 5, 6]),
            (" 2 - 3 ", [2, 3]),
        ],
    )
    def test_requests(self, requests: int | str | None, hit: list[int]) -> None:
        fault = Fault(endpoint="imds", requests=requests, status=500)
        assert [number for number in range(1, 7) if fault.hits(number)] == hit

    def test_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Scenario.default().vm.hostname = "other"  # type: ignore[misc]


MISTAKES = [
    ({"vms": {}}, "s.yaml: vms: unknown key; did you mean vm?"),
    ({"vm": {"hostnam": "x"}}, "s.yaml: vm.hostnam: unknown key; did you mean hostname?"),
    ({"vm": {"adminUsername": "x"}}, "s.yaml: vm.adminUsername: unknown key; did you mean username?"),
    ({"vm": {"qqq": 1}}, "s.yaml: vm.qqq: unknown key; known: vm_id, name,"),
    ({"vm": {1: 1}}, "s.yaml: vm.1: unknown key"),
    ({"vm": []}, "s.yaml: vm: expected a mapping, got a list"),
    ({"vm": ""}, "s.yaml: vm: expected a mapping, got the text ''"),
    ({"faults": {}}, "s.yaml: faults: expected a list, got a mapping"),
    ({"faults": False}, "s.yaml: faults: expected a list, got the boolean false"),
    ({"vm": ["x"]}, "s.yaml: vm: expected a mapping, got a list"),
    ({"vm": {"zone": 1}}, "s.yaml: vm.zone: expected a text, got the integer 1 (write it in quotes)"),
    ({"vm": {"hostname": None}}, "s.yaml: vm.hostname: expected a text, got null"),
    ({"vm": {"hostname": True}}, "s.yaml: vm.hostname: expected a text, got the boolean true"),
    ({"vm": {"ssh_keys": "ssh-rsa"}}, "s.yaml: vm.ssh_keys: expected a list of texts, got the text 'ssh-rsa'"),
    ({"vm": {"ssh_keys": [1]}}, "s.yaml: vm.ssh_keys: expected a text, got the integer 1"),
    ({"vm": {"tags": {"a": 1}}}, "s.yaml: vm.tags: expected a text, got the integer 1"),
    ({"vm": {"tags": []}}, "s.yaml: vm.tags: expected a mapping of texts, got a list"),
    ({"vm": {"disable_password_authentication": 1}}, "expected true, false or a text, got the integer 1"),
    ({"vm": {"generation": 3}}, "s.yaml: vm.generation: expected one of 1, 2, got the integer 3"),
    ({"vm": {"generation": True}}, "s.yaml: vm.generation: expected one of 1, 2, got the boolean true"),
    ({"vm": {"incarnation": "1"}}, "s.yaml: vm.incarnation: expected an integer, 1 or more, got the text '1'"),
    ({"vm": {"incarnation": True}}, "s.yaml: vm.incarnation: expected an integer"),
    ({"vm": {"stale_container_status": 404}}, "s.yaml: vm.stale_container_status: expected one of 400, 410"),
    ({"vm": {"imds": {"a": {1, 2}}}}, "s.yaml: vm.imds: expected values that JSON can hold"),
    ({"vm": {"imds": []}}, "s.yaml: vm.imds: expected a mapping, got a list"),
    ({"vm": {"dialects": "xml"}}, "s.yaml: vm.dialects: expected a list of texts, got the text 'xml'"),
    ({"vm": {"dialects": ["xml", "yaml"]}}, "s.yaml: vm.dialects: expected one of xml, json, got the text 'yaml'"),
    ({"vm": {"pps_type": None}}, "s.yaml: vm.pps_type: expected a text, got null"),
    (
        {"vm": {"preprovisioned_vm": "true"}},
        "s.yaml: vm.preprovisioned_vm: expected true or false, got the text 'true'",
    ),
    ({"vm": {"provision_guest_proxy_agent": 1}}, "vm.provision_guest_proxy_agent: expected true or false"),
    ({"vm": {"custom_data": 1}}, "s.yaml: vm.custom_data: expected a text, got the integer 1"),
    ({"vm": {"ovf_keys": None}}, "s.yaml: vm.ovf_keys: expected one of value, fingerprint, none, got null"),
    ({"vm": {"certificates": "on"}}, "s.yaml: vm.certificates: expected true or false, got the text 'on'"),
    ({"vm": {"certificate_keys": "dsa"}}, "s.yaml: vm.certificate_keys: expected one of rsa, ec, both"),
    ({"vm": {"certificate_format": "PFX"}}, "vm.certificate_format: expected one of Pkcs7BlobWithPfxContents, Cert"),
    ({"vm": {"protocol_supported": "1.0"}}, "s.yaml: vm.protocol_supported: expected a list of texts"),
    ({"faults": {}, "vm": 1}, "s.yaml: vm: expected a mapping, got the integer 1"),
    ({"faults": {"endpoint": "imds"}}, "s.yaml: faults: expected a list, got a mapping"),
    ({"faults": ["imds"]}, "s.yaml: faults[0]: expected a mapping, got the text 'imds'"),
    ({"faults": [{"status": 500}]}, "s.yaml: faults[0].endpoint: missing; one of imds,"),
    (
        {"faults": [{"endpoint": "imds"}, {"endpoint": "helth"}]},
        "s.yaml: faults[1].endpoint: unknown value 'helth'; did you mean health?",
    ),
    ({"faults": [{"endpoint": "any", "stauts": 5}]}, "s.yaml: faults[0].stauts: unknown key; did you mean status?"),
    ({"faults": [{"endpoint": "any", "status": "500"}]}, "faults[0].status: expected an integer from 200 to 599"),
    ({"faults": [{"endpoint": "any", "status": 99}]}, "faults[0].status: expected an integer from 200 to 599"),
    ({"faults": [{"endpoint": "any", "delay": -1}]}, "faults[0].delay: expected seconds, 0 or more"),
    ({"faults": [{"endpoint": "any", "delay": float("nan")}]}, "faults[0].delay: expected seconds, 0 or more"),
    ({"faults": [{"endpoint": "any", "drop": 1}]}, "faults[0].drop: expected true or false, got the integer 1"),
    ({"faults": [{"endpoint": "any", "requests": 0}]}, "faults[0].requests: expected a request number from 1"),
    ({"faults": [{"endpoint": "any", "requests": "3-1"}]}, "faults[0].requests: expected a request number from 1"),
    ({"faults": [{"endpoint": "any", "requests": "-3"}]}, "faults[0].requests: expected a request number from 1"),
    ({"faults": [{"endpoint": "any", "requests": [1]}]}, "faults[0].requests: expected a request number from 1"),
    ({"faults": [{"endpoint": "any", "headers": {"A": "b\r\nC: d"}}]}, "faults[0].headers: expected HTTP headers"),
    ({"faults": [{"endpoint": "any", "headers": {"A B": "c"}}]}, "faults[0].headers: expected HTTP headers"),
    ({"faults": [{"endpoint": "any", "redirect": "http://x/\r\ny"}]}, "faults[0].redirect: expected one line"),
    ({"faults": [{"endpoint": "any", "move": "vm"}]}, "faults[0].move: expected one of incarnation, container"),
    ({"faults": [{"endpoint": "any", "body": "x", "size": 3}]}, "faults[0].body and size exclude each other"),
    ({"faults": [{"endpoint": "any", "drop": True, "status": 500}]}, "faults[0].drop allows only delay and move"),
    ({"faults": [{"endpoint": "any", "drip_headers": True}]}, "faults[0].drip_headers needs drip"),
]


class TestMistakes:
    @pytest.mark.parametrize(("document", "message"), MISTAKES)
    def test_is_named(self, document: dict[str, Any], message: str) -> None:
        with pytest.raises(ScenarioError) as caught:
            Scenario.from_dict(document, where="s.yaml")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("document", [[], "text", 3, None])
    def test_document_of_another_shape(self, document: Any) -> None:
        with pytest.raises(ScenarioError, match=r"^s\.yaml: the document: expected a mapping, got"):
            Scenario.from_dict(document, where="s.yaml")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"vm: [", "not YAML"),
            (b"\xff\xfe\x00", "not YAML"),
            (b"vm: !!python/object/apply:os.getcwd []", "not YAML"),
            (b"- 1", "the document: expected a mapping"),
            (b"vm: {user_name: x}", "vm.user_name: unknown key; did you mean username?"),
        ],
    )
    def test_file_is_named(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "web.yaml"
        path.write_bytes(content)
        with pytest.raises(ScenarioError) as caught:
            Scenario.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert message in str(caught.value)

    def test_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ScenarioError, match=r"absent\.yaml: cannot be read: No such file"):
            Scenario.load(tmp_path / "absent.yaml")

    def test_fault_made_in_code_is_checked_too(self) -> None:
        with pytest.raises(ScenarioError, match="did you mean goal_state"):
            Fault(endpoint="goalstate")
