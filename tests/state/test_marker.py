"""What ends a run before it begins: the off switches, and the marker of work that is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest
from kit import SWAPPED_VM_ID, VM_ID, Guest

import azurelite
from azurelite.state import marker
from azurelite.system.root import Root

OTHER_ID = "3f1c1f0e-1111-4222-8333-444455556666"
ADMIN = "etc/azurelite/azurelite.yaml"
CONFIG_FILES = [
    "usr/lib/azurelite/azurelite.yaml",
    "usr/lib/azurelite/conf.d/x.yaml",
    ADMIN,
    "etc/azurelite/conf.d/x.yaml",
    "run/azurelite/conf.d/x.yaml",
]
HEAVY = {
    "yaml",
    "urllib3",
    "defusedxml",
    "json",
    "re",
    "logging",
    "dataclasses",
    "typing",
    "collections",
    "enum",
    "http",
}


class TestSwitches:
    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ({}, None),
            ({"etc/azurelite/disabled": ""}, "/etc/azurelite/disabled exists"),
            ({"etc/azurelite/disabled": "because"}, "/etc/azurelite/disabled exists"),
            ({"proc/cmdline": "root=/dev/sda1 azurelite=off quiet\n"}, "the kernel command line has azurelite=off"),
            ({"proc/cmdline": "azurelite=off"}, "the kernel command line has azurelite=off"),
            ({"proc/cmdline": "azurelite=on"}, None),
            ({"proc/cmdline": "noazurelite=off azurelite=offline xazurelite=off"}, None),
            ({"proc/cmdline": "AZURELITE=OFF"}, None),
            ({"proc/cmdline": ""}, None),
        ],
    )
    def test_switched_off(self, guest: Guest, files: dict[str, str], said: Optional[str]) -> None:
        assert marker.switched_off(Root(guest.put(files).root)) == said

    def test_a_folder_switches_off_too(self, guest: Guest) -> None:
        guest.path("etc/azurelite/disabled").mkdir(parents=True)
        assert marker.switched_off(Root(guest.root)) is not None

    def test_a_switch_that_cannot_be_looked_at_switches_off(self, guest: Guest) -> None:
        guest.path("etc/azurelite").mkdir()
        guest.path("etc/azurelite/disabled").symlink_to("disabled")
        assert marker.switched_off(Root(guest.root)) is not None

    def test_a_command_line_that_is_no_text(self, guest: Guest) -> None:
        guest.put({"proc/cmdline": ""}).path("proc/cmdline").write_bytes(b"\xff\xfe azurelite=off \xff")
        assert marker.switched_off(Root(guest.root)) is not None

    def test_a_command_line_that_cannot_be_read_is_no_switch(self, guest: Guest) -> None:
        guest.path("proc/cmdline").mkdir(parents=True)
        assert marker.switched_off(Root(guest.root)) is None


def mark(guest: Guest, vm_id: str = VM_ID, *, config_file: Optional[str] = None, every_boot: bool = False) -> None:
    text = marker.marker_text(Root(guest.root), config_file=config_file, every_boot=every_boot)
    guest.put({marker.marker_path(vm_id): text})


def done(guest: Guest, vm_id: str = VM_ID, *, config_file: Optional[str] = None) -> bool:
    return marker.nothing_to_do(Root(guest.root), vm_id, config_file=config_file)


class TestMarker:
    def test_nothing_is_done_before(self, guest: Guest) -> None:
        assert not done(guest)
        assert marker.provisioned_as(Root(guest.root), VM_ID) is None

    def test_there_is_one_per_vm_id(self, guest: Guest) -> None:
        mark(guest)
        assert done(guest)
        assert not done(guest, OTHER_ID)
        mark(guest, OTHER_ID)
        assert done(guest)
        assert done(guest, OTHER_ID)

    @pytest.mark.parametrize(("marked", "asked"), [(VM_ID, SWAPPED_VM_ID), (SWAPPED_VM_ID, VM_ID)])
    def test_the_id_with_swapped_bytes_is_the_same_vm(self, guest: Guest, marked: str, asked: str) -> None:
        mark(guest, marked)
        assert done(guest, asked)
        assert marker.provisioned_as(Root(guest.root), asked) == marked

    def test_it_lies_in_the_folder_of_the_vm(self) -> None:
        assert marker.marker_path(VM_ID) == f"/var/lib/azurelite/vms/{VM_ID}/provisioned"

    def test_a_handler_of_every_boot_keeps_the_run_going(self, guest: Guest) -> None:
        mark(guest, every_boot=True)
        assert not done(guest)
        assert marker.provisioned_as(Root(guest.root), VM_ID) == VM_ID

    @pytest.mark.parametrize("content", ["", "\n\n", "every-boot\n", "nonsense", "\x00"])
    def test_a_damaged_marker_is_still_a_marker_but_ends_no_run(self, guest: Guest, content: str) -> None:
        guest.put({marker.marker_path(VM_ID): content})
        assert marker.provisioned_as(Root(guest.root), VM_ID) == VM_ID
        assert not done(guest)

    def test_a_marker_that_cannot_be_looked_at_is_none(self, guest: Guest) -> None:
        guest.path("var/lib/azurelite").symlink_to("azurelite")
        assert marker.provisioned_as(Root(guest.root), VM_ID) is None
        assert not done(guest)


class TestConfiguration:
    def test_a_configuration_that_cannot_be_looked_at_is_a_change(self, guest: Guest) -> None:
        mark(guest)
        guest.path("etc/azurelite").mkdir()
        guest.path("etc/azurelite/conf.d").symlink_to("conf.d")
        assert not done(guest)

    @pytest.mark.parametrize("path", CONFIG_FILES)
    def test_a_file_that_came_is_a_change(self, guest: Guest, path: str) -> None:
        mark(guest)
        guest.put({path: "a"})
        assert not done(guest)

    @pytest.mark.parametrize("path", CONFIG_FILES)
    def test_a_file_that_went_is_a_change(self, guest: Guest, path: str) -> None:
        guest.put({path: "a"})
        mark(guest)
        assert done(guest)
        guest.path(path).unlink()
        assert not done(guest)

    @pytest.mark.parametrize("path", CONFIG_FILES)
    def test_another_size_or_another_time_is_a_change(self, guest: Guest, path: str) -> None:
        guest.put({path: "a"})
        mark(guest)
        before = guest.path(path).stat()
        guest.path(path).write_text("ab")
        os.utime(guest.path(path), ns=(before.st_atime_ns, before.st_mtime_ns))
        assert not done(guest)
        guest.path(path).write_text("a")
        os.utime(guest.path(path), ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert not done(guest)
        os.utime(guest.path(path), ns=(before.st_atime_ns, before.st_mtime_ns))
        assert done(guest)

    def test_a_masked_drop_in_is_none_of_its_business(self, guest: Guest) -> None:
        guest.put({CONFIG_FILES[1]: "a", CONFIG_FILES[3]: "b"})
        mark(guest)
        guest.put({CONFIG_FILES[1]: "changed"})
        assert done(guest)

    def test_a_drop_in_that_masks_is_a_change(self, guest: Guest) -> None:
        guest.put({CONFIG_FILES[1]: "a"})
        mark(guest)
        guest.put({CONFIG_FILES[3]: "a"})
        assert not done(guest)

    def test_other_files_are_no_change(self, guest: Guest) -> None:
        mark(guest)
        guest.put({"etc/azurelite/notes.txt": "x", "etc/azurelite/conf.d/x.yaml.bak": "x"})
        assert done(guest)

    def test_a_file_given_on_the_command_line_counts(self, guest: Guest, tmp_path: Path) -> None:
        chosen = tmp_path / "chosen.yaml"
        chosen.write_text("a")
        mark(guest, config_file=str(chosen))
        assert done(guest, config_file=str(chosen))
        assert not done(guest)
        assert not done(guest, config_file=str(tmp_path / "missing.yaml"))
        chosen.write_text("ab")
        assert not done(guest, config_file=str(chosen))

    def test_a_relative_path_is_the_file_it_means(
        self, guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "chosen.yaml").write_text("a")
        monkeypatch.chdir(tmp_path)
        mark(guest, config_file="chosen.yaml")
        assert done(guest, config_file=str(tmp_path / "chosen.yaml"))


@pytest.mark.spawns
@pytest.mark.parametrize("marked", [True, False])
def test_asking_costs_no_heavy_import(guest: Guest, marked: bool) -> None:
    """Every later boot of a VM pays for what is imported here."""
    guest.on_azure().put({ADMIN: "datasource: {platform: auto}"})
    if marked:
        mark(guest)
    program = f"""
import sys
sys.path.insert(0, {str(Path(azurelite.__file__).parent.parent)!r})
import __future__, errno, os
before = set(sys.modules)
from azurelite.state import marker
from azurelite.hypervisor.identity import read_identity
from azurelite.system.root import Root
root = Root({guest.root!r})
assert marker.switched_off(root) is None
assert marker.nothing_to_do(root, read_identity(root).vm_id, config_file=None) is {marked}
print(*sorted(set(sys.modules) - before))
"""
    # -S: what a site's own .pth files import is none of ours.
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stderr == ""
    loaded = set(ran.stdout.split())
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()
    assert {name for name in loaded if not name.startswith("azurelite")} == set()
