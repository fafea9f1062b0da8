"""The kernel's table of mounts: what is shown at a mount point."""

from __future__ import annotations

import pytest
from kit import Guest

from azurelite.system.disks.mounts import Mounted, mount_table, mounted_on
from azurelite.system.root import Root

TABLE = (
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
    "30 22 0:40 /@home /home rw,noatime - btrfs /dev/sdc rw,subvol=/@home\n"
    "31 22 8:17 / /mnt/two\\040words ro - xfs /dev/sdb1 rw\n"
    "32 31 0:50 / /mnt/two\\040words rw - tmpfs tmpfs rw\n"
)


@pytest.fixture
def root(guest: Guest) -> Root:
    guest.put({"proc/self/mountinfo": TABLE})
    return Root(guest.root)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", Mounted("8:1", "/", "/", ("rw", "relatime"), "ext4", "/dev/root")),
        ("/home", Mounted("0:40", "/@home", "/home", ("rw", "noatime"), "btrfs", "/dev/sdc")),
        ("/mnt/two words", Mounted("0:50", "/", "/mnt/two words", ("rw",), "tmpfs", "tmpfs")),
        ("/mnt", None),
        ("/home/", Mounted("0:40", "/@home", "/home", ("rw", "noatime"), "btrfs", "/dev/sdc")),
    ],
)
def test_what_is_shown_at_a_place(root: Root, folder: str, expected: Mounted | None) -> None:
    assert mounted_on(root, folder) == expected


def test_a_link_leads_to_the_place(guest: Guest, root: Root) -> None:
    guest.path("srv").mkdir()
    guest.path("srv/people").symlink_to("/home")
    assert mounted_on(root, "/srv/people") == mounted_on(root, "/home")


def test_every_row_in_order(root: Root) -> None:
    assert [row.number for row in mount_table(root)] == ["8:1", "0:40", "8:17", "0:50"]
