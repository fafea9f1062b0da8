"""User data that takes its time, on each init: nobody waits for it once Azure has heard Ready, sshd least of all."""

from __future__ import annotations

import json
import time

import pytest
from boot.machine import NAME, Machine, Start
from boot.roots import INITS, find

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.boot]

SLOW = "#!/bin/sh\n: >/run/begun\nsleep 15\n: >/run/through\n"
# As everybody does who edits sshd_config. A unit that sshd waits for, and that waits for this script, would hang both.
RESTARTING = "#!/bin/sh\nset -e\nsystemctl restart ssh\n: >/run/begun\nsleep 8\n: >/run/through\nexit 3\n"
BEGUN = "until test -e /run/begun; do sleep 0.1; done; test ! -e /run/through; hostname"
MARKED = "sudo -n sh -c 'ls /var/lib/azurelite/vms/*/provisioned'"
UNIT = "systemctl show -p ActiveState -p SubState --value azurelite.service"


def through(machine: Machine) -> dict[str, str]:
    """Wait for the script's end and for azurelite's; step -> what became of it."""
    machine.wait(console="provisioned: Azure accepted Ready")
    machine.ssh(f"test -e /run/through; {MARKED}")
    done = json.loads(machine.ssh("cat /run/azurelite/status.json"))
    assert done["outcome"] == "provisioned"
    return {step["name"]: step["status"] for step in done["steps"]}


@pytest.mark.parametrize("init", INITS)
def test_the_login_works_before_the_script_is_through(start: Start, init: str) -> None:
    machine = start(find(init))
    machine.boot(user_data=SLOW)
    machine.wait(report=True)
    assert machine.ssh(BEGUN).strip() == NAME
    assert machine.try_ssh(MARKED)["code"] != 0
    assert through(machine)["user_data"] == "done"
    assert [report["state"] for report in machine.look()["reports"]] == ["Ready"]
    machine.boot(user_data=SLOW)
    machine.wait(console="was provisioned earlier")
    assert machine.ssh("hostname; test ! -e /run/begun").strip() == NAME
    assert machine.look()["requests"] == []


def test_a_script_restarts_sshd_under_systemd(start: Start) -> None:
    machine = start(find("systemd"))
    machine.boot(user_data=RESTARTING)
    machine.wait(report=True)
    ready = time.monotonic()
    assert machine.ssh(BEGUN, seconds=10).strip() == NAME
    assert time.monotonic() - ready < 5
    assert machine.ssh(UNIT).split() == ["active", "running"]
    assert through(machine)["user_data"] == "failed"  # by its exit status; nothing that Azure would be told of
    assert machine.ssh(UNIT).split() == ["active", "exited"]
    machine.ssh("systemctl is-active multi-user.target")
    machine.boot()  # nothing is left to do: no process stays, and the unit is active all the same
    machine.wait(console="was provisioned earlier")
    assert machine.ssh(UNIT).split() == ["active", "exited"]
