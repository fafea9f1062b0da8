"""Disks and partitions in sysfs trees of the shapes that Hyper-V, NVMe and the device mapper have."""

from __future__ import annotations

import os
import stat

import pytest
from disktree import DATA, GEN2_OS, MIB, DiskTree
from kit import Guest

from azurelite.errors import FileError
from azurelite.system.disks.blockdevices import BlockDevices, Device
from azurelite.system.root import Root


@pytest.fixture
def tree(guest: Guest) -> DiskTree:
    return DiskTree(guest)


@pytest.fixture
def devices(guest: Guest) -> BlockDevices:
    return BlockDevices(Root(guest.root))


def disk(devices: BlockDevices, name: str) -> Device:
    return next(found for found in devices.disks() if found.name == name)


def test_disks_are_counted_as_people_count_and_empty_drives_are_none(tree: DiskTree, devices: BlockDevices) -> None:
    for name in ("nvme10n1", "nvme2n1"):
        tree.nvme(name, "Microsoft NVMe Direct Disk v2")
    tree.scsi("sda", GEN2_OS, 0)
    tree.virtual("loop0", size=0)
    assert [found.name for found in devices.disks()] == ["nvme2n1", "nvme10n1", "sda"]


def test_a_disk_and_its_partitions(tree: DiskTree, devices: BlockDevices) -> None:
    tree.scsi(
        "sda", GEN2_OS, 0, size=100 * MIB, parts=[(1, 20 * MIB, 70 * MIB), (14, MIB, 4 * MIB), (15, 5 * MIB, MIB)]
    )
    whole = disk(devices, "sda")
    assert (whole.size, whole.start, whole.partition, whole.path) == (100 * MIB, 0, 0, "/dev/sda")
    assert [(part.name, part.start, part.end) for part in devices.partitions(whole)] == [
        ("sda14", MIB, 5 * MIB),
        ("sda15", 5 * MIB, 6 * MIB),
        ("sda1", 20 * MIB, 90 * MIB),
    ]
    for part in devices.partitions(whole):
        assert devices.by_number(part.number) == part
        assert devices.disk_of(part) == whole
    assert devices.disk_of(whole) == whole


def test_a_disk_knows_its_bus(tree: DiskTree, devices: BlockDevices) -> None:
    tree.scsi("sdc", DATA, 17)
    tree.nvme("nvme0n1", "MSFT NVMe Accelerator v1.0")
    scsi, nvme = disk(devices, "sdc"), disk(devices, "nvme0n1")
    assert devices.lun(scsi) == 17
    assert list(devices.inherited(scsi, "device_id")) == [DATA]
    assert devices.attribute(scsi, "device/vendor") == "Msft"
    assert devices.lun(nvme) is None
    assert list(devices.inherited(nvme, "device_id")) == []
    assert devices.attribute(nvme, "device/model") == "MSFT NVMe Accelerator v1.0"


def test_what_a_stack_stands_on(tree: DiskTree, devices: BlockDevices) -> None:
    home = tree.scsi("sda", GEN2_OS, 0, parts=[(1, MIB, MIB), (2, 2 * MIB, 50 * MIB)])
    crypt = tree.virtual("dm-0", kind="dm", slaves=[f"{home}/sda2"])
    tree.virtual("dm-1", kind="dm", slaves=[crypt])
    tree.virtual("loop7")
    assert [found.name for found in devices.beneath(disk(devices, "dm-1"))] == ["sda2"]
    for name, stacked in (("dm-1", True), ("dm-0", True), ("sda", False), ("loop7", False)):
        assert devices.is_stacked(disk(devices, name)) is stacked


@pytest.mark.parametrize(
    ("table", "swaps", "used"),
    [
        ("", "", None),
        ("30 1 8:0 / /mnt rw - ext4 /dev/whatever rw", "", "it is mounted at /mnt"),
        ("30 1 8:2 / /mnt rw shared:1 - xfs /dev/root rw", "", "it is mounted at /mnt"),
        ("30 1 0:44 /@ /mnt rw - btrfs /dev/sdb2 rw", "", "it is mounted at /mnt"),
        ("30 1 9:0 / /mnt rw - ext4 /dev/sdz rw", "", None),
        ("", "/dev/sdb1                partition 1 0 -2\n", "it is used as swap"),
        ("", "/dev/sdz\tpartition\t1\t0\t-2\n", None),
    ],
)
def test_who_uses_a_disk(
    guest: Guest, tree: DiskTree, devices: BlockDevices, table: str, swaps: str, used: str | None
) -> None:
    tree.scsi("sdb", GEN2_OS, 1, parts=[(1, MIB, MIB), (2, 2 * MIB, MIB)])
    guest.put({"proc/self/mountinfo": table + "\n", "proc/swaps": "Filename Type Size Used Priority\n" + swaps})
    assert devices.in_use(disk(devices, "sdb")) == used


def test_a_disk_with_something_on_top_or_that_is_read_only_is_in_use(tree: DiskTree, devices: BlockDevices) -> None:
    home = tree.scsi("sdb", GEN2_OS, 1, parts=[(1, MIB, MIB)])
    tree.virtual("md0", kind="md", slaves=[f"{home}/sdb1"])
    tree.scsi("sdc", DATA, 0, read_only=True)
    assert devices.in_use(disk(devices, "sdb")) == "md0 uses it"
    assert devices.in_use(disk(devices, "sdc")) == "it is read-only"


def test_a_node_that_is_something_else_is_not_opened(guest: Guest, tree: DiskTree, devices: BlockDevices) -> None:
    tree.scsi("sdb", GEN2_OS, 1)
    with pytest.raises(FileError, match="cannot open /dev/sdb: No such file"):
        devices.node(disk(devices, "sdb"))
    guest.put({"dev/sdb": "a file"})
    with pytest.raises(FileError, match=r"/dev/sdb has another device number than in /sys .8:0."):
        devices.node(disk(devices, "sdb"))
    assert devices.by_node("/dev/sdb") is None
    assert devices.by_node("/dev/nothing") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root makes device nodes")
def test_a_node_is_known_by_its_number(guest: Guest, tree: DiskTree, devices: BlockDevices) -> None:
    tree.scsi("sda", GEN2_OS, 0)
    tree.scsi("sdb", GEN2_OS, 1)
    guest.path("dev/disk").mkdir(parents=True)
    os.mknod(guest.path("dev/sdb"), stat.S_IFBLK | 0o600, os.makedev(8, 1))
    guest.path("dev/disk/resource").symlink_to("../sdb")
    assert devices.by_node("/dev/disk/resource") == disk(devices, "sdb")


def test_a_guest_without_sysfs_has_no_devices(devices: BlockDevices) -> None:
    assert devices.disks() == []
    assert devices.by_number("8:0") is None


@pytest.mark.parametrize("text", ["", "many\n", "-5\n", "²\n", "9" * 16])
def test_a_size_that_is_no_number_makes_no_disk(guest: Guest, tree: DiskTree, devices: BlockDevices, text: str) -> None:
    home = tree.scsi("sda", GEN2_OS, 0)
    guest.put({f"sys/{home}/size": text})
    assert [found.name for found in devices.disks()] == []
