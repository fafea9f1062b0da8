"""The firmware's word where sysfs is silent: programs, and the random seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit import CHASSIS_TAG, SWAPPED_VM_ID, VM_ID, Guest, shim

from azurelite.hypervisor.firmware import identify
from azurelite.system.process import Commands
from azurelite.system.root import Root


def running(guest: Guest) -> Root:
    """A guest that stands for the running system, whose programs may be asked."""
    root = Root(guest.root)
    root.is_host = True
    return root


DMIDECODE = f'case "$2" in chassis-asset-tag) echo "{CHASSIS_TAG}";; system-uuid) echo "{VM_ID.upper()}";; esac'
KENV = f'case "$2" in smbios.chassis.tag) echo "{CHASSIS_TAG}";; smbios.system.uuid) echo "{VM_ID}";; esac'


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("program", "script", "on_azure"),
    [("dmidecode", DMIDECODE, True), ("kenv", KENV, True), ("sysctl", f"echo {VM_ID}", False)],
)
@pytest.mark.parametrize("efi", [True, False])
def test_programs_are_asked_where_sysfs_is_silent(
    guest: Guest, tmp_path: Path, program: str, script: str, on_azure: bool, efi: bool
) -> None:
    for other in ("dmidecode", "kenv", "sysctl"):
        shim(tmp_path / "bin", other, exit_code=1)
    shim(tmp_path / "bin", program, script=script)
    if efi:
        guest.path("dev/efi").mkdir(parents=True)
    found = identify(running(guest), Commands(str(tmp_path / "bin")))
    assert (found.on_azure, found.system_uuid) == (on_azure, VM_ID)
    assert found.vm_id == (VM_ID if efi else SWAPPED_VM_ID)


def test_sysfs_is_enough(guest: Guest) -> None:
    found = identify(running(guest.on_azure()), Commands())
    assert (found.on_azure, found.vm_id) == (True, VM_ID)


@pytest.mark.spawns
@pytest.mark.parametrize("script", ["echo nonsense", "exit 1", "echo 00000000-0000-0000-0000-000000000000"])
def test_a_program_without_an_answer_gives_no_id(guest: Guest, tmp_path: Path, script: str) -> None:
    for program in ("dmidecode", "kenv", "sysctl"):
        shim(tmp_path, program, script=script)
    found = identify(running(guest), Commands(str(tmp_path)))
    assert (found.on_azure, found.system_uuid, found.vm_id) == (False, None, None)


def test_in_a_foreign_root_no_program_is_asked(guest: Guest) -> None:
    assert identify(Root(guest.root), Commands()).vm_id is None


def test_the_hosts_random_seed_is_read(guest: Guest) -> None:
    path = guest.on_azure().path("sys/firmware/acpi/tables/OEM0")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"OEM0\x00\xffseed")
    assert identify(Root(guest.root), Commands()).random_seed == b"OEM0\x00\xffseed"
    assert identify(Root(guest.put({}).root), Commands()).vm_id == VM_ID
