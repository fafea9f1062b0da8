"""Commands: a clean environment, an end in time for the whole family, and no secret in any message."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Optional

import pytest
from kit import shim

from azurelite.clock import Deadline, SystemClock
from azurelite.errors import CommandError
from azurelite.metadata import Secret
from azurelite.system.disks.filesystems import _MAKERS
from azurelite.system.packages import MANAGERS
from azurelite.system.process import LEAST, STANDARD_PATH, Commands

CANARY = "canary-7f3a9"


def is_gone(pid: int) -> bool:
    """The process has ended, whether or not its new parent has collected it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def test_programs_are_found_in_the_order_of_the_path(tmp_path: Path) -> None:
    shim(tmp_path / "a", "tool")
    shim(tmp_path / "b", "tool")
    shim(tmp_path / "b", "other")
    (tmp_path / "a" / "other").write_text("not executable")
    (tmp_path / "a" / "sh").mkdir()
    commands = Commands(f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert commands.find("tool") == str(tmp_path / "a" / "tool")
    assert commands.find("other") == str(tmp_path / "b" / "other")
    assert commands.find("sh") in {f"{folder}/sh" for folder in STANDARD_PATH.split(":")}
    assert commands.find("no-such-program-anywhere") is None


def test_what_is_not_installed_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="frobnicate is not installed: add it to the image"):
        Commands(str(tmp_path)).run(["frobnicate", "-x"], timeout=5)


