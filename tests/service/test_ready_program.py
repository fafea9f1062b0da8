"""contrib/shell/azurelite-ready without a machine: its words, its usage errors, and what shellcheck says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from needs import needs

PROGRAM = Path(__file__).parents[2] / "contrib/shell/azurelite-ready"
SHELLS = {
    "dash": ["dash"],
    "ash": ["busybox", "ash"],
    "mksh": ["mksh"],
}
pytestmark = [pytest.mark.spawns, needs("dash", "busybox", "mksh")]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)


@needs("shellcheck")
@pytest.mark.parametrize("dialect", ["sh", "dash"])
def test_shellcheck_has_nothing_to_say(dialect: str) -> None:
    done = run("shellcheck", "-s", dialect, str(PROGRAM))
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_a_program_and_never_evaluates_text() -> None:
    assert PROGRAM.stat().st_mode & 0o111 == 0o111
    code = "\n".join(line for line in PROGRAM.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert re.findall(r"\b(?:eval|source)\b|(?:^|[;&|(])\s*\. ", code, re.MULTILINE) == []
    assert set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", code)) == {"168.63.129.16", "169.254.169.254"}


@pytest.mark.parametrize("shell", SHELLS)
class TestWords:
    def test_help_names_every_option(self, shell: str) -> None:
        done = run(*SHELLS[shell], str(PROGRAM), "--help")
        assert (done.returncode, done.stderr) == (0, "")
        options = set(re.findall(r"^            (--[a-z-]+)\)", PROGRAM.read_text(), re.MULTILINE))
        assert len(options) >= 7
        assert [option for option in sorted(options) if f"  {option} " not in done.stdout] == []

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--fialure", "x"], "there is no option '--fialure'"),
            (["ready"], "there is no option 'ready'"),
            (["--failure"], "--failure needs a value"),
            (["--failure", " \t"], "--failure needs a reason, which the portal shows"),
            (["--deadline", "0"], "--deadline needs seconds above 0"),
            (["--deadline", "1e3"], "--deadline needs seconds above 0"),
            (["--deadline", "-5"], "--deadline needs seconds above 0"),
            (["--platform", "aws"], "--platform can only be azure"),
            (["--platform", "azure", "--client", "lynx"], "there is no client 'lynx'"),
        ],
    )
    def test_usage_errors(self, shell: str, words: list[str], said: str) -> None:
        done = run(*SHELLS[shell], str(PROGRAM), *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"azurelite-ready: {said}: see azurelite-ready --help\n"
