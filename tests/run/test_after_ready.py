"""The steps after `report_ready`: they wait for a boot at which Azure accepts Ready, and run exactly once then."""

from __future__ import annotations

from typing import Any

import pytest
from kit import ED25519, VM_ID, FastClock, Guest

import azurelite
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator

LATER = "etc/later"
FINISHED = f"var/lib/azurelite/vms/{VM_ID}/handlers/later"


def scenario(*faults: Fault, **vm: Any) -> Simulator:
    said = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], **vm}})
    return Simulator(Scenario(said.vm, faults), rate_limit=None)


def run(guest: Guest, **options: Any) -> Outcome:
    return provision(Options(root=guest.root, clock=FastClock(), **options))


def configure(guest: Guest, fabric: Simulator, **keys: Any) -> Guest:
    files = [{"path": f"/{LATER}", "content": "once\n"}]
    later = {"write_files": {"id": "later", "files": files, **keys}}
    handlers = [{"hostname": {"required": True}}, "user", "ssh_keys", "report_ready", later]
    return guest.on_azure().configure(fabric, handlers=handlers, datasource={"deadline": 60})


# what makes the boot fail -> exit code
FAILURES: list[tuple[tuple[Fault, ...], dict[str, Any], int]] = [
    ((), {"username": "daemon"}, 1),
    ((), {"hostname": "___"}, 1),
    ((), {"ssh_keys": [], "password": None}, 1),
    ((Fault(endpoint="health", status=500),), {}, 3),
    ((Fault(endpoint="health", status=400),), {}, 3),
    ((Fault(endpoint="goal_state", status=500),), {}, 3),
    ((Fault(endpoint="imds", garbage=True),), {}, 1),
]


@pytest.mark.parametrize("frequency", ["instance", "once", "boot"])
@pytest.mark.parametrize(("faults", "vm", "code"), FAILURES)
def test_a_boot_that_failed_does_not_use_them_up(
    guest: Guest, faults: tuple[Fault, ...], vm: dict[str, Any], code: int, frequency: str
) -> None:
    with scenario(*faults, **vm) as broken:
        outcome = run(configure(guest, broken, frequency=frequency))
    assert outcome.exit_code == code
    last = outcome.steps[-1]
    assert (last.name, last.status, last.reason) == ("later", "skipped", "the VM is not Ready")
    assert not guest.path(LATER).exists()
    assert not guest.path(FINISHED).exists()
    with scenario() as healthy:
        outcome = run(configure(guest, healthy, frequency=frequency))
    assert [(step.name, step.status) for step in outcome.steps[-2:]] == [("report_ready", "done"), ("later", "done")]
    guest.path(LATER).unlink()
    run(guest)
    assert guest.path(LATER).exists() is (frequency == "boot")


def test_once_azure_accepted_ready_they_run_even_if_the_boot_that_runs_them_fails(guest: Guest) -> None:
    """Azure has accepted Ready, and azurelite was killed before the steps after it: this VM is Ready."""
    with scenario() as fabric:
        assert run(configure(guest, fabric)).exit_code == 0
    for name in (f"var/lib/azurelite/vms/{VM_ID}/provisioned", FINISHED, LATER):
        guest.path(name).unlink()
    with scenario(hostname="___") as fabric:
        outcome = run(configure(guest, fabric))
    assert outcome.exit_code == 1
    assert guest.text(LATER) == "once\n"


def test_a_dry_run_says_the_same(guest: Guest) -> None:
    with scenario(username="daemon") as fabric:
        dry = run(configure(guest, fabric), dry_run=True)
        real = run(guest)
    assert [(step.name, step.status, step.reason) for step in dry.steps] == [
        (step.name, step.status, step.reason) for step in real.steps
    ]


def test_an_optional_failure_does_not_hold_them_up(guest: Guest) -> None:
    with scenario() as fabric:
        configure(guest, fabric)
        handlers = [{"hostname": {"required": False}}, "report_ready", "tags", "timezone"]
        guest.configure(fabric, handlers=handlers)
        outcome = run(guest)
    assert outcome.exit_code == 0
    assert not any(step.reason == "the VM is not Ready" for step in outcome.steps)


@pytest.mark.parametrize(("username", "status"), [("daemon", "skipped"), ("azureuser", "done")])
def test_the_single_steps_wait_as_well(guest: Guest, username: str, status: str) -> None:
    with scenario(username=username) as fabric:
        configure(guest, fabric)
        outcome = azurelite.apply(["user", "report_ready", "later"], root=guest.root, clock=FastClock())
    assert outcome.steps[-1].status == status
    assert guest.path(LATER).exists() is (status == "done")
