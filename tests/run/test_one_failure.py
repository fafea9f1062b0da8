"""One failure is described the same way wherever it is told: health report, KVP record, console and outcome."""

from __future__ import annotations

import csv
import importlib
import logging
import pkgutil
from typing import Iterator

import pytest
from kit import VM_ID, FastClock, Guest

import azurelite
from azurelite import errors
from azurelite.cli.shell import LineFormat
from azurelite.config.document import Problem
from azurelite.config.schema import ConfigProblemsError
from azurelite.errors import AzureliteError, DocumentError, HttpStatusError, TransportError
from azurelite.hypervisor.kvp import REPORT_KEY
from azurelite.media.find import EmptyDriveError
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.record import replace
from azurelite.run.plan import Step
from azurelite.run.provision import with_failure
from azurelite.run.session import Session
from azurelite.run.steps import Runner
from azurelite.simulator import Simulator
from azurelite.state.store import State

MESSAGE = 'it\'s <broken> & "odd"|here: repair it'
URL = "http://168.63.129.16/machine"
PLAIN = "failed to provision hostname"

# An error of each class -> the words for Azure.
ERRORS: list[tuple[AzureliteError, str]] = [
    (AzureliteError(MESSAGE), PLAIN),
    (AzureliteError(MESSAGE, reason="given words"), "given words"),
    (AzureliteError(MESSAGE, remedy="Do this."), PLAIN),
    (errors.ConfigError(MESSAGE), "invalid azurelite configuration"),
    (ConfigProblemsError((Problem(MESSAGE, "f.yaml"),)), "invalid azurelite configuration"),
    (errors.NotAzureError(MESSAGE), PLAIN),
    (errors.DisabledError(MESSAGE), PLAIN),
    (errors.OutOfOrderError(MESSAGE, reason="what is in the way"), "what is in the way"),
    (errors.FabricError(MESSAGE), PLAIN),
    (TransportError("connection timeout", url=URL, detail="timed out"), "connection timeout"),
    (TransportError("read timeout", url=URL, detail="timed out", cause=MESSAGE), "read timeout"),
    (HttpStatusError(503, url=URL), "http error 503"),
    (DocumentError("goal state", "Incarnation is missing"), "error parsing goal state"),
    (errors.MediaError(MESSAGE), "error reading provisioning media"),
    (EmptyDriveError(MESSAGE), "error reading provisioning media"),
    (errors.CertificateError(MESSAGE), "error fetching certificates"),
    (errors.ReportRefusedError(MESSAGE), "health report refused"),
    (errors.IdentityError(MESSAGE), "failure to identify Azure VM ID"),
    (errors.MachineError(MESSAGE), PLAIN),
    (errors.FileError(MESSAGE), PLAIN),
    (errors.CommandError(MESSAGE), PLAIN),
    (errors.CannotRunError(MESSAGE), PLAIN),
    (errors.HandlerError(MESSAGE), PLAIN),
    (errors.SkippedError(MESSAGE), PLAIN),
]


def classes(base: type[AzureliteError] = AzureliteError) -> Iterator[type[AzureliteError]]:
    yield base
    for derived in base.__subclasses__():
        if derived.__module__.startswith("azurelite."):
            yield from classes(derived)


def test_no_class_is_left_out() -> None:
    for module in pkgutil.walk_packages(azurelite.__path__, "azurelite."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert {type(error) for error, _ in ERRORS} == set(classes())


def fields(text: str) -> dict[str, str]:
    (row,) = csv.reader([text], delimiter="|", quotechar="'")
    return dict(field.split("=", 1) for field in row)


@pytest.mark.parametrize(("error", "reason"), ERRORS, ids=lambda value: type(value).__name__)
def test_report_record_console_and_outcome_say_the_same(
    guest: Guest, fabric: Simulator, caplog: pytest.LogCaptureFixture, error: AzureliteError, reason: str
) -> None:
    caplog.set_level(logging.INFO, logger="azurelite")
    guest.on_azure().configure(fabric, handlers=["hostname", {"report_ready": {}}])
    with Session(guest.root, clock=FastClock()) as session:
        system = session.system()
        runner = Runner(system, session.fabric(), VM_ID, session.config, reporter=session.reporter)
        first, last = (replace(handler, required=True) for handler in session.handlers)
        plan = (Step(first, blocked=error), Step(last))
        steps = runner.run(plan, Metadata(vm_id=VM_ID), State(system, VM_ID, session.clock), remember=False)
        told = runner.reporter.result
    outcome = with_failure(Outcome("provisioned", "", vm_id=VM_ID, steps=tuple(steps), report=told))

    (report,) = fabric.reports
    said = {"reason": reason, "step": "hostname", "message": error.message, "remedy": error.remedy}
    described = fields(report.description or "")
    assert {name: described[name] for name in said} == said
    pool = guest.path("var/lib/hyperv/.kvp_pool_1").read_bytes()
    key, value = pool[:512].rstrip(b"\0").decode(), pool[512:2560].rstrip(b"\0").decode()
    assert key == REPORT_KEY
    assert fields(value) == described

    console = [LineFormat().format(record) for record in caplog.records]
    assert f"azurelite: error: hostname: {error.message}" in console
    assert f"azurelite: info: report_ready: Azure was told that provisioning failed: {reason}" in console

    assert outcome.reason == f"hostname: {error.message}"
    assert outcome.error is not None
    assert outcome.error.remedy == error.remedy
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)  # Azure has accepted the report
    assert outcome.report is not None
    assert outcome.report.description == report.description


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TransportError("connection error", url=URL, detail="no route"), "failure to obtain DHCP lease"),
        (errors.FileError(MESSAGE), MESSAGE),
    ],
)
def test_without_a_lease_the_words_for_azure_are_those_of_the_lease(
    guest: Guest, fabric: Simulator, error: AzureliteError, reason: str
) -> None:
    guest.on_azure().configure(fabric)
    with Session(guest.root, clock=FastClock()) as session:
        reporter = session.reporter
        reporter.no_lease = errors.MachineError("no DHCP lease on eth0", reason="failure to obtain DHCP lease")
        reporter.not_ready(error, session.fabric().deadline)
    described = fields(fabric.reports[0].description or "")
    assert described["reason"] == reason
    assert described.get("message", reason) == error.message
    assert described.get("lease") == (None if reason == MESSAGE else "no DHCP lease on eth0")
