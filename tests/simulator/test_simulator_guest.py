"""A made guest is a whole VM for azurelite: firmware of both generations, accounts, configuration; and a fast clock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from kit import SWAPPED_VM_ID, VM_ID

import azurelite
from azurelite.hypervisor.identity import read_identity
from azurelite.simulator import FastClock, Guest, Scenario, Simulator, make_guest
from azurelite.simulator.guest import OS_RELEASE
from azurelite.system.machine import System
from azurelite.system.root import Root


def vm(**changes: Any) -> Any:
    return Scenario.from_dict({"vm": changes}).vm


@pytest.mark.parametrize(
    ("generation", "efi", "shown", "read"),
    [
        (2, None, VM_ID, VM_ID),
        (1, None, SWAPPED_VM_ID, VM_ID),
        # A firmware that contradicts its generation: the id that a client then reads is another one.
        (2, False, VM_ID, SWAPPED_VM_ID),
        (1, True, SWAPPED_VM_ID, SWAPPED_VM_ID),
    ],
)
def test_the_firmware_shows_the_id_in_its_byte_order(
    tmp_path: Path, generation: int, efi: bool, shown: str, read: str
) -> None:
    guest = make_guest(tmp_path / "g", vm=vm(generation=generation), efi=efi)
    assert guest.text("/sys/class/dmi/id/product_uuid") == f"{shown}\n"
    assert guest.path("/sys/firmware/efi").is_dir() is (generation == 2 if efi is None else efi)
    identity = read_identity(Root(guest.root))
    assert (identity.on_azure, identity.vm_id) == (True, read)
    assert azurelite.Azure(root=guest.root).vm_id() == read


@pytest.mark.parametrize("generation", [1, 2])
def test_it_is_provisioned_as_the_simulators_vm(tmp_path: Path, azure_clock: FastClock, generation: int) -> None:
    scenario = Scenario.from_dict({"vm": {"generation": generation, "username": "alex", "hostname": "db-7"}})
    with Simulator(scenario, rate_limit=None) as simulator:
        guest = make_guest(tmp_path / "g", simulator)
        with azurelite.Azure(root=guest.root, clock=azure_clock) as azure:
            assert not azure.is_done()
            azure.provision().check()
            assert azure.is_done()
    assert [report.state for report in simulator.reports] == ["Ready"]
    assert guest.text("etc/hostname") == "db-7\n"
    assert "alex" in guest.text("etc/passwd")


@pytest.mark.parametrize("tag", ["", "7783-7084-3265-9085-8269-3286-78", "Microsoft Corporation"])
def test_another_tag_is_not_azure(tmp_path: Path, azure_simulator: Simulator, tag: str) -> None:
    guest = make_guest(tmp_path / "g", azure_simulator, asset_tag=tag)
    with azurelite.Azure(root=guest.root) as azure, pytest.raises(azurelite.NotAzureError):
        azure.crawl()
    assert azure_simulator.requests == []


def test_an_id_that_has_no_bytes_to_swap_is_refused(tmp_path: Path) -> None:
    assert make_guest(tmp_path / "2", vm=vm(vm_id="no-uuid")).text("sys/class/dmi/id/product_uuid") == "no-uuid\n"
    with pytest.raises(ValueError, match="badly formed"):
        make_guest(tmp_path / "1", vm=vm(vm_id="no-uuid", generation=1))


def test_accounts_release_and_files_are_as_asked_for(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"/etc/hostname": "golden\n", "opt/blob": b"\0\xff"}
    guest = make_guest(tmp_path / "g", accounts=["ann", "ben"], os_release={"ID": "void", "NAME": "Void"}, files=files)
    accounts = System(guest.root).accounts
    for name, number in (("ann", 1000), ("ben", 1001)):
        user = accounts.user(name)
        assert user is not None
        assert (user.uid, user.gid, user.home) == (number, number, f"/home/{name}")
        status = guest.path(f"home/{name}").stat()
        assert status.st_mode & 0o777 == 0o700
        assert os.geteuid() != 0 or (status.st_uid, status.st_gid) == (number, number)
        assert f"{name}:!:" in guest.text("etc/shadow")
    assert guest.text("etc/os-release") == 'ID="void"\nNAME="Void"\n'
    assert (guest.text("etc/hostname"), guest.path("opt/blob").read_bytes()) == ("golden\n", b"\0\xff")
    assert guest.mode("etc/shadow") == 0o640


def test_a_plain_one_has_what_most_images_have(tmp_path: Path) -> None:
    guest = make_guest(str(tmp_path / "deep/er"))
    assert [line.partition(":")[0] for line in guest.text("etc/passwd").splitlines()] == ["root", "daemon", "nobody"]
    assert f'ID="{OS_RELEASE["ID"]}"' in guest.text("etc/os-release")
    assert os.access(guest.path("usr/sbin/sshd"), os.X_OK)
    assert not guest.path("etc/azurelite/azurelite.yaml").exists()


def test_a_folder_that_is_in_use_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(OSError, match="not empty"):
        make_guest(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_snapshot_sees_every_change(tmp_path: Path) -> None:
    guest = Guest(tmp_path).put({"a": "1", "b/c": "2"})
    guest.path("l").symlink_to("/a")
    before = guest.snapshot()
    assert sorted(before) == ["/a", "/b", "/b/c", "/l"]
    assert before["/l"][3] == b"/a"
    guest.path("a").chmod(0o600)
    guest.put({"b/c": b"3"})
    after = guest.snapshot()
    assert {name for name in after if after[name] != before[name]} == {"/a", "/b/c"}
    assert "/b/c" not in guest.snapshot(without=("/b",))


def test_a_sleep_moves_the_clock_and_takes_no_time() -> None:
    clock = FastClock(now=5.0)
    before, real = clock.monotonic(), time.monotonic()
    for seconds in (100, 0.5):
        clock.sleep(seconds)
    assert 100.5 <= clock.monotonic() - before < 101.5
    assert time.monotonic() - real < 1
    assert (clock.slept, clock.skipped, clock.now(), clock.jitter()) == ([100, 0.5], 100.5, 5.0, 0.0)


def test_no_sleep_of_several_threads_is_lost() -> None:
    clock = FastClock()

    def sleep() -> None:
        for _ in range(1000):
            clock.sleep(1)

    threads = [threading.Thread(target=sleep) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (clock.skipped, len(clock.slept)) == (8000.0, 8000)


FOREIGN = """
import azurelite
import pytest
from azurelite.simulator import Fault, FastClock, Guest, Scenario, Simulator


