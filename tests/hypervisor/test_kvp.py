"""The KVP pool: one record of ours among those of others."""

from __future__ import annotations

import fcntl
import logging
from typing import Optional

import pytest
from kit import FastClock, Guest

from azurelite.hypervisor.kvp import REPORT_KEY, upsert, write
from azurelite.system.machine import System

SIZE = 512 + 2048
POOL = "var/lib/hyperv/.kvp_pool_1"


def record(key: str, value: str) -> bytes:
    return key.encode().ljust(512, b"\0") + value.encode().ljust(2048, b"\0")


# Others' records need be neither text nor tidy.
FOREIGN = record("CLOUD_INIT|x", "y") + b"\xff" * SIZE + record("", "") + record("REPORT", REPORT_KEY)
OURS = record(REPORT_KEY, "old")
NEW = record(REPORT_KEY, "new")
# What a captured image brings: two reports of the VM that it was made from, with another key between them.
FAILED = record(REPORT_KEY, "result=error|reason=failure of the other VM|vm_id=other")
OTHERS = record("X", "y")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"", NEW, id="into an empty pool"),
        pytest.param(FOREIGN, FOREIGN + NEW, id="behind foreign records"),
        pytest.param(OURS, NEW, id="in the place of its own"),
        pytest.param(OURS + FOREIGN, NEW + FOREIGN, id="its own first"),
        pytest.param(FOREIGN + OURS + FOREIGN, FOREIGN + NEW + FOREIGN, id="its own in the middle"),
        pytest.param(OURS + FOREIGN + OURS, FOREIGN + NEW, id="only one of its own is left"),
        pytest.param(FAILED + OTHERS + OURS, OTHERS + NEW, id="two of another VM, from a captured image"),
        pytest.param(OURS + FAILED + OURS + FOREIGN, NEW + FOREIGN, id="several of its own, one after the other"),
        pytest.param(record(REPORT_KEY + "2", "x"), record(REPORT_KEY + "2", "x") + NEW, id="a longer key is foreign"),
        pytest.param(record(REPORT_KEY[:-1], "x"), record(REPORT_KEY[:-1], "x") + NEW, id="a shorter key is foreign"),
    ],
)
def test_upsert(before: bytes, after: bytes) -> None:
    assert upsert(before, REPORT_KEY, "new") == after


@pytest.mark.parametrize("pool", [FOREIGN + b"torn", OURS + NEW[:-1], b"torn", FOREIGN + OURS + b"\0" * 100])
def test_a_pool_of_a_wrong_size_is_left_intact(
    guest: Guest, clock: FastClock, caplog: pytest.LogCaptureFixture, pool: bytes
) -> None:
    guest.path(POOL).write_bytes(pool)
    write(System(guest.root).files, "new", clock=clock)
    assert guest.path(POOL).read_bytes() == pool
    assert "no whole number of records" in caplog.text


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("", ""),
        ("a" * 1022, "a" * 1022),
        ("a" * 1023, "a" * 1022),
        ("a" * 5000, "a" * 1022),
        ("é" * 600, "é" * 511),
        ("a" + "é" * 600, "a" + "é" * 510),
        ("€" * 400, "€" * 340),
        ("a" + "𝄞" * 400, "a" + "𝄞" * 255),
        ("a\ud800b", "a?b"),
    ],
)
def test_a_value_is_cut_at_1022_bytes_between_two_characters(value: str, kept: str) -> None:
    written = upsert(b"", REPORT_KEY, value)
    assert len(written) == SIZE
    assert written[512:].rstrip(b"\0").decode() == kept


def test_a_second_report_replaces_the_first(guest: Guest, clock: FastClock) -> None:
    files = System(guest.root).files
    guest.path(POOL).write_bytes(FOREIGN)
    for value in ("first, and longer", "second"):
        write(files, value, clock=clock)
    assert guest.path(POOL).read_bytes() == FOREIGN + record(REPORT_KEY, "second")


def test_a_new_pool_is_the_owners_alone(guest: Guest, clock: FastClock) -> None:
    write(System(guest.root).files, "x", clock=clock)
    assert guest.path(POOL).read_bytes() == record(REPORT_KEY, "x")
    assert guest.mode(POOL) == 0o600


def test_an_existing_pool_keeps_mode_and_inode(guest: Guest, clock: FastClock) -> None:
    guest.path(POOL).write_bytes(FOREIGN)
    guest.path(POOL).chmod(0o644)
    before = guest.path(POOL).stat()
    write(System(guest.root).files, "x", clock=clock)
    after = guest.path(POOL).stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_without_the_folder_nothing_is_written(guest: Guest, clock: FastClock) -> None:
    guest.path("var/lib/hyperv/.keep").unlink()
    guest.path("var/lib/hyperv").rmdir()
    before = guest.snapshot()
    write(System(guest.root).files, "x", clock=clock)
    assert guest.snapshot() == before


@pytest.mark.parametrize("pool", [None, FOREIGN + OURS])
def test_a_dry_run_writes_nothing(guest: Guest, clock: FastClock, pool: Optional[bytes]) -> None:
    if pool is not None:
        guest.path(POOL).write_bytes(pool)
    before = guest.snapshot()
    write(System(guest.root, dry_run=True).files, "x", clock=clock)
    assert guest.snapshot() == before


def test_a_pool_that_cannot_be_written_is_said_and_no_more(
    guest: Guest, clock: FastClock, caplog: pytest.LogCaptureFixture
) -> None:
    guest.path(POOL).mkdir()
    with caplog.at_level(logging.INFO):
        write(System(guest.root).files, "hunter2-canary", clock=clock)
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert "hunter2-canary" not in line.getMessage()


def test_a_link_never_leads_out_of_the_root(guest: Guest, clock: FastClock) -> None:
    outside = guest.folder.parent / "outside"
    outside.write_bytes(b"kept")
    guest.path(POOL).symlink_to(outside)
    write(System(guest.root).files, "x", clock=clock)
    assert outside.read_bytes() == b"kept"


def test_all_locks_are_released(guest: Guest, clock: FastClock) -> None:
    write(System(guest.root).files, "x", clock=clock)
    with guest.path(POOL).open("r+b") as pool:
        fcntl.flock(pool, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(pool, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_pool_that_is_held_for_long_is_given_up(
    guest: Guest, clock: FastClock, caplog: pytest.LogCaptureFixture
) -> None:
    guest.path(POOL).write_bytes(FOREIGN)
    with guest.path(POOL).open("r+b") as pool:
        fcntl.flock(pool, fcntl.LOCK_EX)
        write(System(guest.root).files, "x", clock=clock)
    assert [line.levelname for line in caplog.records] == ["WARNING"]
    assert guest.path(POOL).read_bytes() == FOREIGN
    assert 0 < sum(clock.slept) <= 30


def test_a_pool_that_is_held_for_a_moment_is_waited_for(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    guest.path(POOL).write_bytes(FOREIGN)
    with guest.path(POOL).open("r+b") as pool:
        fcntl.flock(pool, fcntl.LOCK_EX)

        class Releasing(FastClock):
            def sleep(self, seconds: float) -> None:
                super().sleep(seconds)
                fcntl.flock(pool, fcntl.LOCK_UN)

        write(System(guest.root).files, "x", clock=Releasing())
    assert caplog.records == []
    assert guest.path(POOL).read_bytes() == FOREIGN + record(REPORT_KEY, "x")
