"""The provisioning document: what it says of a VM, where its namespaces stand, and what it refuses to say."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from simulator.conftest import Simulate

from azurelite.simulator import Scenario, Vm
from azurelite.simulator.ovf import ovf_document

OVF = "{http://schemas.dmtf.org/ovf/environment/1}"
WA = "{http://schemas.microsoft.com/windowsazure}"
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
SETTINGS = "ProvisioningSection/LinuxProvisioningConfigurationSet"
PLATFORM = "PlatformSettingsSection/PlatformSettings"
ABSENT = object()


def vm_of(**fields: Any) -> Vm:
    return Scenario.from_dict({"vm": fields}).vm


def parse(vm: Vm, **options: Any) -> ElementTree.Element:
    return ElementTree.fromstring(ovf_document(vm, **options))


def full(path: str) -> str:
    return "/".join(WA + name for name in path.split("/"))


def tags(root: ElementTree.Element) -> list[str]:
    return [element.tag for element in root.iter()]


class TestShape:
    @pytest.mark.parametrize("prefix", ["wa", "", "ns0", "a-b.c_1"])
    def test_prefix_changes_no_name(self, prefix: str) -> None:
        vm = vm_of(password="p")
        document, root = ovf_document(vm, prefix=prefix), parse(vm, prefix=prefix)
        assert root.tag == f"{OVF}Environment"
        assert tags(root) == tags(parse(vm))
        assert {tag[: len(WA)] for tag in tags(root)[1:]} == {WA}
        assert (f"<{prefix}:ProvisioningSection>".encode() in document) is bool(prefix)

    @pytest.mark.parametrize("prefix", ["xsi", "xml", "xmlns", "a:b", "1a", "a b", 'a="', "<"])
    def test_an_invalid_prefix_is_refused(self, prefix: str) -> None:
        with pytest.raises(ValueError, match="invalid or reserved namespace prefix"):
            ovf_document(vm_of(), prefix=prefix)

    def test_is_laid_out_for_grep(self) -> None:
        document = ovf_document(vm_of(ssh_keys=["k"]))
        assert document.startswith(b'<?xml version="1.0" encoding="utf-8"?>\r\n<Environment ')
        assert document.count(b"\n") == document.count(b"\r\n")
        assert all(len(re.findall(rb"<[A-Za-z]", line)) <= 1 for line in document.split(b"\r\n"))

    def test_sections_are_versioned(self) -> None:
        root = parse(vm_of())
        for section in ("ProvisioningSection", "PlatformSettingsSection"):
            assert root.findtext(full(f"{section}/Version")) == "1.0"
        assert root.findtext(full(f"{SETTINGS}/ConfigurationSetType")) == "LinuxProvisioningConfiguration"

    def test_every_element_once(self) -> None:
        vm = vm_of(password="p", custom_data="c", provision_guest_proxy_agent=True, ssh_keys=["k"])
        names = tags(parse(vm))
        assert len(names) == len(set(names)) + 1
        assert names.count(f"{WA}Version") == 2

    def test_literal_text_replaces_all(self) -> None:
        assert ovf_document(vm_of(ovf_text="<no\nü", ovf_keys="fingerprint"), prefix="1") == b"<no\n\xc3\xbc"


CASES = [
    ({}, f"{SETTINGS}/HostName", "web-1"),
    ({"ovf_hostname": "db-1"}, f"{SETTINGS}/HostName", "db-1"),
    ({"ovf_hostname": ""}, f"{SETTINGS}/HostName", ""),
    ({}, f"{SETTINGS}/UserName", "azureuser"),
    ({"ovf_username": "olga"}, f"{SETTINGS}/UserName", "olga"),
    ({"username": None}, f"{SETTINGS}/UserName", ABSENT),
    ({"username": None, "ovf_username": "olga"}, f"{SETTINGS}/UserName", "olga"),
    ({}, f"{SETTINGS}/UserPassword", ABSENT),
    ({"password": ""}, f"{SETTINGS}/UserPassword", ""),
    ({"password": " p&<ä]]>\r\n'\"\t€\U0001f600 "}, f"{SETTINGS}/UserPassword", " p&<ä]]>\r\n'\"\t€\U0001f600 "),
    ({}, f"{SETTINGS}/DisableSshPasswordAuthentication", "true"),
    ({"disable_password_authentication": False}, f"{SETTINGS}/DisableSshPasswordAuthentication", "false"),
    ({"disable_password_authentication": ""}, f"{SETTINGS}/DisableSshPasswordAuthentication", ""),
    ({}, f"{SETTINGS}/CustomData", ABSENT),
    ({"custom_data": ""}, f"{SETTINGS}/CustomData", ""),
    ({"custom_data": "#!/bin/sh\necho ü\n"}, f"{SETTINGS}/CustomData", "IyEvYmluL3NoCmVjaG8gw7wK"),
    ({"ovf_keys": "none"}, f"{SETTINGS}/SSH", ABSENT),
    ({"ssh_keys": []}, f"{SETTINGS}/SSH", ABSENT),
    ({}, f"{PLATFORM}/PreprovisionedVm", "false"),
    ({"preprovisioned_vm": True}, f"{PLATFORM}/PreprovisionedVm", "true"),
    ({}, f"{PLATFORM}/PreprovisionedVMType", ""),
    ({"preprovisioned_type": "Savable"}, f"{PLATFORM}/PreprovisionedVMType", "Savable"),
    ({"preprovisioned_type": "Odd one"}, f"{PLATFORM}/PreprovisionedVMType", "Odd one"),
    ({}, f"{PLATFORM}/ProvisionGuestProxyAgent", ABSENT),
    ({"provision_guest_proxy_agent": True}, f"{PLATFORM}/ProvisionGuestProxyAgent", "true"),
    ({"provision_guest_proxy_agent": False}, f"{PLATFORM}/ProvisionGuestProxyAgent", "false"),
    ({}, f"{PLATFORM}/ProvisionGuestAgent", "true"),
]


class TestContent:
    @pytest.mark.parametrize(("vm", "path", "expected"), CASES)
    def test_says_the_vm(self, vm: dict[str, Any], path: str, expected: object) -> None:
        assert parse(vm_of(**vm)).findtext(full(path), default=ABSENT) == expected

    @pytest.mark.parametrize(("kind", "nil"), [(None, "true"), ("Running", None), ("", None)])
    def test_type_that_is_none_is_nil(self, kind: str | None, nil: str | None) -> None:
        element = parse(vm_of(preprovisioned_type=kind)).find(full(f"{PLATFORM}/PreprovisionedVMType"))
        assert element is not None
        assert element.get(NIL) == nil

    def test_keys_by_value_are_verbatim(self) -> None:
        vm = vm_of(ovf_username="olga")
        keys = parse(vm).findall(full(f"{SETTINGS}/SSH/PublicKeys/PublicKey"))
        assert [key.findtext(f"{WA}Value") for key in keys] == list(vm.ssh_keys)
        assert {key.findtext(f"{WA}Path") for key in keys} == {"/home/olga/.ssh/authorized_keys"}
        assert all(re.fullmatch(r"[0-9A-F]{40}", key.findtext(f"{WA}Fingerprint", "")) for key in keys)

    def test_keys_by_fingerprint_have_no_value(self) -> None:
        root = parse(vm_of(ovf_keys="fingerprint"), thumbprints=["AB12", "CD34"])
        keys = root.findall(full(f"{SETTINGS}/SSH/PublicKeys/PublicKey"))
        assert [key.findtext(f"{WA}Fingerprint") for key in keys] == ["AB12", "CD34"]
        assert [key.find(f"{WA}Value") for key in keys] == [None, None]

    def test_fingerprints_must_be_known(self) -> None:
        with pytest.raises(ValueError, match="needs the thumbprints"):
            ovf_document(vm_of(ovf_keys="fingerprint"))

    @pytest.mark.parametrize("character", ["\0", "\x1b", "\ufffe", "\ud800"])
    def test_what_xml_cannot_carry_is_named(self, character: str) -> None:
        with pytest.raises(ValueError, match="UserPassword: XML cannot hold the character"):
            ovf_document(vm_of(password=f"a{character}"))

    def test_custom_data_survives(self) -> None:
        text = "".join(map(chr, range(1, 256))) * 300
        told = parse(vm_of(custom_data=text)).findtext(full(f"{SETTINGS}/CustomData"), "")
        assert base64.b64decode(told, validate=True).decode() == text


@pytest.mark.parametrize(("custom_data", "told"), [(None, False), ("", False), ("x", True)])
def test_imds_says_whether_there_is_custom_data(simulate: Simulate, custom_data: str | None, told: bool) -> None:
    reply = simulate({"vm": {"custom_data": custom_data}}).imds(
        "/metadata/instance?api-version=2021-08-01&extended=true"
    )
    assert json.loads(reply.body)["extended"]["compute"]["hasCustomData"] is told
