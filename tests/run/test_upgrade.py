"""An upgrade of azurelite between two boots of a VM that is not Ready: the new release continues.

The records are written here as releases before the check of the login wrote them: without the memory of the
administrator's password, with digests of the options and secrets of that time, and with steps after a refused report
already done.
"""

from __future__ import annotations

import json
import os
from typing import Optional

import pytest
from kit import BASE, ED25519, VM_ID, FastClock, Guest

from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Scenario, Simulator

FOLDER = f"var/lib/azurelite/vms/{VM_ID}"
MANIFEST = json.dumps({"vm_id": VM_ID, "kind": "user", "target": "azureuser", "detail": "create, home /home/azureuser"})
TEXT = "#cloud-config\nwrite_files:\n- {path: /etc/from-user-data, content: x}\n"
RECORDS = ("/run", "/var/log", "/var/lib/azurelite/boots")  # what each run writes
HANDLERS = ["hostname", "user", "ssh_keys", "user_data", "report_ready", "tags"]
PASSWD = BASE["etc/passwd"] + "azureuser:x:1777:1777::/home/azureuser:/bin/sh\n"
ACCOUNT = {
    "etc/passwd": PASSWD,
    "etc/group": BASE["etc/group"] + "azureuser:x:1777:\n",
    "etc/shadow": BASE["etc/shadow"] + "azureuser:*:19000:0:99999:7:::\n",
    "home/azureuser/.ssh/authorized_keys": f"{ED25519}\n",
}


def record(name: str, *, inputs: Optional[str] = "1" * 64) -> dict[str, str]:
    text = json.dumps({"handler": name, "finished": "2023-11-14T22:13:20+00:00", "inputs": inputs}) + "\n"
    return {f"{FOLDER}/handlers/{name}": text}


ALL = {key: text for name in ("hostname", "user", "ssh_keys", "user_data") for key, text in record(name).items()}
OLD: dict[str, dict[str, str]] = {
    "only the manifest": {"var/lib/azurelite/manifest.jsonl": MANIFEST + "\n"},
    "the manifest cut off by a power cut": {"var/lib/azurelite/manifest.jsonl": MANIFEST[:20]},
    "the host name": record("hostname"),
    "an account": {**ACCOUNT, **record("user")},
    "an account that is not whole": {"etc/passwd": PASSWD},
    "everything but Ready": {**ACCOUNT, **ALL, f"{FOLDER}/user_data": TEXT, "etc/from-user-data": "x"},
    "records without inputs": {**ACCOUNT, **record("user", inputs=None), **record("user_data", inputs=None)},
    "damaged records": {**ACCOUNT, f"{FOLDER}/handlers/user": "", f"{FOLDER}/owed": "["},
    "a step to retry": {**ACCOUNT, **ALL, f"{FOLDER}/owed": '{"tags": 1}\n'},
    "other files": {**ACCOUNT, f"{FOLDER}/handlers/gone": "x", f"{FOLDER}/memory/gone": "x", f"{FOLDER}/unknown": "x"},
}  # fmt: skip


def boot(guest: Guest, fabric: Simulator) -> Outcome:
    guest.on_azure().configure(fabric, handlers=HANDLERS, datasource={"sources": ["imds", "wireserver"]})
    return provision(Options(root=guest.root, clock=FastClock()))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a home belongs to another user")
@pytest.mark.parametrize("name", OLD)
def test_a_vm_that_an_older_release_began_becomes_ready_once(guest: Guest, name: str) -> None:
    guest.put(OLD[name])
    if "etc/passwd" in OLD[name]:
        guest.put({"home/azureuser/.profile": "kept"})
        for path in (guest.path("home/azureuser"), *guest.path("home/azureuser").rglob("*")):
            os.chown(path, 1777, 1777)
            path.chmod(0o700 if path.is_dir() else 0o600)
    vm = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], "user_data": TEXT}}).vm
    with Simulator(Scenario(vm, ()), rate_limit=None) as fabric:
        outcome = boot(guest, fabric)
        assert (outcome.outcome, outcome.exit_code) == ("provisioned", 0), outcome.reason
        assert [(report.state, report.accepted) for report in fabric.reports] == [("Ready", True)]
        entries = [line for line in guest.text("etc/passwd").splitlines() if line.startswith("azureuser:")]
        assert entries == [PASSWD.splitlines()[-1]] if "etc/passwd" in OLD[name] else len(entries) == 1
        assert guest.text("home/azureuser/.ssh/authorized_keys").count(ED25519) == 1
        assert guest.text("etc/from-user-data") == "x"
        sent, tree = len(fabric.requests), guest.snapshot(without=RECORDS)
        again = boot(guest, fabric)
        assert (again.outcome, again.exit_code) == ("already provisioned", 0)
        assert [request for request in fabric.requests[sent:] if request.method == "POST"] == []
        assert guest.snapshot(without=(*RECORDS, "/etc/azurelite", f"/{FOLDER}/provisioned")) == {
            path: state
            for path, state in tree.items()
            if not path.startswith(("/etc/azurelite", f"/{FOLDER}/provisioned"))
        }
