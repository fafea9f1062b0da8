"""azurelite as a process of its own: a terminal before it, a signal at the end, and what it imports."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit import Guest

from azurelite.simulator import Scenario, Simulator

AZURELITE = [sys.executable, "-m", "azurelite"]

pytestmark = pytest.mark.spawns


def on_a_terminal(*words: str, **environment: str) -> tuple[int, str]:
    """Run on a pseudo-terminal: exit code, and all that the terminal was sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*AZURELITE, *words], stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    return process.wait(timeout=30), shown.decode()


def test_the_demo_is_coloured_and_moves_on_a_terminal(tmp_path: Path) -> None:
    slow = tmp_path / "slow.yaml"
    slow.write_text("faults: [{endpoint: imds, delay: 0.4}]\n")
    code, shown = on_a_terminal("demo", "--scenario", str(slow))
    assert code == 0
    assert "\033[32m✓\033[0m hostname" in shown
    assert "⠙ provisioning" in shown


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": ""}, False)])
def test_levels_are_coloured_on_a_terminal(guest: Guest, environment: dict[str, str], coloured: bool) -> None:
    with Simulator(Scenario.default()) as fabric:
        guest.on_azure().configure(fabric)
        code, shown = on_a_terminal("provision", "--root", guest.root, **environment)
    assert code == 0
    assert ("azurelite: \033[33mwarning\033[0m: ssh_keys: " in shown) is coloured
    assert ("azurelite: warning: ssh_keys: " in shown) is not coloured


def test_the_demo_says_that_it_reported() -> None:
    shown = on_a_terminal("demo", NO_COLOR="1")[1]
    (step,) = (line for line in shown.splitlines() if "✓ report_ready" in line)
    assert step.endswith("reported Ready to Azure")


def test_a_dry_run_on_a_terminal_prints_each_change_once(guest: Guest) -> None:
    guest.put({"azure.json": '{"local_hostname": "web-1"}'})
    words = ("apply", "hostname", "--root", guest.root, "--metadata", str(guest.path("azure.json")), "--dry-run")
    code, shown = on_a_terminal(*words)
    changes = [line.partition("would ")[2] for line in shown.splitlines() if "would " in line]
    assert code == 0
    assert any("/etc/hostname" in change for change in changes)
    assert len(changes) == len(set(changes))
    piped = subprocess.run([*AZURELITE, *words], stdout=subprocess.PIPE, check=True, timeout=30).stdout.decode()
    assert [line[6:] for line in piped.splitlines() if line.startswith("would ")] == changes


def test_no_color_is_respected(tmp_path: Path) -> None:
    code, shown = on_a_terminal("demo", NO_COLOR="1")
    assert code == 0
    assert "\033[3" not in shown
    assert "✓ hostname" in shown


