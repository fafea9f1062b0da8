"""Who the firmware says this VM is."""

from __future__ import annotations

import random
import uuid

import pytest
from kit import CHASSIS_TAG, SWAPPED_VM_ID, VM_ID, Guest

from azurelite.hypervisor.identity import read_identity, swap_bytes
from azurelite.layout import is_uuid
from azurelite.system.root import Root

# A real generation 1 VM: what its firmware showed, and what IMDS called it.
SAMPLE_FIRMWARE = "a219f727-76c1-2242-83c7-c6f08dee524a"
SAMPLE_VM_ID = "27f719a2-c176-4222-83c7-c6f08dee524a"
NO_UUIDS = [
    "",
    "Not Settable",
    "None",
    "to be filled by O.E.M.",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    VM_ID[:-1],
    VM_ID + "0",
    VM_ID.replace("-", ""),
    "{" + VM_ID + "}",
    "g" + VM_ID[1:],
    "../../../../../../../../etc/passwd00",
    VM_ID.replace("2", "２"),
    VM_ID.replace("2", "²"),
    VM_ID + "\nx",
]


@pytest.mark.parametrize(
    ("generation", "shown", "vm_id"),
    [
        (2, VM_ID, VM_ID),
        (1, SWAPPED_VM_ID, VM_ID),
        (1, SAMPLE_FIRMWARE, SAMPLE_VM_ID),
        (2, SAMPLE_VM_ID, SAMPLE_VM_ID),
        (2, VM_ID.upper(), VM_ID),
        (1, SWAPPED_VM_ID.upper(), VM_ID),
    ],
)
def test_both_generations_give_azures_own_id(guest: Guest, generation: int, shown: str, vm_id: str) -> None:
    identity = read_identity(Root(guest.on_azure(vm_id=shown, generation=generation).root))
    assert (identity.vm_id, identity.system_uuid, identity.on_azure) == (vm_id, shown.lower(), True)


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize(
    "shown", [text for text in NO_UUIDS if text.upper() != text.lower() or not text or "-" in text]
)
def test_what_names_nothing_is_no_id(guest: Guest, shown: str, generation: int) -> None:
    identity = read_identity(Root(guest.on_azure(vm_id=shown, generation=generation).root))
    assert (identity.vm_id, identity.system_uuid, identity.on_azure) == (None, None, True)


@pytest.mark.parametrize("text", NO_UUIDS)
def test_is_uuid_refuses(text: str) -> None:
    assert not is_uuid(text.lower())


def test_is_uuid_takes_lower_case_alone() -> None:
    assert is_uuid(VM_ID)
    assert not is_uuid(VM_ID.upper())


@pytest.mark.parametrize(
    ("tag", "proven"),
    [
        (CHASSIS_TAG, True),
        (f"  {CHASSIS_TAG} \n", True),
        (f"{CHASSIS_TAG}\r\n\n", True),
        (f"\t{CHASSIS_TAG}", True),
        ("", False),
        (CHASSIS_TAG[:-1], False),
        (f"{CHASSIS_TAG}0", False),
        (f"x {CHASSIS_TAG}", False),
        (f"{CHASSIS_TAG}\nx", False),
        ("Virtual Machine", False),
        (CHASSIS_TAG.replace("7", "７"), False),
    ],
)
def test_only_the_chassis_tag_proves_azure(guest: Guest, tag: str, proven: bool) -> None:
    guest.on_azure().put({"sys/class/dmi/id/chassis_asset_tag": tag})
    assert read_identity(Root(guest.root)).on_azure is proven


def test_vendor_strings_prove_nothing(guest: Guest) -> None:
    guest.put({"sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n", "sys/class/dmi/id/product_uuid": VM_ID})
    identity = read_identity(Root(guest.root))
    assert (identity.on_azure, identity.system_uuid) == (False, VM_ID)


def test_no_firmware_at_all(guest: Guest) -> None:
    identity = read_identity(Root(guest.root))
    assert (identity.on_azure, identity.system_uuid, identity.vm_id) == (False, None, None)


@pytest.mark.parametrize("name", ["product_uuid", "chassis_asset_tag"])
def test_a_file_that_cannot_be_read_counts_as_absent(guest: Guest, name: str) -> None:
    guest.on_azure()
    guest.path(f"sys/class/dmi/id/{name}").unlink()
    guest.path(f"sys/class/dmi/id/{name}").mkdir()  # reading it fails for root, too
    identity = read_identity(Root(guest.root))
    assert (identity.vm_id, identity.on_azure) == ((None, True) if name == "product_uuid" else (VM_ID, False))


def test_a_firmware_folder_that_leads_in_a_circle_ends_nothing(guest: Guest) -> None:
    guest.on_azure(generation=1, vm_id=SWAPPED_VM_ID)
    guest.path("sys/firmware").mkdir()
    guest.path("sys/firmware/efi").symlink_to("efi")
    assert read_identity(Root(guest.root)).vm_id in (VM_ID, SWAPPED_VM_ID)


@pytest.mark.parametrize("content", [b"\xff" * 36, b"\x00" * 36, b"a" * 100_000, VM_ID.encode() + b"\x00"])
def test_bytes_that_are_no_text_are_no_id(guest: Guest, content: bytes) -> None:
    guest.on_azure().path("sys/class/dmi/id/product_uuid").write_bytes(content)
    assert read_identity(Root(guest.root)).vm_id is None


def test_firmware_behind_links_is_found_below_the_root(guest: Guest) -> None:
    """sysfs is full of links: /sys/class/dmi/id leads to /sys/devices/virtual/dmi/id."""
    guest.put({"sys/devices/virtual/dmi/id/chassis_asset_tag": CHASSIS_TAG})
    guest.path("sys/class/dmi").mkdir(parents=True)
    guest.path("sys/class/dmi/id").symlink_to("../../devices/virtual/dmi/id")
    assert read_identity(Root(guest.root)).on_azure


def test_swapping_twice_changes_nothing_and_agrees_with_the_standard_library() -> None:
    chance = random.Random(20_240_229)
    for _ in range(1000):
        value = uuid.UUID(int=chance.getrandbits(128))
        text = str(value)
        assert swap_bytes(text) == str(uuid.UUID(bytes_le=value.bytes))
        assert swap_bytes(swap_bytes(text)) == text
        assert is_uuid(swap_bytes(text))


def test_swapping_keeps_the_last_two_groups() -> None:
    assert swap_bytes(SAMPLE_FIRMWARE) == SAMPLE_VM_ID
    assert swap_bytes(SAMPLE_FIRMWARE.upper()) == SAMPLE_VM_ID
