"""Live: a broken configuration is told of a new VM alone, and user data that goes on when its run has ended."""

from __future__ import annotations

import json
import sys
from typing import Any, Callable

import pytest
from kit import ED25519, VM_ID

AZURELITE = f"{sys.executable} -m azurelite"
BROKEN = {"/etc/azurelite/azurelite.yaml": "handlers:\n  - hostnane\n"}
KEPT = f"/var/lib/azurelite/vms/{VM_ID}"
SLOW = "#!/bin/sh\n: >/var/begun\nwhile [ ! -e /var/gate ]; do sleep 0.05; done\n: >/var/through\n"
# The log of what goes on is a file: this driver waits for the end of all that has its pipes.
DETACHED = f"""
{AZURELITE} provision --detach >/var/log/run 2>&1 </dev/null; echo "status $?"
while [ ! -e /var/begun ]; do sleep 0.05; done
ls /var/through {KEPT}/provisioned 2>/dev/null
{AZURELITE} status | head -1
: >/var/gate
{AZURELITE} provision
ls /var/through {KEPT}/provisioned
cat /run/azurelite/status.json
"""

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

Stage = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def stage(on_stage: Callable[..., Any]) -> Stage:
    def run(*runs: dict[str, Any], **vm: Any) -> list[dict[str, Any]]:
        known = {"vm_id": VM_ID, "username": "livewire", "ssh_keys": [ED25519], "hostname": "live", **vm}
        results: list[dict[str, Any]] = on_stage({"scenario": {"vm": known}, "runs": list(runs)})
        return results

    return run


def sh(script: str, **files: str) -> dict[str, Any]:
    return {"argv": ["sh", "-c", script], "files": files}


@pytest.mark.parametrize(
    "healthy",
    [
        {"/var/lib/cloud/data/instance-id": f"{VM_ID}\n"},
        {"/var/lib/waagent/provisioned": VM_ID.upper()},
        {f"{KEPT}/provisioned": ""},
    ],
    ids=["cloud-init", "waagent", "azurelite"],
)
def test_nobody_is_told_of_a_typo_on_a_vm_that_has_been_ready(stage: Stage, healthy: dict[str, str]) -> None:
    (result,) = stage({"argv": ["sh", "-c", f"{AZURELITE} provision"], "files": {**BROKEN, **healthy}})
    assert (result["code"], result["reports"], result["requests"]) == (2, [], [])
    assert "did you mean 'hostname'?" in result["err"]


def test_azure_is_told_of_a_typo_on_a_new_vm(stage: Stage) -> None:
    other = {"/var/lib/cloud/data/instance-id": "0f0e0d0c-0b0a-4908-8706-050403020100\n"}
    (result,) = stage({"argv": ["sh", "-c", f"{AZURELITE} provision"], "files": {**BROKEN, **other}})
    assert [report["state"] for report in result["reports"]] == ["NotReady"]


def test_without_an_id_in_the_firmware_nobody_is_told_where_some_vm_is_done(stage: Stage) -> None:
    nameless = f"rm /sys/class/dmi/id/product_uuid; {AZURELITE} provision"
    done = {f"{KEPT}/provisioned": ""}
    (result,) = stage({"argv": ["sh", "-c", nameless], "files": {**BROKEN, **done}})
    assert (result["code"], result["reports"]) == (2, [])
    begun = {f"{KEPT}/ovf-env.xml": ""}  # that one may be this VM, and Azure still waits for it
    for files in (BROKEN, {**BROKEN, **begun}):
        (result,) = stage({"argv": ["sh", "-c", nameless], "files": files})
        assert [report["state"] for report in result["reports"]] == ["NotReady"]


def test_a_script_goes_on_when_the_run_has_ended_with_ready(stage: Stage) -> None:
    result, log = stage(sh(DETACHED), sh("cat /var/log/run"), user_data=SLOW)
    code, status, again, marker, through, *rest = result["out"].splitlines()
    assert code == "status 0"  # and the marker was not there yet
    assert status == "status: Azure accepted Ready; in the background: user_data"
    assert "provisioned earlier" in again  # it waited for what went on
    assert (through, marker) == ("/var/through", f"{KEPT}/provisioned")
    done = json.loads("\n".join(rest))
    assert (done["outcome"], done["report"]["state"], done["steps"][-1]["status"]) == ("provisioned", "Ready", "done")
    assert [report["state"] for report in result["reports"]] == ["Ready"]
    lines = [line for line in log["out"].splitlines() if "user_data" in line or "Ready" in line]
    assert lines[:2] == [
        "azurelite: info: report_ready: Azure accepted Ready",
        "azurelite: info: background: continuing in the background: user_data",
    ]
    assert lines[-1].startswith("azurelite: info: provision: provisioned: ")


def test_at_a_later_boot_the_early_unit_takes_no_python_package_to_see_that_it_is_done(stage: Stage) -> None:
    script = """
import sys
from azurelite.cli import main
code = main(["apply", "hostname", "--sources", "media", "--first-boot"])
sys.exit(code or bool({"yaml", "urllib3", "argparse", "logging"} & set(sys.modules)))
"""
    (result,) = stage({"argv": [sys.executable, "-c", script], "files": {f"{KEPT}/provisioned": ""}})
    assert result["code"] == 0, result["err"]
    assert "provisioned earlier" in result["out"]
