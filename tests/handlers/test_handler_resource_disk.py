"""`resource_disk`: which disk is the temporary one. Formatting and mounting real devices: test_disks_live."""

from __future__ import annotations

import os
import stat
from typing import Any, Callable

import pytest
from disktree import DATA, GEN1_OS, GEN1_RESOURCE, GEN2_OS, DiskTree
from kit import Guest

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import ConfigError, SkippedError
from azurelite.handlers import Context
from azurelite.handlers.resource_disk import Options, apply, temporary_disks
from azurelite.system.disks.blockdevices import BlockDevices
from azurelite.system.root import Root

DIRECT, DIRECT2 = "Microsoft NVMe Direct Disk", "Microsoft NVMe Direct Disk v2"
REMOTE = "MSFT NVMe Accelerator v1.0"


def scsi(name: str, controller: str, lun: int) -> tuple[str, ...]:
    return ("scsi", name, controller, str(lun))


def nvme(name: str, model: str) -> tuple[str, ...]:
    return ("nvme", name, model)


@pytest.mark.parametrize(
    ("disks", "expected"),
    [
        pytest.param([scsi("sda", GEN1_OS, 0), scsi("sdb", GEN1_RESOURCE, 0)], ["sdb"], id="gen1"),
        pytest.param([scsi("sdb", GEN1_OS, 0), scsi("sda", GEN1_RESOURCE, 0)], ["sda"], id="gen1-names-swapped"),
        pytest.param([scsi("sda", GEN2_OS, 0), scsi("sdb", GEN2_OS, 1)], ["sdb"], id="gen2"),
        pytest.param([scsi("sdc", GEN2_OS, 0), scsi("sda", GEN2_OS, 1), scsi("sdb", DATA, 1)], ["sda"], id="gen2-data"),
        pytest.param([scsi("sda", GEN2_OS.upper(), 0), scsi("sdb", GEN2_OS.upper(), 1)], ["sdb"], id="capitals"),
        pytest.param([scsi("sda", GEN1_OS, 0), scsi("sdb", DATA, 0), scsi("sdc", DATA, 1)], [], id="gen1-none"),
        pytest.param([scsi("sda", GEN2_OS, 0), scsi("sdb", DATA, 1)], [], id="gen2-none"),
        pytest.param([scsi("sda", GEN2_OS, 0)], [], id="os-disk-only"),
        pytest.param([nvme("nvme0n1", REMOTE), nvme("nvme0n2", REMOTE)], [], id="v6-without"),
        pytest.param([nvme("nvme0n1", REMOTE), nvme("nvme1n1", DIRECT2)], ["nvme1n1"], id="v6"),
        pytest.param(
            [nvme("nvme0n1", DIRECT2), nvme("nvme10n1", DIRECT2), nvme("nvme2n1", DIRECT2), nvme("nvme1n1", REMOTE)],
            ["nvme0n1", "nvme2n1", "nvme10n1"],
            id="v6-several",
        ),
        pytest.param(
            [scsi("sda", GEN2_OS, 0), scsi("sdb", GEN2_OS, 1), nvme("nvme0n1", DIRECT)], ["sdb", "nvme0n1"], id="lsv3"
        ),
        pytest.param([nvme("nvme0n1", "Samsung NVMe Direct Disk")], [], id="another-maker"),
        pytest.param([nvme("nvme0n1", f"{DIRECT} v2 (data)")], [], id="a-longer-name"),
    ],
)
def test_which_disks_are_temporary(guest: Guest, disks: list[tuple[str, ...]], expected: list[str]) -> None:
    tree = DiskTree(guest)
    for kind, name, *rest in disks:
        if kind == "scsi":
            tree.scsi(name, rest[0], int(rest[1]))
        else:
            tree.nvme(name, rest[0])
    assert [disk.name for disk in temporary_disks(BlockDevices(Root(guest.root)))] == expected


def test_a_dvd_at_the_same_controller_is_no_disk(guest: Guest) -> None:
    home = DiskTree(guest).scsi("sr0", GEN2_OS, 1)
    guest.put({f"sys/{os.path.dirname(os.path.dirname(home))}/model": "Virtual CD/ROM\n"})
    assert temporary_disks(BlockDevices(Root(guest.root))) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root makes device nodes")
@pytest.mark.parametrize("link", ["azure/resource", "cloud/azure_resource"])
def test_the_link_of_udev_is_used_if_sysfs_does_not_identify_the_disk(guest: Guest, link: str) -> None:
    tree = DiskTree(guest)
    tree.virtual("vda")
    tree.virtual("vdb")
    guest.path(f"dev/disk/{link}").parent.mkdir(parents=True)
    os.mknod(guest.path("dev/vdb"), stat.S_IFBLK | 0o600, os.makedev(8, 1))
    guest.path(f"dev/disk/{link}").symlink_to("../../vdb")
    assert [disk.name for disk in temporary_disks(BlockDevices(Root(guest.root)))] == ["vdb"]


def test_a_foreign_root_has_no_disks(guest: Guest, context: Callable[..., Context], notes: list[str]) -> None:
    DiskTree(guest).scsi("sdb", GEN2_OS, 1)
    before = guest.snapshot()
    with pytest.raises(SkippedError, match="running system"):
        apply(context(), Options())
    assert (guest.snapshot(), notes) == (before, [])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mount": "mnt"}, "mount must be"),
        ({"mount": "/"}, "mount must be"),
        ({"mount": "/mnt/"}, "mount must be"),
        ({"mount": "/mnt/../etc"}, "mount must be"),
        ({"mount": "/m nt"}, "mount must be"),
        ({"options": "a b"}, "options must be"),
        ({"options": ""}, "options must be"),
        ({"mode": "rwx"}, "mode must be"),
        ({"mode": "9999"}, "mode must be"),
        ({"mode": 1777}, "mode.* must be text"),
        ({"swap": "much"}, "swap is not a size"),
        ({"swap": "1G", "mode": "0777"}, "add the sticky bit"),
        ({"swap": "1G", "mode": "775"}, "add the sticky bit"),
        ({"filesystem": "ntfs"}, "must be one of: ext4, xfs, btrfs"),
        ({"format": "now"}, "must be one of: fresh, always, never"),
    ],
)
def test_invalid_options_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bind(Options, keys, Document({}, {}), ("resource_disk",))


@pytest.mark.parametrize("keys", [{"swap": "1G", "mode": "1777"}, {"swap": 0, "mode": "0777"}, {"mode": "755"}])
def test_valid_options_are_accepted(keys: dict[str, Any]) -> None:
    bind(Options, keys, Document({}, {}), ("resource_disk",))
