"""*In progress*: told to Azure while a run waits long, never once Ready was tried, and never an error."""

from __future__ import annotations

import fcntl
import logging
import sys
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from kit import ED25519, VM_ID, FastClock, Guest

import azurelite
from azurelite.clock import Clock, Deadline, SystemClock
from azurelite.errors import CommandError
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.system.child import Child
from azurelite.system.machine import System
from azurelite.system.package_locks import wait_for_locks
from azurelite.system.process import Commands
from azurelite.system.root import Root
from azurelite.system.scripts import Scripts

LONG = Fault(endpoint="imds", requests="1-200", status=503)  # one try a second
PROGRESS = ("NotReady", "Provisioning")
READY = ("Ready", None)
FAILED = ("NotReady", "ProvisioningFailed")


def scenario(*faults: Fault, **vm: Any) -> Simulator:
    said = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], **vm}})
    return Simulator(Scenario(said.vm, faults), rate_limit=None)


def run(guest: Guest, clock: Optional[Clock] = None, **options: Any) -> Outcome:
    return provision(Options(root=guest.root, clock=clock or FastClock(), **options))


def told(fabric: Simulator) -> list[tuple[str, Optional[str]]]:
    return [(report.state, report.substatus) for report in fabric.reports]


def test_a_long_wait_is_told_once_a_minute_and_ready_comes_last(guest: Guest) -> None:
    with scenario(LONG) as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.outcome == "provisioned"
    assert told(fabric) == [PROGRESS] * 3 + [READY]
    assert {report.description for report in fabric.reports[:3]} == {"provisioning continues"}


def test_a_failure_comes_last_as_well(guest: Guest) -> None:
    with scenario(LONG, hostname="___") as fabric:
        handlers = [{"hostname": {"required": True}}, "user", "report_ready"]
        outcome = run(guest.on_azure().configure(fabric, handlers=handlers))
    assert outcome.exit_code == 1
    assert told(fabric) == [PROGRESS] * 3 + [FAILED]


def test_a_quick_run_tells_nothing(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric))
    assert told(fabric) == [READY]


@pytest.mark.parametrize("status", [500, 503, 404, 400, 410])
def test_while_ready_is_tried_again_nothing_else_is_told(guest: Guest, status: int) -> None:
    """Azure may have received one of the tries, and the answer was lost."""
    with scenario(Fault(endpoint="health", requests="1-150", status=status)) as fabric:
        run(guest.on_azure().configure(fabric, datasource={"wireserver": {"dialect": "xml"}}))
    assert set(told(fabric)) == {READY}


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"garbage": True, "status": 500}])
def test_a_report_of_progress_that_fails_is_no_error(guest: Guest, caplog: Any, fault: dict[str, Any]) -> None:
    caplog.set_level(logging.WARNING)
    clock = FastClock()
    with scenario(LONG, Fault(endpoint="health", requests="1-8", **fault)) as fabric:
        outcome = run(guest.on_azure().configure(fabric), clock)
        assert outcome.outcome == "provisioned", outcome.reason
        assert told(fabric)[-1] == READY
    assert not [record for record in caplog.records if "progress" in record.getMessage()]
    assert clock.skipped < 300, "progress does not use up the time of what is waited for"


QUIET: list[tuple[str, dict[str, Any]]] = [
    ("a dry run", {"dry_run": True}),
    ("an own reporter", {}),
    ("forced after Ready", {"force": True}),
    ("killed after Ready", {}),
    ("without an id from the firmware, on a disk that knows a VM", {}),
    ("without an id from the firmware, forced", {"force": True}),
]


@pytest.mark.parametrize(("case", "options"), QUIET, ids=[case[0] for case in QUIET])
def test_it_is_not_told_of_a_vm_that_may_be_ready(guest: Guest, case: str, options: dict[str, Any]) -> None:
    with scenario() as healthy:
        guest.on_azure().configure(healthy)
        if case not in ("a dry run", "an own reporter"):
            assert run(guest).outcome == "provisioned"
    if case == "killed after Ready":
        guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").unlink()
    datasource: dict[str, Any] = {}
    if case.startswith("without an id"):
        guest.path("sys/class/dmi/id/product_uuid").unlink()
        datasource = {"platform": "azure"}
    handlers = ["user", "ssh_keys"] if case == "an own reporter" else ["user", "ssh_keys", "report_ready"]
    with scenario(LONG) as fabric:
        run(guest.configure(fabric, handlers=handlers, datasource=datasource), **options)
    assert PROGRESS not in told(fabric)


def test_single_steps_tell_nothing(guest: Guest) -> None:
    with scenario(LONG) as fabric:
        guest.on_azure().configure(fabric)
        azurelite.apply(["user", "report_ready"], root=guest.root, clock=FastClock())
    assert told(fabric) == [READY]


@pytest.mark.spawns
class TestLoops:
    """Each loop that waits for a program calls `waiting`, and ends in time all the same."""

    def test_a_command(self) -> None:
        commands = Commands()
        calls: list[float] = []
        commands.waiting = lambda _: calls.append(time.monotonic())
        script = "cat; sleep 2.3; echo end; echo complaint >&2"
        assert commands.run(["sh", "-c", script], timeout=20, plain_input=b"given\n") == "given\nend\n"
        assert len(calls) >= 2
        with pytest.raises(Exception, match=r"timed out after 1\.2 s and was killed"):
            commands.run(["sleep", "30"], timeout=1.2)

    def test_a_script(self) -> None:
        system = System("/")
        calls: list[str] = []
        system.commands.waiting = calls.append
        assert Scripts(system).run(["/bin/sleep", "0.8"], name="it", timeout=20, log=None) == 0
        assert calls

    def test_the_lock_of_a_package_manager(self, guest: Guest) -> None:
        calls: list[str] = []
        guest.put({"var/lib/dpkg/lock": ""})
        deadline = Deadline(FastClock(), 5)
        with guest.path("var/lib/dpkg/lock").open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(CommandError, match="was not run"):
                wait_for_locks(Root(guest.root), "apt-get", deadline, waiting=calls.append)
        assert calls

    def test_a_plug_in(self) -> None:
        calls: list[str] = []
        code = "import os, sys, time; time.sleep(0.8); os.write(int(sys.argv[1]), b'told\\n')"
        words = [sys.executable, "-c", code]
        with Child(words, b"", what="it", say=lambda line: None) as child:
            assert child.answer(Deadline(SystemClock(), 20), waiting=calls.append) == b"told"
        assert calls


@pytest.mark.spawns
def test_a_long_step_is_told(guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in runs for more than a minute: while it runs, the clock makes one jump."""
    running = tmp_path / "running"

    class JumpingClock(FastClock):
        def monotonic(self) -> float:
            if running.exists():
                running.unlink()
                self.skipped += 61
            return super().monotonic()

    code = f"import time\ndef apply(ctx, options):\n    open({str(running)!r}, 'w').close()\n    time.sleep(1.5)\n"
    (tmp_path / "slow_step.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    with scenario() as fabric:
        handlers = ["user", "ssh_keys", "slow_step:apply", "report_ready"]
        outcome = run(guest.on_azure().configure(fabric, handlers=handlers), JumpingClock())
    assert [step.status for step in outcome.steps] == ["done"] * 4
    assert told(fabric) == [PROGRESS, READY]
