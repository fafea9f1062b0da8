"""Which failures are repeated, and after which pause: the tables, written down a second time."""

from __future__ import annotations

from typing import Optional

import pytest

from azurelite.fabric import retry
from azurelite.fabric.retry import RetryTable

TABLES = {
    "IMDS": (retry.IMDS, {404, 408, 410, 429, 500, 502, 503, 504}),
    "GOAL_STATE": (retry.GOAL_STATE, {403, 408, 410, 429, 500, 502, 503, 504, 507}),
    # 410 would mean sending the same stale report again and again; 404 is for the other dialect to answer.
    "HEALTH": (retry.HEALTH, {403, 408, 429, 500, 502, 503, 504, 507}),
}


@pytest.mark.parametrize("name", TABLES)
def test_repeated_and_final_statuses(name: str) -> None:
    table, repeated = TABLES[name]
    found = {status for status in range(100, 600) if table.pause(status, retry_after=None, jitter=0) is not None}
    assert found == repeated


@pytest.mark.parametrize("name", TABLES)
def test_no_answer_at_all_is_always_repeated(name: str) -> None:
    assert TABLES[name][0].pause(None, retry_after=None, jitter=0) == 1


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("retry_after", [None, "1", "120"])
def test_a_final_status_stays_final_with_retry_after(name: str, retry_after: Optional[str]) -> None:
    assert TABLES[name][0].pause(400, retry_after=retry_after, jitter=0) is None


@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.5, 0.996])
@pytest.mark.parametrize(("base", "retry_after", "least"), [(1, None, 1), (4, None, 4), (1, "10", 10), (1, "999", 30)])
def test_jitter_adds_up_to_a_quarter(base: int, retry_after: Optional[str], least: int, jitter: float) -> None:
    pause = RetryTable({503: base}).pause(503, retry_after=retry_after, jitter=jitter)
    assert pause is not None
    assert least <= pause < least * 1.25
    assert pause == pytest.approx(least * (1 + 0.25 * jitter))


@pytest.mark.parametrize(("tries", "pause"), [(1, 1), (2, 1), (3, None), (4, None)])
@pytest.mark.parametrize("retry_after", [None, "1"])
def test_a_status_with_a_number_of_tries_is_final_after_them(
    tries: int, pause: Optional[float], retry_after: Optional[str]
) -> None:
    table = RetryTable({403: 1, 503: 1}, most={403: 3})
    assert table.pause(403, retry_after=retry_after, jitter=0, tries=tries) == pause
    assert table.pause(503, retry_after=retry_after, jitter=0, tries=tries) == 1
    assert table.pause(None, retry_after=None, jitter=0, tries=tries) == 1


def test_retry_after_never_shortens_a_pause() -> None:
    assert RetryTable({503: 5}).pause(503, retry_after="2", jitter=0) == 5


def test_a_base_pause_is_bounded_too() -> None:
    assert RetryTable({503: 500}).pause(503, retry_after=None, jitter=0) == retry.LONGEST_PAUSE


@pytest.mark.parametrize("name", TABLES)
def test_each_status_is_repeated_after_a_second(name: str) -> None:
    table, repeated = TABLES[name]
    assert {table.pause(status, retry_after=None, jitter=0) for status in repeated} == {1}
