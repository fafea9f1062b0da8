"""What is remembered through a power cut, in which order it reaches the disk, and a folder that vanishes in mid-run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from kit import VM_ID, FastClock, Guest

from azurelite.config.load import load_config
from azurelite.fabric.client import Fabric
from azurelite.handlers import bind_handlers
from azurelite.metadata import Metadata
from azurelite.run.plan import make_plan
from azurelite.run.steps import Runner
from azurelite.state.manifest import read_manifest
from azurelite.state.store import State
from azurelite.system.accounts.users import User
from azurelite.system.changes import Change
from azurelite.system.durability import Durability
from azurelite.system.machine import System


class Noted(Durability):
    """Keeps the names of the folders that were synced, in order."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root
        self.synced: list[str] = []
        self.before: dict[str, list[str]] = {}  # folder -> what had been synced when its entry was renamed into place

    def note(self, folder: int) -> None:
        self.before.setdefault(os.readlink(f"/proc/self/fd/{folder}").replace(self.root, ""), list(self.synced))
        super().note(folder)

    def settle(self) -> None:
        for folder in self._open.values():
            self.synced.append(os.readlink(f"/proc/self/fd/{folder}").replace(self.root, "").replace(VM_ID, "ID"))
        super().settle()


@pytest.fixture
def remembered(guest: Guest) -> tuple[State, System, Noted]:
    system = System(guest.root)
    noted = Noted(guest.root)
    system.files.durability = noted
    return State(system, VM_ID, FastClock()), system, noted


def test_a_memory_lasts_with_all_folders_above_it(remembered: tuple[State, System, Noted]) -> None:
    state, system, noted = remembered
    state.note_change(Change("write", "/etc/hostname", ""))  # makes folders that need not last
    state.finish("hostname", "instance", inputs=None, lasting=False)
    assert noted.synced == []
    with system.files.durability.together():
        assert state.memory.remember("run-scripts", "1")
        vm = "/var/lib/azurelite/vms/ID"
        assert set(noted.synced) >= {f"{vm}/memory", vm, "/var/lib/azurelite/vms", "/var/lib/azurelite", "/var/lib"}


def test_what_was_done_lasts_before_the_memory_that_it_was_done(remembered: tuple[State, System, Noted]) -> None:
    state, system, noted = remembered
    system.files.mkdirs("/etc/ssh")
    with system.files.durability.together():
        system.files.write("/etc/ssh/ssh_host_rsa_key", b"new", mode=0o600)
        state.memory.remember("ssh_host_keys", "made")
    assert "/etc/ssh" in noted.before[f"/var/lib/azurelite/vms/{VM_ID}/memory"]


@pytest.mark.parametrize(("handler", "lasts"), [("user_data", True), ("hostname", False)])
def test_the_record_of_a_handler_that_runs_programs_lasts(
    remembered: tuple[State, System, Noted], guest: Guest, handler: Any, lasts: bool
) -> None:
    """After a power cut a script must not run a second time; for the others a second turn changes nothing."""
    state, system, noted = remembered
    guest.configure(handlers=[handler])
    config = load_config(system.root)
    metadata = Metadata(vm_id=VM_ID, local_hostname="web-1")
    plan = make_plan(bind_handlers(config, system.root), metadata, state)
    (result,) = Runner(system, Fabric(60, clock=FastClock()), VM_ID, config).run(plan, metadata, state, remember=True)
    assert result.status == "done", result
    assert ("/var/lib/azurelite/vms/ID/handlers" in noted.synced) == lasts


@pytest.mark.parametrize("lasting", [True, False])
def test_a_folder_that_vanished_is_made_again_for_root_alone(guest: Guest, lasting: bool) -> None:
    """As where a handler mounts a disk over /var."""
    state = State(System(guest.root), VM_ID, FastClock())
    state.finish("mounts", "instance", inputs=None, lasting=lasting)
    shutil.rmtree(Path(guest.root, "var/lib/azurelite"))
    state.finish("hostname", "instance", inputs=None, lasting=lasting)
    state.mark_provisioned(config_file=None, every_boot=False, unreported=False)
    assert Path(guest.root, f"var/lib/azurelite/vms/{VM_ID}/provisioned").is_file()
    assert Path(guest.root, "var/lib/azurelite").stat().st_mode & 0o777 == 0o700


def test_the_manifest_lasts_with_the_writes_of_its_step(remembered: tuple[State, System, Noted]) -> None:
    state, system, noted = remembered
    system.journal.listener = state.note_change
    system.files.mkdirs("/etc")
    with system.files.durability.together():
        system.files.write("/etc/hosts", b"a", mode=0o644)
        system.files.write("/etc/hostname", b"b", mode=0o644)
        assert noted.synced == []
    manifest = "/var/lib/azurelite/manifest.jsonl"
    assert noted.synced[0] == manifest
    assert noted.synced.count(manifest) == 1
    assert {"/var/lib/azurelite", "/etc"} <= set(noted.synced)


def test_a_row_after_an_incomplete_one_can_be_read(guest: Guest) -> None:
    """A power cut may leave the first bytes of a row."""
    guest.put({"var/lib/azurelite/manifest.jsonl": '{"format": 2, "vm'})
    system = System(guest.root)
    State(system, VM_ID, FastClock()).note_change(Change("write", "/etc/hostname", ""))
    found = read_manifest(system.files)
    assert (found.damaged, [row.target for row in found.rows]) == ((1,), ["/etc/hostname"])


def test_an_account_is_noted_as_adopted_once(guest: Guest) -> None:
    system = System(guest.root)
    state = State(system, VM_ID, FastClock())
    system.journal.listener = state.note_change
    for _ in range(3):
        system.accounts.adopt(User("bob", 1000, 1000, "/home/bob", "/bin/sh"))
    assert [row.made for row in read_manifest(system.files).rows] == [False]


def test_records_that_cannot_be_written_are_said_once(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    guest.put({"var/lib/azurelite": "a file in the place of the folder"})
    state = State(System(guest.root), VM_ID, FastClock())
    for handler in ("hostname", "user", "ssh_keys"):
        state.finish(handler, "instance", inputs=None, lasting=False)
    (said,) = [
        record.getMessage() for record in caplog.records if "next boot will provision again" in record.getMessage()
    ]
    assert "/var/lib/azurelite" in said
