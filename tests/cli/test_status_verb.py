"""`azurelite status`: what it prints and ends with, for each state and for files that cannot be used."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import defusedxml
import pytest
import urllib3
import yaml
from kit import VM_ID, FastClock, Guest
from needs import needs

import azurelite
from azurelite.cli import main
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.state import records
from azurelite.state.reading import wait_for
from azurelite.state.status import EXIT_CODES, STATES, blank
from azurelite.system.root import Root

STATUS = "run/azurelite/status.json"
BOOT_ID = "proc/sys/kernel/random/boot_id"
HERE, BEFORE = "5d0ae6d1-9a55-4d6e-8d3a-000000000001", "5d0ae6d1-9a55-4d6e-8d3a-000000000002"
NO_PROCESS = 2**22 + 1  # more than Linux allows


def status_of(state: str, **changes: Any) -> dict[str, Any]:
    made = blank(state, boot_id=HERE, updated="2026-01-02T03:04:05+00:00", pid=os.getpid())
    return {**made, "vm_id": VM_ID, **changes}


@pytest.fixture
def booted(guest: Guest) -> Guest:
    return guest.put({BOOT_ID: f"{HERE}\n"})


def told(guest: Guest, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["status", "--root", guest.root, *words])
    return (code, *capsys.readouterr())


CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "done": (status_of("done", reason="Azure accepted Ready"), 0, "status: done\nreason: Azure accepted Ready"),
    "degraded": (status_of("degraded", step="hostname"), 0, "status: degraded"),
    "background": (status_of("background", step="user_data"), 0, "in the background: user_data"),
    "disabled": (status_of("disabled"), 0, "status: disabled"),
    "not azure": (status_of("not azure"), 0, "status: this machine is not on Azure"),
    "failed": (status_of("failed", reason="user: no sudo", remedy="Install it."), 1, "remedy: Install it."),
    "its log": (
        status_of("failed", outputs=["/var/log/azurelite"]),
        1,
        "log: /var/log/azurelite.log\noutput: /var/log",
    ),
    "unreachable": (status_of("unreachable"), 3, "status: Azure was not reached"),
    "running": (status_of("running", step="user"), 4, "status: running: user"),
    "waiting": (status_of("waiting", reason="no answer"), 4, "status: waiting for Azure\nreason: no answer"),
    "killed": (status_of("running", step="user", pid=NO_PROCESS), 1, "ended without a result in the step user"),
    "killed later": (status_of("background", pid=NO_PROCESS), 1, "ended without a result"),
    "a boot ago": (status_of("done", boot_id=BEFORE), 4, "has not run in this boot"),
    "a sign": (status_of("failed", reason="a\x1b[2Jb\nc"), 1, "reason: a [2Jb c\n"),
    "failed before": (
        status_of("done", last_failure={"updated": "then", "step": "user", "reason": "no sudo", "remedy": "Do it."}),
        0,
        "last failure: then in user: no sudo\n  remedy: Do it.",
    ),
    "failed before, with the remedy in the reason": (
        status_of(
            "done", last_failure={"updated": "then", "step": "user", "reason": "user: no. Do it", "remedy": "Do it."}
        ),
        0,
        "last failure: then: user: no\n  remedy: Do it.\n",
    ),
    "failed again": (
        status_of("failed", reason="user: no", last_failure={"updated": "then", "step": "user", "reason": "user: no"}),
        1,
        "last failure: then, for the same reason\n",
    ),
    "a remedy is told once": (
        status_of("failed", reason="IMDS fails. Reboot it", remedy="Reboot it."),
        1,
        "reason: IMDS fails\nremedy: Reboot it.\n",
    ),
    "a time": (status_of("done", seconds=0.0704), 0, "time: 2026-01-02 03:04:05 UTC, after 0.07 s"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_state_has_its_words_and_its_code(name: str, booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    status, code, words = CASES[name]
    booted.put({STATUS: json.dumps(status)})
    found = told(booted, capsys)
    assert (found[0], found[2]) == (code, "")
    assert words in found[1]
    assert told(booted, capsys, "--long")[0] == code
    as_json = told(booted, capsys, "--json")
    assert as_json[0] == code == json.loads(as_json[1])["exit_code"]


def test_long_tells_the_log_and_the_reason_once(booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    booted.on_azure()
    with Simulator(Scenario(Scenario.default().vm, (Fault(endpoint="imds", status=500),))) as azure:
        booted.configure(azure, datasource={"deadline": 2, "media": {"device": "none"}})
        assert main(["provision", "--root", booted.root]) == 1
    capsys.readouterr()
    code, out, _ = told(booted, capsys, "--long")
    assert (code, out.count("HTTP 500"), out.count("log: ")) == (1, 1, 1), out
    assert "see the reason above" in out


def test_every_state_is_a_case() -> None:
    assert {status["state"] for status, _, _ in CASES.values()} == set(STATES)


def test_the_switch_is_seen_without_a_run(booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(booted, capsys)[0] == 4
    booted.put({"etc/azurelite/disabled": ""})
    code, out, _ = told(booted, capsys)
    assert (code, "status: disabled" in out) == (0, True)


DAMAGED = {
    "nothing": "",
    "half": '{"format": 1, "boot',
    "a list": "[]",
    "deep": "[" * 100_000,
    "newer": json.dumps({**status_of("done"), "format": 2}),
    "no state": json.dumps({**status_of("done"), "state": "fine"}),
    "a state of another type": json.dumps({**status_of("done"), "state": ["done"]}),
    "no steps": json.dumps({**status_of("done"), "steps": None}),
    "odd steps": json.dumps({**status_of("done"), "steps": [{"name": 1}]}),
    "odd seconds": json.dumps({**status_of("done"), "seconds": "long"}),
    "odd failure": json.dumps({**status_of("done"), "last_failure": "yes"}),
    "too large": json.dumps({**status_of("done"), "reason": "x" * records.RECORD_LIMIT}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_status_that_cannot_be_used_is_named(name: str, booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    booted.put({STATUS: DAMAGED[name]})
    for words in ((), ("--long",), ("--json",)):
        code, _, err = told(booted, capsys, *words)
        assert code == 4
        assert re.fullmatch(r"azurelite: error: /run/azurelite/status.json is .* and not used\n", err)


@pytest.mark.parametrize(
    "words",
    [
        ("--boot", "1"),
        ("--boot", "x"),
        ("--boot", "-1"),
        ("--boot", "-1", "--wait"),
        ("--wait", "0"),
        ("--wait", "soon"),
    ],
)
def test_wrong_words(words: tuple[str, ...], booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = told(booted, capsys, *words)[0]
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2


class Clock(FastClock):
    """A clock on which the status becomes another one while somebody sleeps."""

    def __init__(self, guest: Guest, *states: str) -> None:
        super().__init__()
        self._guest, self._left = guest, list(states)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self._left:
            self._guest.put({STATUS: json.dumps(status_of(self._left.pop(0)))})


@pytest.mark.parametrize(
    ("states", "limit", "found", "over"),
    [
        (["running", "waiting", "background", "done"], 9.0, "done", False),
        (["failed"], 9.0, "failed", False),
        (["running", "background"], 1.0, "background", True),
        ([], 1.0, "never ran", True),
        (["done"], None, "never ran", False),
    ],
)
def test_waiting_ends_with_the_outcome_or_the_time(
    states: list[str], limit: float | None, found: str, over: bool, booted: Guest
) -> None:
    problems: list[str] = []
    result, late = wait_for(Root(booted.root), limit, clock=Clock(booted, *states), problems=problems)
    assert (result["state"], late, problems) == (found, over, [])


def test_the_time_of_wait_is_over(booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    booted.put({STATUS: json.dumps(status_of("background"))})
    assert told(booted, capsys, "--wait", "0.01")[0] == 4


def test_help_and_manual_page_have_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["status", "--help"])
    usage = capsys.readouterr().out
    page = Path(__file__, "../../../contrib/packaging/man/azurelite.8").resolve().read_text()
    boot = Path(__file__, "../../../docs/boot.md").resolve().read_text()
    for code, _, words in EXIT_CODES:
        assert f"  {code}  {words}\n" in usage
        assert f"  {code}  {words}\n".replace("--", r"\-\-") in page
        assert f"| {code} | {words.replace('--wait', '`--wait`')}" in boot


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def as_nobody(guest: Guest, *words: str, verb: str = "status") -> subprocess.CompletedProcess[str]:
    """Run the verb as an ordinary user, who may look into the folder of the test as into a real `/`.

    This interpreter and its packages may lie where others may not look, so the packages are copied.
    """
    place = Path(guest.root)
    for folder in (place, *place.parents):
        if folder.stat().st_mode & stat.S_ISVTX:
            break  # /tmp, or the memory that tests use in its place
        folder.chmod(folder.stat().st_mode | 0o055)
    packages = place.parent / "packages"
    for module in (azurelite, defusedxml, urllib3, yaml) if not packages.exists() else ():
        folder = Path(str(module.__file__)).parent
        shutil.copytree(folder, packages / folder.name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for python in (sys.executable, "/usr/bin/python3"):
        if (
            Path(python).exists()
            and subprocess.run([*NOBODY, python, "-c", "import json"], check=False).returncode == 0
        ):
            break
    else:
        pytest.skip("needs a Python that ordinary users can run: install python3")
    done = [*NOBODY, python, "-m", "azurelite", verb, "--root", guest.root, *words]
    env = {**os.environ, "PYTHONPATH": str(packages)}
    return subprocess.run(done, capture_output=True, text=True, check=False, timeout=50, cwd="/", env=env)


@needs("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become an ordinary user")
@pytest.mark.spawns
def test_anybody_learns_why_a_boot_failed_and_the_next_boot_still_tells(booted: Guest) -> None:
    booted.on_azure()
    with Simulator(Scenario.default()) as azure:
        booted.configure(azure, handlers=["user", "report_ready"])
        broken = booted.path("etc/passwd")
        broken.unlink()
        broken.mkdir()
        assert main(["provision", "--root", booted.root]) == 1
        failed = as_nobody(booted)
        assert failed.returncode == 1, failed.stderr
        assert "status: failed\nreason: user: cannot read /etc/passwd" in failed.stdout
        assert re.search(r"^remedy: Check .+\.$", failed.stdout, re.MULTILINE)
        broken.rmdir()
        booted.put({"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
        assert main(["provision", "--root", booted.root]) == 0
    booted.path(STATUS).unlink()  # /run is empty at the next boot
    booted.put({BOOT_ID: f"{BEFORE}\n"})
    assert main(["provision", "--root", booted.root]) == 0
    later = as_nobody(booted)
    assert later.returncode == 0, later.stderr
    assert "status: done\nreason: VM" in later.stdout
    assert "last failure: " in later.stdout
    assert " UTC: user: cannot read /etc/passwd" in later.stdout


def test_earlier_boots(booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    booted.on_azure()
    with Simulator(Scenario.default()) as azure:
        booted.configure(azure, handlers=["report_ready"])
        assert main(["provision", "--root", booted.root]) == 0
        assert told(booted, capsys, "--boot", "-1")[0] == 2  # there is only this one
        booted.put({BOOT_ID: f"{BEFORE}\n"})
        assert main(["provision", "--root", booted.root, "--force"]) == 0
    capsys.readouterr()
    code, out, _ = told(booted, capsys, "--boot", "-1", "--json")
    assert (code, json.loads(out)["boot_id"]) == (0, HERE)


@needs("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become an ordinary user")
@pytest.mark.spawns
def test_plan_says_what_an_ordinary_user_cannot_see(booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    with Simulator(Scenario.default()) as azure:
        booted.on_azure().configure(azure)
        assert main(["provision", "--root", booted.root]) == 0
        booted.path("etc/shadow").chmod(0o600)
        done = as_nobody(booted, verb="plan")
        assert main(["plan", "--root", booted.root]) == 0
    assert (
        "not seen: /var/lib/azurelite: steps that were done earlier are listed as steps to run: use sudo" in done.stdout
    )
    assert "not seen: /etc/shadow: " in done.stdout
    assert "not seen" not in capsys.readouterr().out


@needs("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become an ordinary user")
@pytest.mark.spawns
def test_an_ordinary_user_hears_nothing_of_records(booted: Guest) -> None:
    done = as_nobody(booted.on_azure().configure(None, handlers=["hostnane"]), verb="provision")
    assert done.returncode == 2
    assert ["error" in line for line in done.stderr.splitlines()] == [True, False], done.stderr
    assert "what to do: " in done.stderr
    assert "status" not in done.stderr


@pytest.mark.parametrize("verb", ["plan", "metadata"])
def test_the_time_for_requests_is_limited(verb: str, booted: Guest, capsys: pytest.CaptureFixture[str]) -> None:
    with Simulator(Scenario(Scenario.default().vm, (Fault(endpoint="imds", status=503),))) as azure:
        booted.on_azure().configure(azure, datasource={"sources": ["imds"]})
        began = time.monotonic()
        assert main([verb, "--root", booted.root, "--timeout", "2"]) == 3
    assert time.monotonic() - began < 20  # else it is `datasource.deadline`: 300
    for wrong in ("0", "-1", "soon", "nan", "inf"):
        with pytest.raises(SystemExit, match="2"):
            main([verb, "--root", booted.root, "--timeout", wrong])
        assert "must be a number of seconds above 0" in capsys.readouterr().err