def my_init(azure: azurelite.Azure) -> None:
    azure.apply(["hostname", "user", "ssh_keys"], azure.crawl()).check()
    azure.report_ready()


def test_ready(azure_guest: Guest, azure_simulator: Simulator, azure_clock: FastClock) -> None:
    with azurelite.Azure(root=azure_guest.root, clock=azure_clock) as azure:
        my_init(azure)
    assert [report.state for report in azure_simulator.reports] == ["Ready"]
    assert azure_guest.text("/etc/hostname") == "web-1\\n"


class TestFaults:
    @pytest.fixture
    def azure_scenario(self) -> Scenario:
        return Scenario(Scenario.default().vm, (Fault(endpoint="health", status=503),))

    def test_no_answer(self, azure_guest: Guest, azure_simulator: Simulator, azure_clock: FastClock) -> None:
        with azurelite.Azure(root=azure_guest.root, clock=azure_clock) as azure, pytest.raises(azurelite.FabricError):
            my_init(azure)
        assert azure_clock.skipped > 60
"""


@pytest.mark.spawns
def test_the_plugin_serves_tests_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["azurelite.simulator.pytest_plugin"]\n')
    (tmp_path / "test_mine.py").write_text(FOREIGN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-W", "error"]
    done = subprocess.run(
        [*command, str(tmp_path)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.spawns
def test_the_simulator_does_without_pytest() -> None:
    code = "import sys, azurelite.simulator, azurelite.api; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
