"""contrib/hostname as plain files: what shellcheck and systemd say of them, and that the how-to names each.

What they do is in tests/live/test_later_name_live.py.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from needs import needs

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "contrib" / "hostname"
FILES = sorted(FOLDER.iterdir())
NAMES = [file.name for file in FILES]
SHELLS = [file for file in FILES if file.suffix not in (".path", ".service")]
PROGRAM = "/usr/local/sbin/azurelite-publish-hostname"


def run(*words: str) -> tuple[int, str]:
    """Run a program; its exit code, and what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.spawns
@needs("shellcheck")
@pytest.mark.parametrize("file", SHELLS, ids=lambda file: str(file.name))
def test_shellcheck_has_nothing_to_say(file: Path) -> None:
    assert run("shellcheck", "-s", "sh", str(file)) == (0, "")


@pytest.mark.spawns
@needs("systemd-analyze")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for file in FILES:
        if file not in SHELLS:
            (tmp_path / file.name).write_text(file.read_text().replace(PROGRAM, "/bin/true"))
    code, said = run("systemd-analyze", "verify", "--man=no", str(tmp_path / "azurelite-publish-hostname.path"))
    assert (code, [line for line in said.splitlines() if "azurelite" in line]) == (0, [])


def test_the_how_to_installs_every_file() -> None:
    page = (CHECKOUT / "docs/how-to/hostname.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"contrib/hostname/([\w.-]+)", page))) == NAMES


def test_all_call_the_program_where_the_how_to_puts_it() -> None:
    for file in FILES:
        if file.suffix != ".path" and file.name != "azurelite-publish-hostname":
            assert PROGRAM in file.read_text(), file.name


def test_programs_can_be_run_and_what_is_read_by_others_cannot() -> None:
    programs = {file.name for file in FILES if file.stat().st_mode & 0o111}
    assert programs == {file.name for file in FILES if file.read_bytes().startswith(b"#!")}
    assert "dhcpcd-hook" not in programs
