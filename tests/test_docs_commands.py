"""The commands of the documentation are run: on scratch machines, or there is a reason why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shellblocks import CHECKOUT, ELSEWHERE, PAGES, TOOLS, Machine, blocks_of, hindrance, programs_of

from azurelite.simulator import Scenario, Simulator

RUNNING = [page for page in PAGES if any(block.reason is None for block in blocks_of(page))]


def simple(line: str) -> bool:
    """Whether a line is a whole command of azurelite."""
    return bool(programs_of(line)) and set(programs_of(line)) == {"azurelite"} and not line.endswith("\\")


@pytest.mark.spawns
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """Where a block cannot run as a whole, those of its lines that only call azurelite do."""
    with Simulator(Scenario.default(), rate_limit=None) as simulator:
        machine = Machine(tmp_path, simulator)
        for block in blocks_of(page):
            if block.reason is not None or ("generalize --yes" in block.text and os.geteuid() != 0):
                continue  # only root removes accounts; the whole page runs where the tests are root's
            whole = hindrance(block.text) is None
            for text in [block.text] if whole else filter(simple, block.text.splitlines()):
                if whole or hindrance(text) is None:
                    code, printed = machine.run(text)
                    expected = block.code if whole else 0
                    assert code == expected, f"{page}:{block.line}: exit code {code}\n{text}\n{printed}"


def test_every_block_runs_or_has_a_reason() -> None:
    known = {*TOOLS, *ELSEWHERE, "azurelite", "azurelite-ready"}
    unknown = [
        f"{block.page.relative_to(CHECKOUT)}:{block.line}: {program}: add it to ELSEWHERE, with a reason"
        for page in PAGES
        for block in blocks_of(page)
        if block.reason is None
        for program in programs_of(block.text)
        if program not in known and Path(program).name not in known
    ]
    assert unknown == []


def test_a_comment_before_a_block_says_how_it_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\na\n```\n<!-- not run: no x -->\n```sh\nb\n```\n* c\n\n  <!-- exit code: 4 -->\n"
        "  ```sh\n  d\n    e\n  ```\n```sh\n#!/bin/sh\n```\n"
    )
    plain, not_run, indented = blocks_of(page)
    assert plain[1:] == (2, "a\n", None, 0)
    assert not_run[1:] == (6, "b\n", "no x", 0)
    assert indented[1:] == (12, "d\n  e\n", None, 4)


def test_there_are_commands_that_run() -> None:
    readme = [block for block in blocks_of(CHECKOUT / "README.md") if hindrance(block.text) is None]
    assert [block.text.splitlines()[0] for block in readme] == ["azurelite service install", "azurelite config check"]


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("a | b && c; d || e & f\n", ["a", "b", "c", "d", "e", "f"]),
        ("X=1 sudo a --x | b > c 2>&1 # d\n", ["a", "b"]),
        ("until [ -s x ]; do a 1; done\nif b; then c; else echo d; fi\n", ["a", "b", "c"]),
        ("cat > x <<'END'\nnot a command\nEND\nb \\\n  c\n", ["cat", "b"]),
        ("echo 'x; y' \"$(z)\"\n", []),
    ],
)
def test_programs_are_found(text: str, programs: list[str]) -> None:
    assert programs_of(text) == programs


@pytest.mark.spawns
def test_the_scratch_machine_keeps_to_itself(tmp_path: Path) -> None:
    with Simulator(Scenario.default(), rate_limit=None) as simulator:
        machine = Machine(tmp_path, simulator)
        assert machine.run("echo x > /etc/azurelite-was-here\n") == (0, "")
        assert machine.guest.text("etc/azurelite-was-here") == "x\n"
        assert not Path("/etc/azurelite-was-here").exists()
        assert machine.run("azurelite provision\n")[0] == 0
        assert machine.guest.text("etc/hostname") == "web-1\n"
        assert machine.run("azurelite metadata --root /mnt --saved local_hostname") == (0, "web-1\n")
        assert machine.run("azurelite config check nothing.yaml\necho no\n")[0] == 2
        assert machine.run("useradd x\n")[0] == 127
        assert "http://x/y --root=/ a/b /dev/null" in machine.placed("echo http://x/y --root=/ a/b /dev/null")
