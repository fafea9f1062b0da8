"""A step whose program never ran is not done: it is skipped, stays to be done, and fails where it is required."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest
from kit import ED25519, VM_ID, FastClock, Guest

import azurelite
from azurelite.errors import AzureliteError
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Scenario, Simulator

STATE = f"var/lib/azurelite/vms/{VM_ID}"
SCRIPT = "#!/bin/sh\nexit 0\n"

# Entry of `handlers` -> the user data, and the text about what was skipped. None of them can run in a scratch root.
ENTRIES: list[tuple[str, dict[str, Any], Optional[str], str]] = [
    ("run", {"argv": ["/bin/true"]}, None, "/bin/true"),
    ("run", {"shell": "exit 0"}, None, "shell"),
    ("local", {"key": "value"}, None, "handlers.d/local"),
    ("user_data", {}, SCRIPT, "part-001"),
    ("user_data", {}, "#cloud-config\nruncmd: [exit 0]\n", "runcmd"),
    ("user_data", {}, "#cloud-config\npackages: [web]\ntimezone: UTC\n", "`packages`"),
    ("user_data", {}, "#cloud-config\npower_state: {mode: reboot}\n", "`power_state`"),
    ("custom_data", {}, SCRIPT, "part-001"),
    ("packages", {"install": ["web"]}, None, "running system"),
    ("power_state", {"mode": "reboot"}, None, "running system"),
    ("growroot", {}, None, "running system"),
    ("resource_disk", {}, None, "running system"),
    ("wireserver_firewall", {}, None, "running system"),
]


def scenario(data: Optional[str]) -> Simulator:
    vm = {"ssh_keys": [ED25519], "user_data": data, "custom_data": data}
    return Simulator(Scenario.from_dict({"vm": vm}), rate_limit=None)


def configure(guest: Guest, fabric: Simulator, entry: dict[str, Any]) -> Guest:
    guest.put({"etc/azurelite/handlers.d/local": SCRIPT, "usr/share/zoneinfo/UTC": "TZif"})
    guest.path("etc/azurelite/handlers.d/local").chmod(0o755)
    guest.path("dev").mkdir(exist_ok=True)
    guest.path("dev/sr0").write_bytes(fabric.media())
    datasource = {"media": {"device": "/dev/sr0"}}
    handlers = ["user", "ssh_keys", entry, "report_ready"]
    return guest.on_azure().configure(fabric, handlers=handlers, datasource=datasource)


def run(guest: Guest, **options: Any) -> Outcome:
    return provision(Options(root=guest.root, clock=FastClock(), **options))


@pytest.mark.parametrize(("name", "options", "data", "words"), ENTRIES)
@pytest.mark.parametrize("dry_run", [False, True])
def test_it_is_skipped_and_stays_to_be_done(
    guest: Guest, name: str, options: dict[str, Any], data: Optional[str], words: str, dry_run: bool
) -> None:
    with scenario(data) as fabric:
        outcome = run(
            configure(guest, fabric, {name: {**options, "id": "it", "frequency": "instance"}}), dry_run=dry_run
        )
    step = outcome.steps[2]
    assert (step.name, step.status, step.error) == ("it", "skipped", None)
    assert words in str(step.reason)
    assert outcome.exit_code == 0
    assert not guest.path(f"{STATE}/handlers/it").exists()
    if not dry_run:
        assert json.loads(guest.text(f"{STATE}/owed")) == {"it": 0}, "the running system does it at a later boot"


@pytest.mark.parametrize(("name", "options", "data", "words"), ENTRIES)
def test_where_it_is_required_the_vm_is_not_ready(
    guest: Guest, name: str, options: dict[str, Any], data: Optional[str], words: str
) -> None:
    with scenario(data) as fabric:
        outcome = run(configure(guest, fabric, {name: {**options, "id": "it", "required": True}}))
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
    (report,) = fabric.reports
    assert report.state == "NotReady"
    assert words in str(report.description)


def test_a_step_that_is_named_on_the_command_line_is_required(guest: Guest) -> None:
    with scenario(None) as fabric:
        configure(guest, fabric, {"run": {"argv": ["/bin/true"]}})
        outcome = azurelite.apply(["run"], root=guest.root, clock=FastClock())
    assert (outcome.exit_code, outcome.steps[0].status) == (1, "failed")
    assert isinstance(outcome.error, AzureliteError)


def test_a_step_with_nothing_to_run_is_done(guest: Guest) -> None:
    guest.put({"made": ""})
    with scenario("#cloud-config\ntimezone: UTC\n") as fabric:
        configure(guest, fabric, {"run": {"argv": ["/bin/true"], "creates": "/made", "required": True}})
        assert run(guest).steps[2].status == "done"
        configure(guest, fabric, {"user_data": {"required": True}})
        assert run(guest, force=True).steps[2].status == "done"
