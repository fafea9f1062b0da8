"""The log that stays: one file on every init system, bounded, and nowhere that a link leads to."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from pathlib import Path
from typing import Any, Iterator

import pytest
from kit import Guest

from azurelite import layout
from azurelite.cli import main
from azurelite.cli.logfile import LogFile, Syslog, summary
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.system.root import Root

NAME = layout.LOG[1:]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error): [A-Za-z_][\w:.-]*: \S.*")


@pytest.fixture
def ready(guest: Guest, fabric: Simulator) -> Guest:
    return guest.on_azure().configure(fabric).put({"var/log/.keep": ""})


def entry(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("azurelite.run.pool", level, "pool.py", 1, "%s", (text,), None)


@pytest.fixture
def log(guest: Guest) -> Iterator[LogFile]:
    made = LogFile(Root(guest.put({"var/log/.keep": ""}).root), limit=1000)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("provision", "report_ready: Azure accepted Ready"),
        ("provision -q", "report_ready: Azure accepted Ready"),
        ("apply hostname", "hostname: write "),
        ("report ready", "report: Azure accepted the report: ready"),
    ],
)
def test_verbs_that_act_keep_a_log(ready: Guest, words: str, line: str) -> None:
    assert main([*words.split(), "--root", ready.root]) == 0
    assert ready.mode(NAME) == 0o640
    lines = ready.text(NAME).splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert f" info: {line}" in "\n".join(lines)


@pytest.mark.parametrize(
    "words",
    [["provision", "--dry-run"], ["apply", "hostname", "--dry-run"], ["plan"], ["metadata"], ["config", "check"]],
    ids=" ".join,
)
def test_others_keep_none(ready: Guest, words: list[str]) -> None:
    main([*words, "--root", ready.root])
    assert not ready.path(NAME).exists()


def test_a_machine_that_is_not_on_azure_is_not_changed(guest: Guest, fabric: Simulator) -> None:
    guest.configure(fabric).put({"var/log/.keep": ""})
    before = guest.snapshot()
    assert main(["provision", "--root", guest.root]) == 0
    assert guest.snapshot().keys() - before.keys() == {"/run", "/run/azurelite", "/run/azurelite/status.json"}


def test_the_result_and_a_wrong_configuration_are_in_the_log(ready: Guest) -> None:
    assert main(["provision", "--root", ready.root]) == 0
    assert re.search(r"info: provision: provisioned: Azure accepted Ready", ready.text(NAME))
    ready.put({"etc/azurelite/azurelite.yaml": "datasource: {deadlin: 1}\n"})
    assert main(["provision", "--force", "--root", ready.root]) == 2
    assert " error: result: /etc/azurelite/azurelite.yaml:1:14: " in ready.text(NAME)


def planted(guest: Guest, kind: str) -> None:
    """Put something else in the log's place."""
    place = guest.path(NAME)
    if kind == "missing folder":
        place.parent.joinpath(".keep").unlink()
        place.parent.rmdir()
    elif kind == "link":
        place.symlink_to(guest.path("etc/passwd"))
    elif kind == "hard link":
        os.link(guest.path("etc/passwd"), place)
    elif kind == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)


@pytest.mark.parametrize("kind", ["missing folder", "link", "hard link", "folder", "fifo"])
def test_a_log_that_cannot_be_written_costs_one_note(ready: Guest, kind: str, capsys: Any) -> None:
    planted(ready, kind)
    before = ready.text("etc/passwd")
    assert main(["provision", "--root", ready.root]) == 0
    notes = 1 if os.geteuid() == 0 else 0  # for another user it is no news
    assert capsys.readouterr().err.count("azurelite: info: log: /var/log/azurelite.log is not written: ") == notes
    assert ready.text("etc/passwd").startswith(before)
    assert "azurelite 0" not in ready.text("etc/passwd")


def test_a_folder_that_is_a_link_leads_to_the_guests_own(ready: Guest) -> None:
    ready.path("var/log/.keep").unlink()
    ready.path("var/log").rmdir()
    ready.path("var/log").symlink_to("/home")
    assert main(["provision", "--root", ready.root]) == 0
    assert ready.path("home/azurelite.log").exists()


def test_it_is_bounded_with_one_older_log(guest: Guest, log: LogFile) -> None:
    for number in range(100):
        log.handle(entry(f"{number} " + "x" * 90))
    names = sorted(path.name for path in guest.path("var/log").iterdir())
    assert names == [".keep", "azurelite.log", "azurelite.log.1"]
    assert all(guest.path(f"var/log/{name}").stat().st_size <= 1000 for name in names)
    assert f"pool: 99 {'x' * 90}" in guest.text(NAME)


def test_a_second_process_turns_it_only_once(guest: Guest, log: LogFile) -> None:
    other = LogFile(Root(guest.root), limit=1000)
    for number in range(9):
        log.handle(entry(f"one {number} " + "x" * 90))
        other.handle(entry(f"two {number} " + "x" * 90))
    other.close()
    kept = guest.text(NAME) + guest.text(f"{NAME}.1")
    assert "one 8" in kept
    assert "two 8" in kept
    assert len(kept) > 1000


