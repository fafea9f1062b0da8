"""Importing by halves: what is left out, that it comes back, and that the packages work as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit import Guest

from azurelite.simulator import Scenario, Simulator

pytestmark = pytest.mark.spawns


def told_by(script: str) -> Any:
    """What a script in an interpreter of its own prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, json\n{script}"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LEAN = (
    "from azurelite.cli.startup import lean_imports, whole_modules\n"
    "with lean_imports():\n    import urllib3, yaml, logging\n"
)


def test_what_a_run_does_not_use_is_left_out() -> None:
    absent = ["ssl", "_ssl", "_hashlib", "importlib.metadata", "csv", "zipfile"]
    assert told_by(LEAN + f"print(json.dumps([name for name in {absent} if name in sys.modules]))") == []


def test_it_can_be_imported_afterwards() -> None:
    said = told_by(
        LEAN + "import ssl, importlib.metadata as m\nprint(json.dumps([ssl.__name__, m.version('urllib3')]))"
    )
    assert said == ["ssl", told_by("import importlib.metadata as m\nprint(json.dumps(m.version('urllib3')))")]


def test_what_was_there_before_stays_as_it_was() -> None:
    script = "import ssl, importlib.metadata, http.client, re\nbefore = ssl, sys.modules['http.client']\n" + LEAN
    script += "with whole_modules():\n    here = ssl, sys.modules['http.client']\n"
    assert told_by(script + "print(json.dumps([before == here, hasattr(http.client, 'HTTPSConnection')]))") == [
        True,
        True,
    ]


def test_the_stand_in_finds_versions() -> None:
    script = "from azurelite.cli.startup import lean_imports\n"
    script += "with lean_imports():\n    from importlib.metadata import version\n"
    assert told_by(script + "print(json.dumps(version('PyYAML')))").split(".")[0].isdecimal()


def test_people_s_code_finds_everything() -> None:
    script = LEAN + "with whole_modules():\n    import http.client, urllib.request, urllib3, hashlib, re\n"
    script += "    found = [hasattr(http.client, 'HTTPSConnection'), hasattr(urllib.request, 'HTTPSHandler')]\n"
    script += "    pool = urllib3.HTTPSConnectionPool('localhost')\n"
    script += "    found.append(hashlib.sha256(b'').hexdigest()[:4] == 'e3b0' and '_hashlib' in sys.modules)\n"
    script += "    found.append(pool.ConnectionCls.__name__ == 'HTTPSConnection')\n"
    script += "    kinds = {type(value).__name__ for value in vars(urllib3.util.url).values()}\n"
    script += "    found.append('Pattern' in kinds and '_Later' not in kinds)\nprint(json.dumps(found))"
    assert told_by(script) == [True] * 5


def test_azurelite_goes_on_with_its_own_and_people_with_theirs() -> None:
    script = LEAN + "own = urllib3.response, sys.modules['http.client']\n"
    script += (
        "with whole_modules():\n    import urllib3 as whole, http.client\n    theirs = whole.response, http.client\n"
    )
    script += "import http\nfound = [own[0] is not theirs[0], own[1] is not theirs[1]]\n"
    script += (
        "found.append((sys.modules['urllib3.response'], sys.modules['http.client'], http.client) == (*own, own[1]))\n"
    )
    script += "with whole_modules():\n    import urllib3.response\n"
    script += "    found.append((urllib3.response, http.client) == theirs)\nprint(json.dumps(found))"
    assert told_by(script) == [True, True, True, True]


def test_patterns_that_are_compiled_later_are_the_same() -> None:
    script = LEAN.replace("urllib3, yaml, logging", "string, json.decoder, re\n    made = re.compile('a(b+)', re.I)")
    script += "found = [made.fullmatch('ABB')[1], made.sub('x', 'ab-AB'), made.pattern, made.groups]\n"
    script += "found.append(string.Template('$a').substitute(a='b'))\n"
    script += "found.append(isinstance(re.compile('a'), re.Pattern))\nimport copy, pickle\n"
    script += (
        "found += [copy.deepcopy(made).pattern, pickle.loads(pickle.dumps(made)).pattern]\nprint(json.dumps(found))"
    )
    assert told_by(script) == ["BB", "x-x", "a(b+)", 1, "b", True, "a(b+)", "a(b+)"]


def test_a_bad_pattern_is_told_when_it_is_used() -> None:
    script = (
        "import re\nfrom azurelite.cli.startup import lean_imports\nwith lean_imports():\n    bad = re.compile('(')\n"
    )
    script += "try:\n    bad.match('')\nexcept re.error:\n    print(json.dumps('told'))"
    assert told_by(script) == "told"


def provision(root: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`azurelite provision` with a folder of plug-ins."""
    code = f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom azurelite.cli import main\nsys.exit(main())"
    words = [sys.executable, "-c", code, "provision", "--root", root]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_a_plug_in_finds_https(guest: Guest, fabric: Simulator, tmp_path: Path) -> None:
    (tmp_path / "curious.py").write_text(
        "import http.client, ssl, urllib3\n"
        "def look(ctx, options):\n"
        "    ctx.note(f'https {hasattr(http.client, \"HTTPSConnection\")} {urllib3.HTTPSConnectionPool.scheme}')\n"
    )
    root = guest.on_azure().configure(fabric, handlers=["hostname", "curious:look", "report_ready"]).root
    done = provision(root, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "https True https" in done.stderr


@pytest.mark.parametrize("fault", [{"truncate": 20}, {"drop": True}, {"garbage": True}])
def test_beside_a_plug_in_a_broken_answer_is_asked_for_again(
    guest: Guest, tmp_path: Path, fault: dict[str, Any]
) -> None:
    (tmp_path / "idle.py").write_text(
        "import urllib3\ndef apply(ctx, options):\n    ctx.fabric.imds.fetch_instance(ctx.fabric.deadline)\n"
    )
    scenario = Scenario.from_dict(
        {"vm": {}, "faults": [{"endpoint": "imds", "requests": number, **fault} for number in ("1", "3")]}
    )
    with Simulator(scenario, rate_limit=None) as fabric:
        guest.on_azure().configure(fabric, handlers=["hostname", {"idle:apply": {"required": True}}, "report_ready"])
        done = provision(guest.root, tmp_path)
        assert (done.returncode, [report.state for report in fabric.reports]) == (0, ["Ready"]), done.stderr
