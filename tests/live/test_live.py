"""azurelite on a live system, with its defaults: Azure's real addresses, real tools, a real kernel hostname.

The machine is a set of namespaces that ends with the test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import ED25519

HERE = Path(__file__).parent
AZURELITE = [sys.executable, "-m", "azurelite"]

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

# The values of the run that Azure's article on images without an agent shows.
ARTICLE = {
    "container_id": "7b324f53-983a-43bc-b919-1775d6077608",
    "instance_id": "fbb84507-46cd-4f4e-bd78-a2edaa9d059b._thstringnopa2",
    "hostname": "thstringnopa2",
    "incarnation": 1,
}
VM = {**ARTICLE, "username": "livewire", "ssh_keys": [ED25519]}


@pytest.fixture
def stage(on_stage: Callable[..., Any]) -> Any:
    """Run a job on the stage; a list with what came of each of its runs."""

    def run(*runs: dict[str, Any], vm: dict[str, Any] = VM, faults: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        job = {"scenario": {"vm": vm, "faults": list(faults)}, "runs": list(runs)}
        results: list[dict[str, Any]] = on_stage(job)
        return results

    return run


def sh(script: str) -> dict[str, Any]:
    """A run that looks around in the guest."""
    return {"argv": ["sh", "-c", script]}


def test_first_boot_with_default_endpoints_reproduces_the_articles_run(stage: Any) -> None:
    provision = {"argv": [*AZURELITE, "provision", "--json"]}
    first, look, second = stage(
        provision,
        sh("cat /etc/hostname; getent passwd livewire; getent shadow livewire; cat ~livewire/.ssh/authorized_keys"),
        {"argv": [*AZURELITE, "provision"]},
    )

    assert first["code"] == 0, first["err"]
    assert first["hostname"] == "thstringnopa2"
    (report,) = first["reports"]
    assert (report["state"], report["accepted"]) == ("Ready", True)
    assert (report["container_id"], report["instance_id"]) == (ARTICLE["container_id"], ARTICLE["instance_id"])
    assert [(method, status) for method, _, status in first["requests"]] == [("GET", 200), ("GET", 200), ("POST", 200)]
    assert json.loads(first["out"])["outcome"] == "provisioned"

    hostname, passwd, shadow, key = look["out"].splitlines()
    assert hostname == "thstringnopa2"
    assert passwd.startswith("livewire:x:")
    assert shadow.split(":")[1] == "*"
    assert key == ED25519

    assert second["code"] == 0
    assert second["requests"] == []
    assert "provisioned earlier" in second["out"]


def test_the_new_user_may_use_sudo_and_owns_his_keys(stage: Any) -> None:
    _, look = stage(
        {"argv": [*AZURELITE, "provision"], "files": {"/etc/sudoers.d/README": ""}},
        sh("stat -c '%U %a' ~livewire ~livewire/.ssh ~livewire/.ssh/authorized_keys; cat /etc/sudoers.d/90-azurelite"),
    )
    home, folder, key_file, _, rule = look["out"].splitlines()
    assert home.split()[0] == "livewire"
    assert (folder, key_file) == ("livewire 700", "livewire 600")
    assert rule == '"livewire" ALL=(ALL:ALL) NOPASSWD: ALL'


def test_a_new_vm_id_on_the_same_disk_is_provisioned_again_and_leaves_the_user_alone(stage: Any) -> None:
    uid = sh("id -u livewire; getent shadow livewire")
    first, before, again, after = stage(
        {"argv": [*AZURELITE, "provision"]},
        uid,
        {"argv": [*AZURELITE, "provision"], "vm_id": "0f0e0d0c-0b0a-4908-8706-050403020100"},
        uid,
    )
    assert [first["code"], again["code"]] == [0, 0]
    assert [report["state"] for report in again["reports"]] == ["Ready"]
    assert before["out"] == after["out"]


def test_without_azures_firmware_no_packet_is_sent(stage: Any) -> None:
    strip = sh("echo None > /sys/class/dmi/id/chassis_asset_tag")
    _, result = stage(strip, {"argv": [*AZURELITE, "provision"]})
    assert result["code"] == 0
    assert result["requests"] == []
    assert result["out"].count("\n") == 1
    assert "not on Azure" in result["out"]


def test_a_broken_configuration_is_told_to_azure_because_nobody_can_log_in_to_see_it(stage: Any) -> None:
    broken = {"/etc/azurelite/azurelite.yaml": "handlers:\n  - hostnane\n"}
    (result,) = stage({"argv": [*AZURELITE, "provision"], "files": broken})
    assert result["code"] == 2
    assert "azurelite.yaml:2:5: unknown handler 'hostnane'; did you mean 'hostname'?" in result["err"]
    (report,) = result["reports"]
    assert (report["state"], report["substatus"], report["accepted"]) == ("NotReady", "ProvisioningFailed", True)
    assert "did you mean ''hostname''?" in report["description"]


def test_report_ready_alone_needs_nothing_but_the_fabric(stage: Any) -> None:
    (result,) = stage({"argv": [*AZURELITE, "report", "ready"]})
    assert result["code"] == 0, result["err"]
    assert [report["state"] for report in result["reports"]] == ["Ready"]
    assert [method for method, _, _ in result["requests"]] == ["GET", "POST"]


DHCLIENT = """lease {
  interface "eth0";
  fixed-address 10.0.0.4;
  option unknown-245 %s;
  expire never;
}
"""


def test_wireserver_is_asked_where_dhcp_says_it_is(stage: Any) -> None:
    files = {"/var/lib/dhcp/dhclient.eth0.leases": DHCLIENT % "a:0:0:1"}
    (result,) = stage({"argv": [*AZURELITE, "report", "ready"], "files": files})
    assert result["code"] == 0, result["err"]
    assert set(result["hosts"]) == {"10.0.0.1"}


def test_a_lease_that_leads_nowhere_does_not_lose_ready(stage: Any) -> None:
    config = "datasource: {deadline: 60, wireserver: {timeout: 2}}\n"
    files = {
        "/var/lib/dhcp/dhclient.eth0.leases": DHCLIENT % "a:0:0:9",
        "/etc/azurelite/azurelite.yaml": config,
    }
    (result,) = stage({"argv": [*AZURELITE, "provision"], "files": files})
    assert result["code"] == 0, result["err"]
    assert "falling back to http://168.63.129.16 instead" in result["err"]
    assert [report["state"] for report in result["reports"]] == ["Ready"]


def test_an_unreachable_fabric_is_explained(stage: Any) -> None:
    config = "datasource: {deadline: 4, imds: {deadline: 1}, wireserver: {timeout: 1}}\n"
    cut = sh("ip route del default")
    _, result = stage(cut, {"argv": [*AZURELITE, "provision"], "files": {"/etc/azurelite/azurelite.yaml": config}})
    assert result["code"] == 3
    assert "imds: unreachable: " in result["err"]
    assert "proxies are never used" in result["err"]


def test_the_media_alone_provisions_where_imds_is_not(stage: Any) -> None:
    ovf = """<?xml version="1.0"?><Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
        xmlns:wa="http://schemas.microsoft.com/windowsazure"><wa:ProvisioningSection>
        <wa:LinuxProvisioningConfigurationSet><wa:HostName>from-disc</wa:HostName><wa:UserName>discuser</wa:UserName>
        <wa:DisableSshPasswordAuthentication>true</wa:DisableSshPasswordAuthentication>
        <wa:SSH><wa:PublicKeys><wa:PublicKey><wa:Value>%s</wa:Value></wa:PublicKey></wa:PublicKeys></wa:SSH>
        </wa:LinuxProvisioningConfigurationSet></wa:ProvisioningSection></Environment>"""
    config = "datasource: {imds: {deadline: 1}, media: {device: /media/disc}}\n"
    files = {"/media/disc/ovf-env.xml": ovf % ED25519, "/etc/azurelite/azurelite.yaml": config}
    broken = ({"endpoint": "imds", "status": 404},)
    result, look = stage(
        {"argv": [*AZURELITE, "provision"], "files": files}, sh("cat ~discuser/.ssh/authorized_keys"), faults=broken
    )
    assert result["code"] == 0, result["err"]
    assert result["hostname"] == "from-disc"
    assert look["out"].strip() == ED25519
    assert [report["state"] for report in result["reports"]] == ["Ready"]