@pytest.mark.spawns
class TestRun:
    def test_the_environment_is_clean(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURELITE_TEST_CANARY", CANARY)
        monkeypatch.setenv("LD_PRELOAD", "")
        monkeypatch.setenv("LANG", "de_DE.UTF-8")
        shim(tmp_path, "show", script="env")
        output = Commands(str(tmp_path)).run(["show"], timeout=10)
        found = dict(line.split("=", 1) for line in output.splitlines())
        for set_by_the_shell in ("PWD", "OLDPWD", "SHLVL", "_"):
            found.pop(set_by_the_shell, None)
        assert found == {"PATH": f"{tmp_path}:{STANDARD_PATH}", "LC_ALL": "C", "HOME": "/"}

    def test_it_starts_in_the_root_folder_with_nothing_to_read(self, tmp_path: Path) -> None:
        shim(tmp_path, "show", script="pwd; cat; echo end")
        (tmp_path / "typed").write_text("ours to read\n")
        ours = os.dup(0)
        with (tmp_path / "typed").open() as typed:
            os.dup2(typed.fileno(), 0)
        try:
            assert Commands(str(tmp_path)).run(["show"], timeout=10) == "/\nend\n"
        finally:
            os.dup2(ours, 0)
            os.close(ours)

    def test_no_descriptor_of_ours_is_handed_on(self, tmp_path: Path) -> None:
        shim(tmp_path, "show", script="ls /proc/self/fd")
        with (tmp_path / "open").open("w"):
            output = Commands(str(tmp_path)).run(["show"], timeout=10)
        assert output.split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads

    @pytest.mark.parametrize("word", ["a b", "$(touch x)", "; exit 9", "", "*", "-n", "ü", "'\""])
    def test_arguments_arrive_as_they_are(self, tmp_path: Path, word: str) -> None:
        shim(tmp_path, "show", script='printf "%s" "$2"')
        assert Commands(str(tmp_path)).run(["show", "first", word], timeout=10) == word

    @pytest.mark.parametrize("secret", [CANARY, CANARY.encode(), b"\xff\0\n"])
    def test_a_secret_travels_on_standard_input(
        self, tmp_path: Path, secret: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        log = shim(
            tmp_path, "take", script=f"cat > {tmp_path}/taken; tr '\\0' ' ' < /proc/$$/cmdline; cat /proc/$$/environ"
        )
        output = Commands(str(tmp_path)).run(["take", "word"], timeout=10, secret_input=Secret(secret))
        assert (tmp_path / "taken").read_bytes() == Secret(secret).reveal_bytes()
        for text in (output, log.read_text(), caplog.text):
            assert CANARY not in text
        assert "running take word" in caplog.text

    def test_a_secret_that_nobody_reads_does_no_harm(self, tmp_path: Path) -> None:
        shim(tmp_path, "deaf", script="exec 0<&-")
        Commands(str(tmp_path)).run(["deaf"], timeout=10, secret_input=Secret("x" * 1_000_000))

    @pytest.mark.parametrize(
        ("script", "code", "says"),
        [
            ("echo 'it is late' >&2", 3, "tool failed with status 3: it is late"),
            ("echo one >&2; echo two >&2", 1, "tool failed with status 1: one two"),
            ("", 1, "tool failed with status 1: no error output"),
            ("echo out", 1, "tool failed with status 1: no error output"),
            ("printf '\\377bad' >&2", 1, "tool failed with status 1: \ufffdbad"),
            ("kill -9 $$", 0, "tool failed with status -9: no error output"),
        ],
    )
    def test_a_failure_repeats_the_commands_words_on_one_line(
        self, tmp_path: Path, script: str, code: int, says: str
    ) -> None:
        shim(tmp_path, "tool", script=script, exit_code=code)
        with pytest.raises(CommandError) as caught:
            Commands(str(tmp_path)).run(["tool"], timeout=10)
        assert caught.value.message == says

    def test_of_many_words_the_last_are_repeated(self, tmp_path: Path) -> None:
        shim(tmp_path, "tool", script="i=0; while [ $i -lt 999 ]; do echo word $i >&2; i=$((i+1)); done", exit_code=1)
        with pytest.raises(CommandError) as caught:
            Commands(str(tmp_path)).run(["tool"], timeout=10)
        assert caught.value.message.endswith("word 998")
        assert len(caught.value.message) < 400

    @pytest.mark.parametrize("script", ["cat > /dev/null; echo refused >&2", "cat >&2", "tr a-z A-Z >&2", "cat"])
    def test_a_failing_command_does_not_betray_the_secret(self, tmp_path: Path, script: str) -> None:
        shim(tmp_path, "tool", script=script, exit_code=1)
        with pytest.raises(CommandError, match="tool failed with status 1: ") as caught:
            Commands(str(tmp_path)).run(["tool"], timeout=10, secret_input=Secret(CANARY))
        assert CANARY not in f"{caught.value!r} {caught.value.data} {caught.value.reason}".lower()

    @pytest.mark.parametrize(
        ("content", "why"), [(b"\0\1junk", "Exec format error"), (b"#!/no/interpreter\n", "No such file or directory")]
    )
    def test_what_cannot_be_started_says_why(self, tmp_path: Path, content: bytes, why: str) -> None:
        (tmp_path / "broken").write_bytes(content)
        (tmp_path / "broken").chmod(0o755)
        with pytest.raises(CommandError, match=f"broken cannot be started: {why}"):
            Commands(str(tmp_path)).run(["broken"], timeout=10)

    def test_much_output_is_read_to_the_end(self, tmp_path: Path) -> None:
        shim(tmp_path, "tool", script="head -c 500000 /dev/zero | tr '\\0' x; head -c 500000 /dev/zero >&2")
        assert len(Commands(str(tmp_path)).run(["tool"], timeout=20)) == 500_000

    def test_one_that_is_too_slow_is_killed_with_its_children(self, tmp_path: Path) -> None:
        shim(tmp_path, "slow", script=f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/self; wait")
        started = time.monotonic()
        with pytest.raises(CommandError, match=r"slow timed out after 0.7 s and was killed"):
            Commands(str(tmp_path)).run(["slow"], timeout=0.7)
        assert time.monotonic() - started < 10
        pids = [int((tmp_path / name).read_text()) for name in ("self", "child")]
        patience = time.monotonic() + 5
        while not all(map(is_gone, pids)) and time.monotonic() < patience:
            time.sleep(0.02)
        assert [pid for pid in pids if not is_gone(pid)] == []

    def test_one_that_ignores_the_terminal_and_hang_up_is_killed_too(self, tmp_path: Path) -> None:
        shim(tmp_path, "stubborn", script="trap '' TERM HUP INT; sleep 300 & wait; sleep 300")
        with pytest.raises(CommandError, match="was killed"):
            Commands(str(tmp_path)).run(["stubborn"], timeout=0.3)

    def test_a_killed_command_leaves_no_descriptor_open(self, tmp_path: Path) -> None:
        shim(tmp_path, "slow", script="exec sleep 300")
        before = os.listdir("/proc/self/fd")
        with pytest.raises(CommandError, match="was killed"):
            Commands(str(tmp_path)).run(["slow"], timeout=0.2, secret_input=Secret("x"))
        assert os.listdir("/proc/self/fd") == before


class Standing(SystemClock):
    def monotonic(self) -> float:
        return 100.0


CASES = [
    # program, seconds that are left, the end of the error; None: it runs
    *[(tool, 0.9, "it needs 1 s, and 0.9 s are left: raise `datasource.deadline`") for tool in ("useradd", "usermod")],
    *[
        (tool, 0.2, "it needs 1 s, and 0.2 s are left")
        for tool in ("groupadd", "chpasswd", "adduser", "addgroup", "pw")
    ],
    *[(tool, 0.9, "it needs 1 s, and 0.9 s") for tool in ("growpart", "sfdisk", "resize2fs", "mkfs.xfs", "mkswap")],
    *[(tool, 9.0, "it needs 10 s, and 9.0 s are left") for tool in ("apt-get", "dnf", "zypper", "apk", "pacman")],
    ("useradd", 1.0, None),
    ("apt-get", 10.0, None),
    ("useradd", None, None),
    ("other", 0.9, None),
    ("useradd", 0.0, "the provisioning deadline has passed"),
    ("other", 0.0, "the provisioning deadline has passed"),
]


@pytest.mark.spawns
@pytest.mark.parametrize(("program", "left", "error"), CASES)
def test_a_program_that_must_not_be_killed_halfway_starts_only_with_enough_time(
    tmp_path: Path, program: str, left: Optional[float], error: Optional[str]
) -> None:
    log = shim(tmp_path, program)
    commands = Commands(str(tmp_path))
    commands.limit = None if left is None else Deadline(Standing(), left)
    if error is None:
        commands.run([program], timeout=60)
    else:
        with pytest.raises(CommandError, match=f"^{program} skipped: {error}"):
            commands.run([program], timeout=60)
    assert log.exists() is (error is None)


def test_every_program_that_changes_packages_or_makes_a_file_system_has_its_least_time() -> None:
    programs = {manager.install[0] for manager in MANAGERS} | {program for program, *_ in _MAKERS.values()}
    assert programs - LEAST.keys() == set()
