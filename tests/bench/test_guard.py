"""The guard: a run of azurelite costs no more than is pinned, in imports, requests, processes and instructions.

A change that is meant is pinned by `python tests/bench/guard.py --write`; the pins' diff then shows what it costs.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from bench import pins
from bench.watching import VERBS, Subject, multiple, subject, watch

pytestmark = pytest.mark.spawns


@pytest.fixture(scope="module")
def here() -> Subject:
    """The interpreter that runs the tests."""
    return subject(sys.executable)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_imports_what_is_pinned(verb: str, here: Subject, tmp_path: Path) -> None:
    seen = watch(here, verb, tmp_path)
    assert seen.code == 0, seen.said
    # What comes with the oldest urllib3 is pinned nowhere.
    strayed = pins.load(verb).strayed(here.version, seen.modules, own=here.urllib3 != "2")
    assert strayed == [], f"{verb} on {here.version}; is it meant? then: {pins.COMMAND}"


def test_the_main_job_is_one_process_three_requests_and_two_connections(here: Subject, tmp_path: Path) -> None:
    seen = watch(here, "provision", tmp_path)
    assert sorted(seen.endpoints) == ["goal_state", "health", "imds"]
    assert seen.endpoints[-1] == "health"
    assert len(seen.connections) == len(set(seen.connections)) == 2
    assert seen.processes == ()


def test_a_report_is_one_process_two_requests_and_one_connection(here: Subject, tmp_path: Path) -> None:
    seen = watch(here, "report-ready", tmp_path)
    assert seen.endpoints == ("goal_state", "health")
    assert len(seen.connections) == 1
    assert seen.processes == ()


def test_a_later_boot_asks_nobody(here: Subject, tmp_path: Path) -> None:
    seen = watch(here, "provisioned", tmp_path)
    assert (seen.endpoints, seen.connections, seen.processes) == ((), (), ())


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs `valgrind`: install valgrind")
@pytest.mark.parametrize("verb", pins.COUNTED)
def test_a_verb_takes_no_more_instructions_than_are_pinned(verb: str, here: Subject, tmp_path: Path) -> None:
    key = pins.key_of(here.version, here.urllib3)
    pinned = pins.numbers().get(key, {}).get(verb)
    found = multiple(here, verb, tmp_path)
    sys.stdout.write(f"{key}: {verb} takes {found:.2f} interpreter starts, pinned {pinned}\n")
    assert not pins.too_many(found, pinned), f"{key}: {found:.2f}, pinned {pinned}; is it meant? then: {pins.COMMAND}"