def test_a_line_stays_one_line_and_a_terminal_has_nothing_to_obey(guest: Guest, log: LogFile) -> None:
    log.handle(entry("a\nb\x1b[2J\u2028é\ud800"))
    assert guest.text(NAME).splitlines()[1].endswith("info: pool: a\\nb\\x1b[2J\\u2028é\\ud800")


def test_a_traceback_is_never_kept(guest: Guest, log: LogFile) -> None:
    try:
        raise ValueError("canary")
    except ValueError as error:
        record = entry("traceback of a defect", logging.DEBUG)
        record.exc_info = (ValueError, error, error.__traceback__)
        log.handle(record)
    assert "canary" not in guest.text(NAME)


@pytest.mark.parametrize("words", [[], ["-v"], ["-q"], ["--quiet"], ["--log-level", "error"]], ids=" ".join)
@pytest.mark.parametrize("first", [True, False])
def test_the_options_choose_what_standard_error_shows(ready: Guest, words: list[str], first: bool, capsys: Any) -> None:
    verb = ["provision", "--root", ready.root]
    assert main([*words, *verb] if first else [*verb, *words]) == 0
    err = capsys.readouterr().err
    assert ("azurelite: debug: " in err) == (words == ["-v"])
    assert ("azurelite: info: " in err) == (words in ([], ["-v"]))


@pytest.mark.parametrize(("line", "shown"), [("quiet azurelite.debug\n", True), ("azurelite.debugger", False)])
def test_a_word_on_the_kernel_command_line_shows_debug_lines(ready: Guest, line: str, shown: bool, capsys: Any) -> None:
    ready.put({"proc/cmdline": line})
    assert main(["provision", "--root", ready.root]) == 0
    assert ("azurelite: debug: " in capsys.readouterr().err) is shown
    assert (" debug: " in ready.text(NAME)) is shown


def test_the_journal_gets_priorities(
    ready: Guest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    with (tmp_path / "err").open("w+", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        found = os.fstat(stream.fileno())
        for told in ("1:1", f"{found.st_dev}:{found.st_ino}"):
            monkeypatch.setenv("JOURNAL_STREAM", told)
            assert main(["provision", "--force", "--root", ready.root]) == 0
        ready.put({"etc/azurelite/azurelite.yaml": "x: 1\n"})
        assert main(["provision", "--force", "--root", ready.root]) == 2
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines[0].startswith("azurelite: info: ")
    assert any(line.startswith("<6>azurelite: info: ") for line in lines)
    assert any(line.startswith("<3>azurelite: error: ") for line in lines)
    assert lines[-1].startswith("<3>azurelite: ")


def test_the_syslog_daemon_gets_each_line_with_its_priority(tmp_path: Path, guest: Guest) -> None:
    address = str(tmp_path / "log")
    sender = Syslog(address)
    sender.handle(entry("too early"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(address)
        sender.handle(entry("imds: unreachable", logging.WARNING))
        assert daemon.recv(999).decode() == f"<28>azurelite[{os.getpid()}]: imds: unreachable"
    sender.handle(entry("too late"))
    sender.close()


@pytest.fixture
def silent(guest: Guest) -> Iterator[Guest]:
    """A guest on Azure whose IMDS fails."""
    with Simulator(Scenario(Scenario.default().vm, (Fault(endpoint="imds", status=500),))) as broken:
        yield guest.put({"var/log/.keep": ""}).on_azure().configure(broken, datasource={"deadline": 2})


def test_a_failed_boot_ends_with_a_summary(silent: Guest, capsys: Any) -> None:
    assert main(["provision", "--detach", "--root", silent.root]) == 1
    state, remedy, log = capsys.readouterr().out.splitlines()
    assert state.startswith("failed: ")
    assert remedy.startswith("what to do: ")
    assert log == "log: /var/log/azurelite.log; see also `azurelite status --long`"
    assert " error: provision: failed: " in silent.text(NAME)


def test_json_stays_json(silent: Guest, capsys: Any) -> None:
    assert main(["provision", "--json", "--root", silent.root]) == 1
    assert json.loads(capsys.readouterr().out)["outcome"] == "failed"


def test_a_good_boot_ends_with_one_line(ready: Guest, capsys: Any) -> None:
    assert main(["provision", "--root", ready.root]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_without_a_kept_log_there_is_no_summary() -> None:
    assert summary("Do this.") == []


def test_the_library_stays_silent(ready: Guest, capsys: Any) -> None:
    import azurelite

    with azurelite.Azure(root=ready.root) as azure:
        assert azure.provision().exit_code == 0
    assert capsys.readouterr() == ("", "")
    assert not ready.path(NAME).exists()
    assert any(isinstance(one, logging.NullHandler) for one in logging.getLogger("azurelite").handlers)


def test_a_verb_leaves_no_handler_behind(ready: Guest) -> None:
    logger = logging.getLogger("azurelite")
    before = logger.level, list(logger.handlers)
    main(["provision", "--root", ready.root])
    assert (logger.level, list(logger.handlers)) == before


def test_a_log_that_was_left_open_for_everybody_is_closed(ready: Guest) -> None:
    ready.put({NAME: "old\n"}).path(NAME).chmod(0o666)
    main(["provision", "--root", ready.root])
    assert ready.mode(NAME) == 0o640
    assert ready.text(NAME).startswith("old\n")
