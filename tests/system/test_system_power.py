"""Going down after the run. The programs are shims; nothing here can reach this machine's own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from kit import shim

from azurelite.errors import CommandError
from azurelite.system.machine import System
from azurelite.system.services.power import switch

# Both run in a process of their own, for the machine goes down when the asking process has ended.
ASK = """
    import logging, sys, time
    from azurelite.system.machine import System
    from azurelite.system.services.power import switch
    logging.basicConfig(format="%(message)s")
    system = System("/")
    system.commands.search_path = sys.argv[1]
    only_if = None if len(sys.argv) == 6 else lambda: open(sys.argv[5]).read() == sys.argv[6]
    switch(system, sys.argv[2], minutes=int(sys.argv[3]), message=sys.argv[4] or None, only_if=only_if)
    time.sleep(0.2)
    open(sys.argv[5], "w").write("records are written")
"""


def ask(folder: Path, mode: str, minutes: int = 0, message: str = "", *only_if: str) -> str:
    """The helper's own shell finds a faster `sleep` in the folder, and no program to go down by."""
    shim(folder, "sleep", script='test "$1" = 0 || exec /bin/sleep 0.05')
    if not (folder / "sh").exists():
        (folder / "sh").symlink_to("/bin/sh")
    command = [sys.executable, "-c", textwrap.dedent(ASK), str(folder), mode, str(minutes), message]
    command += [str(folder / "records"), *only_if]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text().endswith("--\n"):
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.05)


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("mode", "minutes", "message", "expected"),
    [
        ("reboot", 0, "", ["-r", "now"]),
        ("poweroff", 5, "the image is `ready` $HOME", ["-h", "-P", "+5", "the image is `ready` $HOME"]),
        ("halt", 1, "", ["-h", "-H", "+1"]),
    ],
)
def test_shutdown_is_called_when_the_process_has_ended(
    tmp_path: Path, mode: str, minutes: int, message: str, expected: list[str]
) -> None:
    log = shim(tmp_path, "shutdown", script=f"test -e {tmp_path}/records || echo too-early >> {tmp_path}/shutdown.log")
    ask(tmp_path, mode, minutes, message)
    wait_for(log)
    assert log.read_text().splitlines() == [*expected, "--"]


@pytest.mark.spawns
def test_what_hangs_on_ready_is_decided_when_the_process_ends(tmp_path: Path) -> None:
    log = shim(tmp_path, "shutdown")
    said = ask(tmp_path, "reboot", 0, "", "Azure never accepted it")
    assert "power: reboot skipped: Azure has not accepted Ready" in said
    assert not log.exists()
    assert ask(tmp_path, "reboot", 0, "", "records are written") == ""
    wait_for(log)
    assert log.read_text().splitlines() == ["-r", "now", "--"]


@pytest.mark.spawns
def test_without_shutdown_busyboxes_programs_do_it(tmp_path: Path) -> None:
    log = shim(tmp_path, "poweroff")
    ask(tmp_path, "poweroff")
    wait_for(log)
    assert log.read_text() == "--\n"


def test_where_nothing_can_do_it_that_is_said(tmp_path: Path) -> None:
    system = System("/", dry_run=True)
    system.commands.search_path = str(tmp_path)
    with pytest.raises(CommandError, match="neither shutdown nor halt"):
        switch(system, "halt")


def test_a_dry_run_records_it_and_starts_nothing(tmp_path: Path) -> None:
    log = shim(tmp_path, "reboot")
    system = System("/", dry_run=True)
    system.commands.search_path = str(tmp_path)
    switch(system, "reboot", minutes=3)
    assert [str(change) for change in system.journal.since(0)] == ["reboot (3 min after the run)"]
    assert not log.exists()
