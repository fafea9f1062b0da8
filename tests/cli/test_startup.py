"""Start-up optimisations: what is left out, that it comes back, that only the program has them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from azurelite.cli import BOOT_COMMANDS

pytestmark = pytest.mark.spawns

REPO = Path(__file__).parents[2]
LAUNCHER = REPO / "contrib" / "launcher" / "azurelite"
LEAN = "from azurelite.cli.startup import lean_imports\nwith lean_imports():\n    import urllib3, yaml, logging\n"


def told_by(script: str) -> Any:
    """What a script in an interpreter of its own prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, json\n{script}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_a_run_does_not_use_is_left_out() -> None:
    absent = ["ssl", "_ssl", "_hashlib", "importlib.metadata", "csv", "zipfile"]
    assert told_by(LEAN + f"print(json.dumps([name for name in {absent} if name in sys.modules]))") == []


def test_it_can_be_imported_afterwards() -> None:
    said = told_by(
        LEAN + "import ssl, importlib.metadata as m\nprint(json.dumps([ssl.__name__, m.version('urllib3')]))"
    )
    assert said == ["ssl", told_by("import importlib.metadata as m\nprint(json.dumps(m.version('urllib3')))")]


def test_a_digest_that_only_openssl_has_comes_with_it() -> None:
    digest = "import hashlib\nprint(json.dumps(hashlib.pbkdf2_hmac('sha256', b'word', b'salt', 9).hex()))"
    assert told_by(LEAN.replace("logging", "logging, hashlib") + digest) == told_by(digest)


def test_what_was_there_before_stays_as_it_was() -> None:
    script = "import ssl, importlib.metadata, http.client, re\nbefore = ssl, sys.modules['http.client']\n" + LEAN
    script += "here = ssl, sys.modules['http.client']\n"
    assert told_by(script + "print(json.dumps([before == here, hasattr(http.client, 'HTTPSConnection')]))") == [
        True,
        True,
    ]


def test_the_stand_in_finds_versions() -> None:
    script = "from azurelite.cli.startup import lean_imports\n"
    script += "with lean_imports():\n    from importlib.metadata import version\n"
    assert told_by(script + "print(json.dumps(version('PyYAML')))").split(".")[0].isdecimal()


def test_patterns_that_are_compiled_later_are_the_same() -> None:
    script = LEAN.replace("urllib3, yaml, logging", "string, json.decoder, re\n    made = re.compile('a(b+)', re.I)")
    script += "found = [made.fullmatch('ABB')[1], made.sub('x', 'ab-AB'), made.pattern, made.groups]\n"
    script += "found.append(string.Template('$a').substitute(a='b'))\n"
    script += "found.append(isinstance(re.compile('a'), re.Pattern))\n"
    assert told_by(script + "print(json.dumps(found))") == ["BB", "x-x", "a(b+)", 1, "b", True]


def test_a_bad_pattern_is_told_when_it_is_used() -> None:
    script = (
        "import re\nfrom azurelite.cli.startup import lean_imports\nwith lean_imports():\n    bad = re.compile('(')\n"
    )
    script += "try:\n    bad.match('')\nexcept re.error:\n    print(json.dumps('told'))"
    assert told_by(script) == "told"


@pytest.mark.parametrize(
    "words", [["handlers"], ["provision", "--root", "/nonexistent"], ["report", "ready", "--root", "/nonexistent"]]
)
def test_main_leaves_no_trace_in_the_process_that_calls_it(words: list[str]) -> None:
    script = "import gc, re, sys\nfrom azurelite.cli import main\n"
    script += "state = lambda: [repr(sys.excepthook), gc.isenabled(), gc.get_freeze_count(), repr(re.compile)]\n"
    script += f"before = state()\nmain({words!r})\nimport ssl, http.client\n"
    script += "halves = [name for name, module in sys.modules.items() if module is None]\n"
    script += "print(json.dumps([before == state(), hasattr(http.client, 'HTTPSConnection'), halves]))"
    assert told_by(script) == [True, True, []]


@pytest.mark.parametrize(
    "words",
    [["provision"], ["provision", "--force"], ["provision", "--json"], ["provision", "--dry-run"],
     ["apply", "hostname", "--sources", "media", "--first-boot"], ["report", "failure", "--reason", "x"], ["plan"]],
    ids=" ".join,
)  # fmt: skip
def test_the_program_has_them_for_every_verb(words: list[str], tmp_path: Path) -> None:
    script = "import os\nleave, seen = os._exit, {'ssl', '_ssl', 'zipfile'}\n"
    script += "os._exit = lambda code: (print(json.dumps(sorted(seen & {*sys.modules})), flush=True), leave(0))\n"
    script += f"sys.argv[1:] = {[*words, '--root', str(tmp_path)]!r}\n"
    assert told_by(script + "from azurelite.cli import command\ncommand()") == []


UNITS = [path for path in (REPO / "azurelite" / "service" / "units").rglob("*") if path.is_file()]


def commands_in(text: str) -> set[tuple[str, ...]]:
    """What follows the program's name or variable, in all lines but comments."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = (
        re.search(r"(?:bin/azurelite|\$azurelite_command\"|\$command\") ((?:provision|report|apply)\b.*)", line)
        for line in lines
    )
    cut = (re.split(r"\|\||'| -- |&&", match[1])[0] for match in found if match)
    return {tuple(text.split()) for text in cut}


def test_every_command_of_a_unit_takes_the_fast_path() -> None:
    found = {command for path in UNITS for command in commands_in(path.read_text(encoding="utf-8"))}
    assert len(found) >= 2
    assert found <= set(BOOT_COMMANDS)


def test_every_command_of_the_page_about_boot_takes_the_fast_path() -> None:
    text = (REPO / "docs/boot.md").read_text(encoding="utf-8")
    shown = {tuple(found.split()) for found in re.findall(r"`azurelite ((?:provision|report|apply)[^`]*)`", text)}
    assert {("provision", "--detach"), ("apply", "hostname", "--sources", "media", "--first-boot")} <= shown
    assert shown <= set(BOOT_COMMANDS)


def test_the_launcher_imports_nothing_from_its_folder(tmp_path: Path) -> None:
    for name in ("re.py", "argparse.py", "urllib3.py"):
        (tmp_path / name).write_text("raise RuntimeError('shadowed')\n")
    program = tmp_path / "azurelite"
    program.write_bytes(LAUNCHER.read_bytes())
    for flags in ([], ["-I"]):
        done = subprocess.run(
            [sys.executable, *flags, str(program), "--version"],
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_the_launcher_imports_no_patterns_at_a_later_boot(tmp_path: Path) -> None:
    (tmp_path / "etc/azurelite").mkdir(parents=True)
    (tmp_path / "etc/azurelite/disabled").write_text("")
    script = f"import sys, os\nsys.argv[:] = [{str(LAUNCHER)!r}, 'provision', '--root', {str(tmp_path)!r}]\n"
    script += "before = {*sys.modules}\nleave = os._exit\n"
    script += "os._exit = lambda code: (print(sorted({*sys.modules} - before), flush=True), leave(code))\n"
    script += "exec(open(sys.argv[0]).read())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert "azurelite is disabled" in done.stdout, done.stderr
    assert not {"re", "argparse", "logging", "urllib3", "typing"} & set(re.findall(r"'(\w+)'", done.stdout))
