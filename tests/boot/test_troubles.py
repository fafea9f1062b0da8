"""What goes wrong on each init: a step that fails, a program that is gone, a silent fabric, read-only folders."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from boot.machine import NAME, USER, Machine, Start
from boot.roots import INITS, find

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces, pytest.mark.boot]

CONFIG = "/etc/azurelite/azurelite.yaml"
FAILING = """handlers:
  - hostname
  - user
  - ssh_keys
  - run: {argv: [sh, -c, "exit 7"], required: true}
  - report_ready
"""
# How whoever looks at the serial console learns from each init that azurelite has failed, or is not there. finit says
# nothing of its own accord: azurelite's last line is all there is, and `initctl status` knows the rest.
FAILED = {
    "systemd": r"\[FAILED\] Failed to start .*azurelite",
    "finit": r"^failed: run: ",
    **dict.fromkeys(("openrc", "sysvinit", "runit", "s6", "busybox"), "azurelite: exit status 1"),
}
MISSING = {
    "systemd": r"\[FAILED\] Failed to start .*azurelite",
    "finit": "Starting OpenSSH daemon",
    "busybox": "/usr/bin/azurelite: not found",
    **dict.fromkeys(("openrc", "sysvinit", "runit", "s6"), "azurelite: /usr/bin/azurelite does not exist"),
}
STILL = 2.0  # seconds in which whatever starts a service again would have done so


def opened_for_root(machine: Machine) -> None:
    """Root can log in, whatever azurelite does."""
    machine.write({"/root/.ssh/authorized_keys": machine.key.public + "\n"})
    machine.inside("chmod 700 /root/.ssh; chmod 600 /root/.ssh/authorized_keys")


@pytest.mark.parametrize("init", INITS)
def test_a_required_step_that_fails(start: Start, init: str) -> None:
    machine = start(find(init))
    machine.write({CONFIG: FAILING})
    machine.boot()
    machine.wait(report=True, console=FAILED[init])
    time.sleep(STILL)
    seen = machine.look()
    assert [(report["state"], report["accepted"]) for report in seen["reports"]] == [("NotReady", True)]
    for told in (seen["reports"][0]["description"], seen["console"]):
        assert "sh exited with status 7" in told
    assert machine.ssh("hostname; sudo -n id -u").split() == [NAME, "0"]  # what came before it is there


@pytest.mark.parametrize("init", INITS)
def test_the_program_is_not_there(start: Start, init: str) -> None:
    machine = start(find(init))
    opened_for_root(machine)
    machine.inside("rm /usr/bin/azurelite")
    machine.boot()
    machine.wait(console=MISSING[init])
    state = machine.ssh("test ! -x /lib/finit/initctl || /lib/finit/initctl status azurelite", user="root")
    assert init != "finit" or "missing" in state
    time.sleep(STILL)
    seen = machine.look()
    assert seen["requests"] == []
    assert len(re.findall(MISSING[init], seen["console"])) == 1


@pytest.mark.parametrize("init", ["systemd", "busybox"])
def test_a_python_package_is_not_there(start: Start, init: str) -> None:
    machine = start(find(init))
    opened_for_root(machine)
    machine.inside("rm -r /usr/lib/python3/dist-packages/yaml")
    machine.boot()
    machine.wait(console="PyYAML")
    machine.ssh("test ! -e /run/azurelite/status.json", user="root")
    time.sleep(STILL)
    seen = machine.look()
    assert seen["requests"] == []
    assert len(re.findall("azurelite: .*PyYAML.*: install it", seen["console"])) == 1
    assert "Traceback" not in seen["console"]


STATUS = "/run/azurelite/status.json"


@pytest.mark.parametrize("init", INITS)
def test_switched_off(start: Start, init: str) -> None:
    machine = start(find(init))
    opened_for_root(machine)
    machine.write({"/etc/azurelite/disabled": ""})
    for word in ("", "azurelite=off"):
        machine.boot(word=word)
        told = machine.ssh("azurelite status --json", user="root")  # the init system starts nothing that could write it
        assert json.loads(told)["state"] == "disabled"
        time.sleep(STILL)
        seen = machine.look()
        assert seen["requests"] == []
        assert "image" in machine.ssh("hostname", user="root")
        machine.halt()
        machine.inside("rm -f /etc/azurelite/disabled")


@pytest.mark.parametrize("init", ["systemd", "busybox"])
def test_a_wireserver_that_is_silent_for_a_while(start: Start, init: str) -> None:
    machine = start(find(init))
    machine.silence(20)
    machine.boot()
    machine.wait(report=True)
    seen = machine.look()
    assert seen["reported_after"] > 18
    assert [report["state"] for report in seen["reports"]] == ["Ready"]
    assert machine.ssh("hostname").strip() == NAME


def status(machine: Machine) -> dict[str, Any]:
    """The outcome of this boot."""
    found: dict[str, Any] = json.loads(machine.ssh(f"cat {STATUS}"))
    return found


@pytest.mark.parametrize("init", ["systemd", "busybox"])
def test_an_immutable_system_whose_etc_is_an_overlay(start: Start, init: str) -> None:
    machine = start(find(init))
    machine.boot(readonly="usr", overlay="etc")
    machine.wait(report=True)
    look = "hostname; sudo -n id -u; touch /usr/x 2>/dev/null || echo sealed"
    assert machine.ssh(look).split() == [NAME, "0", "sealed"]
    assert failures(status(machine)) == {}


HAS_USER = f"useradd -m -s /bin/bash {USER}; echo '{USER} ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/image"


def failures(outcome: dict[str, Any]) -> dict[str, str]:
    """Step -> why it failed."""
    return {step["name"]: step["error"] for step in outcome["steps"] if step["status"] == "failed"}


def test_etc_cannot_be_written_and_the_image_has_the_user(start: Start) -> None:
    machine = start(find("systemd"))
    machine.inside(HAS_USER)
    machine.write({CONFIG: "handlers:\n  - hostname\n  - user: {sudo: none}\n  - ssh_keys\n  - report_ready\n"})
    machine.boot(readonly="etc usr")
    machine.wait(report=True)
    assert [report["state"] for report in machine.look()["reports"]] == ["Ready"]
    said = "cannot write /etc/hostname: Read-only file system: mount it writable before azurelite starts"
    assert failures(status(machine)) == {"hostname": said}
    assert f"azurelite: error: hostname: {said}" in machine.look()["console"]
    assert machine.ssh("hostname; sudo -n id -u").split() == [NAME, "0"]  # the kernel has the name all the same
    machine.boot(readonly="etc usr")
    machine.wait(console="was provisioned earlier")
    assert machine.look()["requests"] == []


@pytest.mark.parametrize(
    ("image", "names"),
    [
        (HAS_USER, "/etc/sudoers.d/90-azurelite: Read-only file system"),
        ("true", "cannot lock /etc/.pwd.lock: Read-only file system"),
    ],
    ids=["no sudo", "no user"],
)
def test_etc_cannot_be_written_and_something_required_would_have_to_be(start: Start, image: str, names: str) -> None:
    machine = start(find("systemd"))
    machine.inside(image)
    machine.boot(readonly="etc usr")
    machine.wait(report=True, console="azurelite: info: report_ready: Azure was told that provisioning failed")
    seen = machine.look()
    (report,) = seen["reports"]
    assert report["state"] == "NotReady"
    assert names in report["description"]
    assert names in seen["console"]