def test_simulate_prints_the_configuration_serves_logs_and_ends_on_sigterm(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [*AZURELITE, "simulate", "--print-config", "--log", str(log)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while "wireserver" not in lines[-1]:
            lines.append(process.stdout.readline())
        url = yaml.safe_load("".join(lines))["datasource"]["wireserver"]["endpoint"]
        request = urllib.request.Request(
            f"{url}/metadata/instance?api-version=2021-08-01", headers={"Metadata": "true"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            assert json.load(answer)["compute"]["osProfile"]["computerName"] == "web-1"
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()
    assert code == 0
    assert json.loads(log.read_text().splitlines()[0])["endpoint"] == "imds"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--listen", "nonsense"], "give HOST:PORT"),
        (["--listen", "192.0.2.1:1"], "choose another --listen"),
        (["/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_simulate_refuses_what_it_cannot_do(words: list[str], message: str) -> None:
    done = subprocess.run([*AZURELITE, "simulate", *words], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen([*AZURELITE, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)
    assert b"Traceback" not in errors


def test_an_interrupt_ends_quietly(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().put(
        {"etc/azurelite/azurelite.yaml": "datasource: {imds: {endpoint: 'http://127.0.0.1:1'}, sources: [imds]}\n"}
    )
    process = subprocess.Popen(
        [*AZURELITE, "metadata", "--root", guest.root],
        stderr=subprocess.PIPE,
        text=True,
        # Whoever started the tests may ignore it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - it takes no lock
    )
    assert process.stderr is not None
    assert "retrying" in process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=10) == 130
    assert rest == "azurelite: error: interrupted\n"


def loaded_by(script: str) -> set[str]:
    """The modules that a script loads, beyond those of the interpreter itself."""
    script = f"import sys; before = set(sys.modules)\n{script}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20, stdin=subprocess.DEVNULL
    )
    return set(done.stdout.splitlines()[-1].split()) - {"__future__"}


def test_importing_the_package_imports_nothing_else() -> None:
    assert loaded_by("import azurelite") == {"azurelite", "azurelite.version"}


def test_the_usual_later_boot_imports_none_of_the_three_packages(guest: Guest, fabric: Simulator) -> None:
    words = ["provision", "--root", guest.on_azure().configure(fabric).root]
    subprocess.run([*AZURELITE, *words], check=True, capture_output=True, timeout=30)
    loaded = loaded_by(f"from azurelite.cli import main; assert main({words!r}) == 0")
    assert not loaded & {"yaml", "urllib3", "defusedxml", "json", "re", "logging", "argparse", "dataclasses", "typing"}
    loaded -= {"errno"}  # built in, and on some versions not there from the start
    assert loaded == {name for name in loaded if name.startswith("azurelite")}


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "contrib/scenarios").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_shipped_scenario_plays(path: Path) -> None:
    done = subprocess.run(
        [*AZURELITE, "demo", "--json", "--scenario", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    expected: dict[str, Any] = {"refused-user.yaml": (1, "NotReady")}
    code, state = expected.get(path.name, (0, "Ready"))
    assert done.returncode == code
    assert json.loads(done.stdout)["fabric"]["reports"][-1]["state"] == state


def test_the_shipped_yaml_holds_the_defaults(guest: Guest) -> None:
    from azurelite.config.load import load_config
    from azurelite.handlers import bind_handlers
    from azurelite.system.root import Root

    plain = load_config(Root(guest.root))
    shipped = load_config(Root(guest.root), file=str(Path(__file__).parents[2] / "contrib/azurelite.yaml"))
    assert shipped.datasource == plain.datasource
    assert [handler.name for handler in bind_handlers(shipped)] == [handler.name for handler in bind_handlers(plain)]


def test_a_defect_is_one_line_without_its_text_unless_debug_is_asked_for(tmp_path: Path) -> None:
    script = """
import sys
from azurelite.cli import command, demo
def broken(arguments):
    raise RuntimeError("canary")
demo.run = broken
command()
"""
    command = [sys.executable, "-c", script, "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "azurelite: error: unhandled RuntimeError at <string>:5: run with --debug for the details\n"
    done = subprocess.run([*command, "--debug"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("output", [">&-", "2>&-", ">&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize("words", ["", "--detach"])
def test_nobody_who_reads_changes_nothing(guest: Guest, fabric: Simulator, output: str, words: str) -> None:
    """Azure has accepted Ready: then that is the outcome, whatever became of the console."""
    guest.on_azure().configure(fabric, handlers=["hostname", "report_ready", {"run": {"argv": ["/bin/true"]}}])
    command = f'exec "$@" {words} {output}'
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    verb = ["sh", "-c", command, "sh", *AZURELITE, "provision", "--root", guest.root]
    done = subprocess.run(verb, check=False, env=buffered)
    assert [report.state for report in fabric.reports] == ["Ready"]
    assert done.returncode == 0
    marks = list(Path(guest.root).glob("var/lib/azurelite/vms/*/provisioned"))
    for _ in range(100):  # the background
        if marks:
            break
        time.sleep(0.1)
        marks = list(Path(guest.root).glob("var/lib/azurelite/vms/*/provisioned"))
    assert len(marks) == 1


def test_a_reader_that_goes_away_hides_no_failure(guest: Guest, tmp_path: Path) -> None:
    faults = [{"endpoint": "health", "status": 400}]
    with Simulator(Scenario.from_dict({"vm": {}, "faults": faults}), rate_limit=None) as refusing:
        guest.on_azure().configure(refusing, datasource={"deadline": 3}, handlers=["hostname", "report_ready"])
        process = subprocess.Popen(
            [*AZURELITE, "provision", "--root", guest.root], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 3
