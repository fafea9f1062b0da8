"""The clock, deadlines made from it, and time stamps for people."""

from __future__ import annotations

import time

import pytest
from kit import FastClock

from azurelite.clock import Deadline, SystemClock, iso_utc


class StillClock(SystemClock):
    """Time moves only by sleeping."""

    def __init__(self) -> None:
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_the_real_clock_is_the_systems() -> None:
    clock = SystemClock()
    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=1)
    assert clock.now() == pytest.approx(time.time(), abs=1)
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_jitter_is_at_least_0_and_below_1_and_varies() -> None:
    drawn = {SystemClock().jitter() for _ in range(300)}
    assert all(0 <= jitter < 1 for jitter in drawn)
    assert len(drawn) > 50


@pytest.mark.parametrize(
    ("seconds", "slept", "left"), [(10, 0, 10), (10, 4, 6), (10, 10, 0), (10, 11, 0), (0, 0, 0), (-5, 0, 0)]
)
def test_what_remains_is_never_below_nothing(seconds: int, slept: int, left: int) -> None:
    clock = StillClock()
    deadline = Deadline(clock, seconds)
    clock.sleep(slept)
    assert deadline.remaining() == left


@pytest.mark.parametrize(("seconds", "left"), [(4, 4), (10, 10), (400, 10), (0, 0), (-1, 0)])
def test_within_only_narrows(seconds: int, left: int) -> None:
    clock = StillClock()
    assert Deadline(clock, 10).within(seconds).remaining() == left


@pytest.mark.parametrize(("seconds", "left"), [(0, 10), (4, 6), (10, 0), (400, 0)])
def test_before_keeps_a_share(seconds: int, left: int) -> None:
    assert Deadline(StillClock(), 10).before(seconds).remaining() == left


def test_a_narrowed_deadline_runs_on_with_the_clock() -> None:
    clock = StillClock()
    whole = Deadline(clock, 10)
    share = whole.within(6)
    clock.sleep(5)
    assert (whole.remaining(), share.remaining()) == (5, 1)
    assert share.within(60).remaining() == 1
    clock.sleep(5)
    assert (whole.remaining(), share.remaining()) == (0, 0)


def test_a_step_of_the_wall_clock_moves_no_deadline() -> None:
    class Stepping(StillClock):
        def now(self) -> float:
            return 0.0 if self.time > 1001 else 4e9

    clock = Stepping()
    deadline = Deadline(clock, 10)
    clock.sleep(2)
    assert deadline.remaining() == 8


def test_the_fast_clock_of_the_tests_only_skips() -> None:
    clock = FastClock()
    deadline = Deadline(clock, 100)
    clock.sleep(60)
    assert 39 < deadline.remaining() <= 40
    assert clock.slept == [60]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (1_700_000_000.0, "2023-11-14T22:13:20+00:00"),
        (1_700_000_000.999, "2023-11-14T22:13:20+00:00"),
        (1_709_164_800, "2024-02-29T00:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_time_stamps_are_utc_whatever_the_zone(
    monkeypatch: pytest.MonkeyPatch, seconds: float, text: str, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert iso_utc(seconds) == text
    finally:
        monkeypatch.undo()
        time.tzset()
