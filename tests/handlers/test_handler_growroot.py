"""`growroot` without anything to grow. Real partitions: test_disks_live."""

from __future__ import annotations

from typing import Callable

import pytest
from disktree import GEN2_OS, MIB, DiskTree
from kit import Guest

from azurelite.errors import SkippedError
from azurelite.handlers import Context
from azurelite.handlers.growroot import Options, apply, note_free_space
from azurelite.system.disks.blockdevices import BlockDevices
from azurelite.system.root import Root


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_foreign_root_is_not_changed_and_nothing_is_noted(
    guest: Guest, context: Callable[..., Context], notes: list[str], kind: str, dry_run: bool
) -> None:
    DiskTree(guest).scsi("sda", GEN2_OS, 0, size=900 * MIB, parts=[(1, MIB, 10 * MIB)])
    guest.put({"proc/self/mountinfo": f"22 1 8:1 / / rw,relatime - {kind} /dev/root rw\n"})
    before = guest.snapshot()
    ctx = context(dry_run=dry_run)
    with pytest.raises(SkippedError, match="running system"):
        apply(ctx, Options())
    assert (guest.snapshot(), notes, len(ctx.system.journal)) == (before, [], 0)


@pytest.mark.parametrize(("size", "said"), [(100 * MIB, False), (900 * MIB, True)])
def test_lvm_is_not_grown_and_free_space_is_noted(
    guest: Guest, context: Callable[..., Context], notes: list[str], size: int, said: bool
) -> None:
    tree = DiskTree(guest)
    home = tree.scsi("sda", GEN2_OS, 0, size=size, parts=[(1, MIB, 4 * MIB), (2, 5 * MIB, 90 * MIB)])
    crypt = tree.virtual("dm-0", kind="dm", slaves=[f"{home}/sda2"])
    tree.virtual("dm-1", kind="dm", slaves=[crypt])
    devices = BlockDevices(Root(guest.root))
    root = next(disk for disk in devices.disks() if disk.name == "dm-1")
    note_free_space(context(), devices, root)
    assert len(notes) == int(said)
    for note in notes:
        assert "/dev/sda has 805 MiB of free space" in note
        assert "/dev/dm-1" in note
        assert "grow /dev/sda2" in note
