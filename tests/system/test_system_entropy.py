"""Random bytes for the kernel: what it is given, and when."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from azurelite.errors import MachineError
from azurelite.system.entropy import mix_in
from azurelite.system.machine import System


class Kernel:
    """Takes down what it is told."""

    def __init__(self, *, refuses: tuple[int, ...] = ()) -> None:
        self.told: list[tuple[int, bytes]] = []
        self.refuses = refuses

    def ioctl(self, descriptor: int, request: int, data: bytes) -> None:
        self.told.append((request, data))
        if request in self.refuses:
            raise OSError(25, "Inappropriate ioctl for device")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "urandom"
    path.write_bytes(b"")
    return path


def test_bytes_are_mixed_in_by_a_plain_write(device: Path) -> None:
    kernel = Kernel(refuses=(0x5207,))  # before Linux 4.14 nothing can be hurried
    system = System("/")
    mix_in(system, b"canary" * 20, credit=False, device=str(device), ioctl=kernel.ioctl)
    assert device.read_bytes() == b"canary" * 20
    (change,) = system.journal.since(0)
    assert str(change) == f"seed {device} (120 bytes mixed in)"


def test_with_credit_the_kernel_is_told_how_much_they_are_worth(device: Path) -> None:
    kernel = Kernel()
    seed = bytes(range(256)) * 5
    mix_in(System("/"), seed, credit=True, device=str(device), ioctl=kernel.ioctl)
    taken = b""
    for request, data in kernel.told[:-1]:
        bits, size = struct.unpack("ii", data[:8])
        assert (request, bits, len(data)) == (0x40085203, 8 * size, size + 8)
        assert len(data) <= 1024, "more than Python's ioctl takes"
        taken += data[8:]
    assert taken == seed
    assert device.read_bytes() == b""


def test_a_dry_run_records_and_gives_nothing(device: Path) -> None:
    kernel = Kernel()
    system = System("/", dry_run=True)
    mix_in(system, b"x", credit=True, device=str(device), ioctl=kernel.ioctl)
    assert len(system.journal) == 1
    assert kernel.told == []


def test_a_refusal_is_one_clear_error(device: Path) -> None:
    for credit, place in ((True, device), (False, device.with_name("none"))):
        with pytest.raises(MachineError, match="cannot add random bytes"):
            mix_in(System("/"), b"x", credit=credit, device=str(place), ioctl=Kernel(refuses=(0x40085203,)).ioctl)
