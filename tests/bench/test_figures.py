"""The bench's own arithmetic: medians, ratios, growth, what strace and valgrind wrote, tables and pins."""

from __future__ import annotations

from typing import Optional
from xml.etree import ElementTree

import pytest
from bench import plot
from bench.count import read_logs, read_trace
from bench.figures import Counts, Growth, Sample, Summary, Target, spread, summary, verdicts
from bench.pins import Pin, too_many
from bench.table import growth_table, rows_table, table, targets_table


def sample(wall: float, ready: Optional[float] = None) -> Sample:
    return Sample(wall=wall, cpu=wall / 2, rss=1024, ready=ready, requests=3)


def row(name: str, wall: float, ready: Optional[float] = None) -> Summary:
    return summary(name, [sample(wall, ready)], Counts(instructions=2_500_000, processes=1, connections=2))


def test_a_summary_is_medians_and_the_least() -> None:
    found = summary("row", [sample(0.04, 0.03), sample(0.01, 0.005), sample(0.02, 0.01)])
    assert (found.runs, found.wall, found.least, found.ready, found.cpu) == (3, 0.02, 0.01, 0.01, 0.01)
    assert (found.rss, found.requests) == (1024, 3)


def test_a_row_that_once_did_not_report_has_no_time_of_reporting() -> None:
    assert summary("row", [sample(0.04, 0.03), sample(0.01)]).ready is None


def test_no_samples_are_no_summary() -> None:
    with pytest.raises(ValueError, match="row: no samples"):
        summary("row", [])


def test_a_wild_sample_does_not_widen_the_spread() -> None:
    assert spread([10, 11, 12, 13, 1000]) == 1


TARGET = Target("a over b", "a", "b", "ready", "wall", 1.5)


@pytest.mark.parametrize(
    ("rows", "ratio", "word"),
    [
        ([row("a", 9, 3), row("b", 2)], 1.5, "met"),
        ([row("a", 9, 4), row("b", 2)], 2.0, "NOT MET"),
        ([row("a", 9), row("b", 2)], None, "not measured"),
        ([row("a", 9, 3)], None, "not measured"),
        ([row("a", 9, 3), row("b", 0)], None, "not measured"),
    ],
)
def test_a_target_is_a_ratio_of_two_rows(rows: list[Summary], ratio: Optional[float], word: str) -> None:
    [found] = verdicts([TARGET], {one.name: one for one in rows})
    assert (found.ratio, found.word) == (ratio, word)


def test_a_target_may_be_a_number_of_its_own() -> None:
    [found] = verdicts([Target("connections", "a", "", "connections", "", 2)], {"a": row("a", 1)})
    assert (found.ratio, found.word) == (2, "met")


def test_growth_is_seconds_for_each_further_item() -> None:
    growth = Growth("keys", (1, 11, 21), (0.1, 0.15, 0.3))
    assert growth.per_item == pytest.approx(0.01)
    assert growth.at_the_end == pytest.approx(0.015)


TRACE = """\
10 execve("/bin/sh", ["sh"], 0x7ffd /* 3 vars */) = 0
10 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD <unfinished ...>
11 execve("/usr/bin/curl", ["curl"], 0x55 /* 3 vars */ <unfinished ...>
10 <... clone resumed>, child_tidptr=0x7f) = 11
11 connect(5, {sa_family=AF_INET, sin_port=htons(8001), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 EINPROGRESS
11 connect(6, {sa_family=AF_UNIX, sun_path="/run/nscd"}, 110) = -1 ENOENT
11 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}, 88) = 12
12 connect(7, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
10 vfork() = 13
"""


def test_a_trace_tells_processes_without_threads_and_connections_to_the_fabric() -> None:
    assert read_trace(TRACE, ("127.0.0.1:8001", "127.0.0.1:8002")) == (3, 1)


def log(pid: int, parent: int, command: str, count: str) -> str:
    return f"=={pid}== Command: {command}\n=={pid}== Parent PID: {parent}\n=={pid}== \n=={pid}== I refs:      {count}\n"


def test_instructions_are_summed_over_programs_but_not_twice_for_a_fork() -> None:
    logs = [log(10, 1, "sh run", "1,000"), log(11, 10, "sh run", "1,200"), log(12, 10, "curl", "5,000")]
    assert read_logs(logs) == 6000


def test_valgrind_that_tells_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="valgrind"):
        read_logs(["==1== no such program"])


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    assert table(("row", "ms", ""), [["a", "1.0", "x"], ["bcd", "-", "yz"]]) == (
        "row   ms\n---  ---  --\na    1.0  x\nbcd    -  yz\n"
    )
    assert table(("row", "ms"), [["a", "1.0"]], markdown=True) == "| row | ms |\n| --- | ---: |\n| a | 1.0 |\n"


def test_the_tables_hold_what_was_measured() -> None:
    rows = {"a": row("a", 0.03, 0.02), "b": row("b", 0.02)}
    assert rows_table(rows, {"a": "b", "b": "gone"}, markdown=True).splitlines()[2:] == [
        "| a | 1 | 20.0 | 30.0 | 30.0 | 0.0 | 1.50 | b | 15.0 | 1.0 | 2.5 | 1 | 3 | 2 |",
        "| b | 1 | - | 20.0 | 20.0 | 0.0 | - |  | 10.0 | 1.0 | 2.5 | 1 | 3 | 2 |",
    ]
    assert "1.00" in targets_table(verdicts([TARGET], rows))
    told = growth_table([Growth("keys", (1, 3), (0.01, 0.014))], most=0.001)
    assert "1:10.0 3:14.0" in told
    assert "NOT MET" in told


def test_plots_are_svg() -> None:
    for page in (
        plot.bars("a < b", {"a": row("a", 0.03, 0.02), "b": row("b", 0.02)}, own=("a",)),
        plot.lines("more", [Growth("keys", (1, 3), (0.01, 0.02)), Growth("NICs", (0, 64), (0.01, 0.02))]),
    ):
        assert ElementTree.fromstring(page).tag == "{http://www.w3.org/2000/svg}svg"


PIN = Pin({"3.9": frozenset({"azurelite", "re"}), "3.10": frozenset({"azurelite", "re", "enum"})})


def test_a_pin_reads_as_it_was_written() -> None:
    assert PIN.text().splitlines()[1:] == ["# versions: 3.9 3.10", "azurelite", "enum 3.10", "re"]
    assert Pin.read(PIN.text()) == PIN


@pytest.mark.parametrize(
    ("version", "found", "own", "strayed"),
    [
        ("3.9", {"azurelite", "re"}, False, []),
        ("3.9", {"azurelite"}, False, []),  # less of others is welcome
        ("3.9", {"azurelite", "enum"}, False, ["+ enum"]),
        ("3.10", {"azurelite", "enum"}, False, []),
        ("3.9", {"azurelite", "enum"}, True, []),
        ("3.9", {"re"}, True, ["- azurelite"]),
        ("3.15", {"azurelite", "azurelite.x", "json"}, False, ["+ azurelite.x"]),
    ],
)
def test_what_strays_from_a_pin(version: str, found: set[str], own: bool, strayed: list[str]) -> None:
    assert PIN.strayed(version, frozenset(found), own=own) == strayed


def test_a_tenth_more_is_too_many() -> None:
    assert [too_many(found, 10.0) for found in (9, 10.9, 11.1)] == [False, False, True]
    assert not too_many(11, None)
