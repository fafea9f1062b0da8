"""`azurelite analyze`: which boot, which form, and what it says of files that cannot be used."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from bootskit import BEFORE, SPANS, put, status, timeline, two_boots
from kit import Guest

from azurelite.cli import main
from azurelite.describe.analysis import analyse
from azurelite.state.boots import boot_of


def printed(capsys: Any, guest: Guest, *words: str) -> str:
    assert main(["analyze", "--root", guest.root, *words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    out: str = captured.out
    return out


def refused(capsys: Any, guest: Guest, *words: str) -> str:
    assert main(["analyze", "--root", guest.root, *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error: str = captured.err
    assert "Traceback" not in error
    return error


def test_this_boot_and_the_one_before(guest: Guest, capsys: Any) -> None:
    two_boots(guest)
    out = printed(capsys, guest)
    assert "state:          failed\nreason:         no sudo\nazurelite took: 8.00 s\n" in out
    assert "4.50 s  kernel and init system, before azurelite\n" in out
    assert "Compared" not in out
    before = printed(capsys, guest, "--boot", "-1")
    assert f"boot 0006 ({BEFORE})" in before
    assert "state:          done" in before
    assert "azurelite took: 4.00 s" in before


def test_comparison(guest: Guest, capsys: Any) -> None:
    two_boots(guest)
    for words in (["--compare"], ["--compare", "-1"]):
        out = printed(capsys, guest, *words)
        assert "Compared with boot 0006" in out
        assert "4.00 s        8.00 s        +4.00 s  run: provision" in out
    out = printed(capsys, guest, "--boot", "-1", "--compare", "0")
    assert "Compared with this boot" in out
    assert "-4.00 s  run: provision" in out


def test_a_comparison_goes_past_a_boot_that_cannot_be_read(guest: Guest, capsys: Any) -> None:
    two_boots(guest)
    put(guest, "var/lib/azurelite/boots/0005", timeline(boot_id="x"))
    put(guest, "var/lib/azurelite/boots/0006", "{")
    assert main(["analyze", "--root", guest.root, "--compare"]) == 0
    captured = capsys.readouterr()
    assert "Compared with boot 0005" in captured.out
    assert "boots/0006/timeline.json is damaged" in captured.err
    assert "--boot -9: 2 earlier boots are kept" in refused(capsys, guest, "--boot", "-9")


def test_json(guest: Guest, capsys: Any) -> None:
    made = json.loads(printed(capsys, two_boots(guest), "--json", "--compare"))
    assert made["seconds"] == 8.0
    assert made["blame"][0]["name"] == '<b>&"user"'
    assert [row["name"] for row in made["critical_chain"]][-1] == "NotReady"
    assert len(made["waterfall"]) == len(SPANS)
    assert made["compared_with"] == "boot 0006"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("", "damaged"),
        ("[" * 100000, "damaged"),
        ("[]", "damaged"),
        (timeline(format=2), "of another version"),
        ({"spans": []}, "of another version"),
        (timeline(spans=[]), "damaged"),
        (timeline(spans={}), "damaged"),
        (timeline(spans=["x"]), "damaged"),
        (timeline(started="yesterday"), "damaged"),
        (timeline(started=None), "damaged"),
        (timeline(spans=[{**SPANS[0], "end": -1}]), "damaged"),
        (timeline(spans=[{**SPANS[0], "start": 9.0}]), "damaged"),
        (timeline(spans=[{**SPANS[0], "end": float("nan")}]), "damaged"),
        (timeline(spans=[{**SPANS[0], "end": True}]), "damaged"),
        (timeline(spans=[{**SPANS[0], "end": 10**400}]), "damaged"),
        (timeline(spans=[{**SPANS[0], "name": None}]), "damaged"),
        ("x" * 1024 * 1024 + "x", "damaged"),
    ],
)
def test_a_timeline_that_cannot_be_used(guest: Guest, document: Any, why: str, capsys: Any) -> None:
    put(guest, "run/azurelite", document)
    error = refused(capsys, guest)
    assert "/run/azurelite/timeline.json" in error
    assert why in error
    assert "--boot -1" in error


def test_no_timeline(guest: Guest, capsys: Any) -> None:
    error = refused(capsys, guest)
    assert "/run/azurelite/timeline.json does not exist" in error
    assert "--boot -1" in error
    assert "no earlier boot is kept" in refused(capsys, guest, "--boot", "-1")
    put(guest, "run/azurelite", timeline())
    assert "no earlier boot" in refused(capsys, guest, "--compare")


def test_the_kept_copy_stands_in_for_a_damaged_timeline(guest: Guest, capsys: Any) -> None:
    two_boots(guest).put({"run/azurelite/timeline.json": "{"})
    assert "azurelite took: 8.00 s" in printed(capsys, guest)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [("{", True), (status(format=9), True), (status(boot_id="another", reason="old"), False), (status(state=7), False)],
)
def test_a_status_that_cannot_be_used_is_left_out(guest: Guest, document: Any, complaint: bool, capsys: Any) -> None:
    put(guest, "run/azurelite", timeline(), document)
    assert main(["analyze", "--root", guest.root]) == 0
    captured = capsys.readouterr()
    assert "state:" not in captured.out
    assert "old" not in captured.out
    assert ("status.json" in captured.err) == complaint


@pytest.mark.parametrize("parent", [5, 0, -1, "0", True, None, 1.0])
def test_a_wrong_parent_is_ignored(guest: Guest, parent: Any, capsys: Any) -> None:
    put(guest, "run/azurelite", timeline(spans=[{**SPANS[0], "parent": parent}]))
    assert '"depth": 0' in printed(capsys, guest, "--json")


def test_queries_and_control_characters_are_not_shown(guest: Guest, capsys: Any) -> None:
    request = {**SPANS[2], "name": "GET http://h/x?sig=canary", "parent": None}
    put(guest, "run/azurelite", timeline(spans=[request, {**SPANS[5], "name": "a\x1b[31m\nb"}]))
    for words in ([], ["--json"], ["--svg", "-"], ["--html", "-"], ["--otlp", "-"]):
        out = printed(capsys, guest, *words)
        assert "canary" not in out
        assert "\x1b" not in out
        assert "\\u001b" not in out


@pytest.mark.parametrize("form", ["svg", "html", "otlp"])
def test_files(guest: Guest, form: str, tmp_path: Path, capsys: Any) -> None:
    two_boots(guest)
    path, before = tmp_path / "made", os.umask(0)
    try:
        assert printed(capsys, guest, f"--{form}", str(path)) == f"wrote {path}\n"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    text = path.read_text()
    assert text.startswith({"svg": "<svg ", "html": "<!DOCTYPE html>", "otlp": '{"resourceSpans": '}[form])
    assert printed(capsys, guest, f"--{form}", str(path), "--json").startswith("{")
    assert printed(capsys, guest, f"--{form}", "-") == text == path.read_text()
    assert [one.name for one in tmp_path.iterdir() if "azurelite-" in one.name] == []


def test_no_link_is_followed_and_no_folder_is_written(guest: Guest, tmp_path: Path, capsys: Any) -> None:
    two_boots(guest)
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("kept")
    for target in (victim, tmp_path / "missing"):
        link.symlink_to(target)
        assert "link is a link or no regular file" in refused(capsys, guest, "--html", str(link))
        link.unlink()
    assert victim.read_text() == "kept"
    assert "no regular file" in refused(capsys, guest, "--svg", str(tmp_path))
    assert "No such file or directory" in refused(capsys, guest, "--svg", str(tmp_path / "no" / "file"))


@pytest.mark.parametrize("words", [["--boot", "1"], ["--boot", "x"], ["--compare", "2"]])
def test_a_wrong_boot_is_a_usage_error(guest: Guest, words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["analyze", "--root", guest.root, *words])
    assert ended.value.code == 2
    assert f"{words[1]!r} must be 0 for this boot, or -1" in capsys.readouterr().err


def test_the_demo_draws_the_page_of_its_run(tmp_path: Path, capsys: Any) -> None:
    page = tmp_path / "demo.html"
    assert main(["demo", "--html", str(page)]) == 0
    assert f"wrote {page}" in capsys.readouterr().out
    text = page.read_text()
    assert "simulated boot" in text
    for step in ("hostname", "user", "report_ready"):
        assert f">step: {step}</span>" in text
    assert "metadata/<wbr>instance" in text


def test_an_outcome_nests_requests_in_steps() -> None:
    from azurelite.fabric.exchange import Exchange
    from azurelite.outcome import Outcome, StepResult

    outcome = Outcome(
        "provisioned",
        "",
        seconds=2.0,
        steps=(StepResult("hostname", "done", True, 0.5, 0.5), StepResult("report_ready", "done", True, 1.0, 0.5)),
        exchanges=(
            Exchange("GET", "http://h/a?b", 200, None, 0.1, 0.2),
            Exchange("POST", "http://h/c", None, "read timeout", 1.1, 0.2),
        ),
    )
    made = analyse(boot_of(outcome, title="x", started=0.0))
    assert [(row.span.name, row.depth) for row in made.rows] == [
        ("provision", 0),
        ("GET http://h/a", 1),
        ("hostname", 1),
        ("report_ready", 1),
        ("POST http://h/c", 2),
    ]
    assert made.rows[-1].span.is_failed
