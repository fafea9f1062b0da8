"""A fifo in the place of a file: an error, or the file counts as absent. It never makes azurelite wait."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Iterator

import pytest
from kit import Guest

from azurelite.simulator import Scenario, Simulator

pytestmark = pytest.mark.spawns

FILES = [
    "etc/azurelite/azurelite.yaml",
    "etc/azurelite/conf.d/50-a.yaml",
    "etc/azurelite/disabled",
    "etc/azurelite/handlers.d/own",
    "etc/doas.conf",
    "etc/fstab",
    "etc/group",
    "etc/gshadow",
    "etc/hostname",
    "etc/hosts",
    "etc/login.defs",
    "etc/os-release",
    "etc/passwd",
    "etc/selinux/config",
    "etc/shadow",
    "etc/skel/.bashrc",
    "etc/ssh/sshd_config",
    "etc/ssh/sshd_config.d/50-a.conf",
    "etc/sudoers.d/azurelite",
    "home/azureuser/.ssh/authorized_keys",
    "proc/cmdline",
    "proc/mounts",
    "run/azurelite/status.json",
    "sys/class/dmi/id/product_uuid",
    "var/lib/azurelite/lock",
    "var/lib/azurelite/manifest.json",
    "var/lib/dhcp/dhclient.leases",
    "var/lib/hyperv/.kvp_pool_1",
    "var/log/azurelite.log",
]


@pytest.fixture
def machine(guest: Guest) -> Iterator[Guest]:
    with Simulator(Scenario.default()) as simulator:
        yield guest.on_azure().configure(simulator)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "azurelite", *words], capture_output=True, text=True, check=False, timeout=50
    )


@pytest.mark.parametrize("path", FILES)
def test_a_fifo_on_the_machine_is_never_waited_for(path: str, machine: Guest) -> None:
    place = machine.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    done = run("provision", "--root", machine.root)
    assert done.returncode in (0, 1, 2), done.stderr
    assert "unhandled" not in done.stderr
    if done.returncode:
        assert path in done.stderr


@pytest.mark.parametrize(
    "words", [("apply", "hostname", "--metadata"), ("plan", "--config"), ("config", "check"), ("simulate",)]
)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_a_named_file_that_is_none_is_an_error(words: tuple[str, ...], kind: str, machine: Guest) -> None:
    place = machine.path("named")
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/full")
    else:
        place.mkdir()
    root = [] if words == ("simulate",) else ["--root", machine.root]
    done = run(*words, str(place), *root)
    assert done.returncode == 2
    assert f"{place}: " in done.stderr


def test_a_shell_may_give_a_pipe(machine: Guest) -> None:
    script = (
        f"{sys.executable} -m azurelite config check <(echo 'handlers: [user, report_ready]') --root {machine.root}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
