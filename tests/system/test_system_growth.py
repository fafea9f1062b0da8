"""How far a partition could reach."""

from __future__ import annotations

import pytest

from azurelite.system.disks.blockdevices import Device
from azurelite.system.disks.growth import room_of

GIB = 2**30
TIB = 2**40


def part(number: int, start: int, size: int) -> Device:
    return Device(f"sda{number}", f"8:{number}", "", size, start, number)


ROOT = part(1, 1 * GIB, 29 * GIB)


@pytest.mark.parametrize(
    ("disk", "others", "mbr", "size", "free", "behind"),
    [
        (30 * GIB, [], False, 29 * GIB, 0, None),
        (64 * GIB, [], False, 63 * GIB, 34 * GIB, None),
        (64 * GIB, [part(14, 0, GIB // 2), part(15, GIB // 2, GIB // 2)], False, 63 * GIB, 34 * GIB, None),
        (64 * GIB, [part(2, 30 * GIB, 4 * GIB)], False, 29 * GIB, 30 * GIB, 2),
        (64 * GIB, [part(2, 40 * GIB, 4 * GIB)], False, 39 * GIB, 20 * GIB, 2),
        (64 * GIB, [part(3, 50 * GIB, GIB), part(2, 40 * GIB, GIB)], False, 39 * GIB, 13 * GIB, 2),
        (4 * TIB, [], False, 4 * TIB - GIB, 4 * TIB - 30 * GIB, None),
        (4 * TIB, [], True, 2 * TIB - GIB, 2 * TIB - 30 * GIB, None),
        # a table that is older than a smaller disk
        (20 * GIB, [], False, 29 * GIB, 0, None),
        # an extended partition that holds it begins ahead of it
        (64 * GIB, [part(2, 1 * GIB - 512, 1024)], False, 63 * GIB, 34 * GIB, None),
    ],
)
def test_how_far_a_partition_could_reach(
    disk: int, others: list[Device], mbr: bool, size: int, free: int, behind: int | None
) -> None:
    whole = Device("sda", "8:0", "", disk)
    for listed in (others, [*others, ROOT], [ROOT, *reversed(others)]):
        room = room_of(ROOT, whole, listed, mbr=mbr)
        assert (room.size, room.free, room.behind.partition if room.behind else None) == (size, free, behind)
