"""The main job as a whole, on a scratch root and a simulated fabric."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit import ED25519, SWAPPED_VM_ID, VM_ID, FastClock, Guest

import azurelite
from azurelite.api import Azure
from azurelite.errors import ConfigError
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator


def scenario(*faults: Fault, **vm: Any) -> Simulator:
    said = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], **vm}})
    return Simulator(Scenario(said.vm, faults), rate_limit=None)


def run(guest: Guest, **options: Any) -> Outcome:
    return provision(Options(root=guest.root, clock=FastClock(), **options))


def methods(fabric: Simulator) -> list[str]:
    return [request.method for request in fabric.requests]


def test_a_first_boot_provisions_reports_and_marks(guest: Guest, fabric: Simulator) -> None:
    outcome = run(guest.on_azure().configure(fabric))
    assert (outcome.outcome, outcome.exit_code, outcome.vm_id) == ("provisioned", 0, VM_ID)
    assert [(step.name, step.status) for step in outcome.steps] == [
        ("hostname", "done"),
        ("user", "done"),
        ("ssh_keys", "done"),
        ("sshd", "done"),
        ("report_ready", "done"),
        ("user_data", "done"),
    ]
    moments = [moment for step in outcome.steps for moment in (step.started, step.started + step.seconds)]
    assert [0.0, *moments] == sorted([0.0, *moments])
    assert moments[-1] <= outcome.seconds
    assert guest.text("etc/hostname") == "web-1\n"
    assert "azureuser:x:1000:1000::/home/azureuser:/bin/sh\n" in guest.text("etc/passwd")
    assert guest.text("home/azureuser/.ssh/authorized_keys").count("\n") == len(fabric.scenario.vm.ssh_keys)
    assert [(report.state, report.accepted) for report in fabric.reports] == [("Ready", True)]
    assert methods(fabric) == ["GET", "GET", "POST"]
    assert guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()
    assert guest.mode("var/lib/azurelite") == 0o700


def test_the_second_run_asks_nothing_and_changes_nothing(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().configure(fabric)
    run(guest)
    before, asked = guest.snapshot(), len(fabric.requests)
    outcome = run(guest)
    assert (outcome.outcome, outcome.exit_code) == ("already provisioned", 0)
    assert guest.snapshot() == before
    assert len(fabric.requests) == asked


def test_a_new_vm_id_is_provisioned_again(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric))
    other = "0f0e0d0c-0b0a-4908-8706-050403020100"
    outcome = run(guest.on_azure(vm_id=other))
    assert (outcome.outcome, outcome.vm_id) == ("provisioned", other)
    assert len(fabric.reports) == 2
    assert outcome.changes == ()


def test_reports_of_another_vm_leave_the_pool(guest: Guest, fabric: Simulator) -> None:
    """A captured image brings the records of the VM that it was made from."""

    def record(key: str, value: str) -> bytes:
        return key.encode().ljust(512, b"\0") + value.encode().ljust(2048, b"\0")

    old = [record("PROVISIONING_REPORT", f"result={result}|vm_id=other") for result in ("error|reason=old", "success")]
    pool = guest.on_azure().configure(fabric).path("var/lib/hyperv/.kvp_pool_1")
    pool.write_bytes(old[0] + record("X", "y") + old[1])
    assert run(guest).exit_code == 0
    assert pool.read_bytes().count(b"PROVISIONING_REPORT") == 1
    assert f"vm_id={VM_ID}".encode() in pool.read_bytes()
    assert b"other" not in pool.read_bytes()
    assert record("X", "y") in pool.read_bytes()


@pytest.mark.parametrize("other", [VM_ID.upper(), SWAPPED_VM_ID])
def test_the_same_vm_id_in_another_spelling_is_the_same_vm(guest: Guest, fabric: Simulator, other: str) -> None:
    run(guest.on_azure().configure(fabric))
    asked = len(fabric.requests)
    assert run(guest.on_azure(vm_id=other)).outcome == "already provisioned"
    assert len(fabric.requests) == asked


def test_force_does_it_again(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric))
    outcome = run(guest, force=True)
    assert outcome.outcome == "provisioned"
    assert len(fabric.reports) == 2


def test_a_dry_run_changes_nothing_posts_nothing_and_lists_what_the_real_run_changes(
    guest: Guest, fabric: Simulator
) -> None:
    guest.on_azure().configure(fabric)
    before = guest.snapshot()
    dry = run(guest, dry_run=True)
    assert dry.outcome == "dry run"
    assert guest.snapshot() == before
    assert set(methods(fabric)) == {"GET"}
    real = run(guest)
    assert dry.changes == real.changes
    assert len(real.changes) == 5


def test_410_fetches_the_goal_state_again_and_ready_is_accepted_on_the_second_report(guest: Guest) -> None:
    with scenario(Fault(endpoint="health", requests=1, status=410, move="incarnation")) as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.outcome == "provisioned"
    assert [(report.incarnation, report.accepted) for report in fabric.reports] == [("1", False), ("2", True)]


def test_health_500_until_the_deadline_is_exit_3_and_the_next_run_reports_exactly_once(guest: Guest) -> None:
    with scenario(Fault(endpoint="health", status=500)) as broken:
        outcome = run(guest.on_azure().configure(broken, datasource={"deadline": 60}))
    assert (outcome.outcome, outcome.exit_code) == ("unreachable", 3)
    assert outcome.report is not None
    assert not outcome.report.accepted
    assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()
    with scenario() as healthy:
        outcome = run(guest.configure(healthy))
    assert outcome.outcome == "provisioned"
    assert [report.state for report in healthy.reports] == ["Ready"]
    assert [step.status for step in outcome.steps] == ["skipped", "skipped", "skipped", "skipped", "done", "done"]


def test_a_step_takes_as_long_as_it_waits(guest: Guest) -> None:
    clock = FastClock()
    with scenario(Fault(endpoint="health", requests="1-4", status=500)) as fabric:
        outcome = provision(Options(root=guest.on_azure().configure(fabric).root, clock=clock))
    seconds = {step.name: step.seconds for step in outcome.steps}
    assert sum(clock.slept) <= seconds["report_ready"] < sum(clock.slept) + 3
    assert seconds["hostname"] < 3


def test_once_the_user_exists_ready_needs_no_imds(guest: Guest) -> None:
    with scenario(Fault(endpoint="health", status=500)) as broken:
        run(guest.on_azure().configure(broken, datasource={"deadline": 60}))
    with scenario(Fault(endpoint="imds", status=503)) as half:
        outcome = run(guest.configure(half))
    assert outcome.outcome == "provisioned"


def test_a_refused_user_is_reported_as_not_ready_with_the_reason(guest: Guest) -> None:
    with scenario(username="daemon") as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
    (report,) = fabric.reports
    assert (report.state, report.substatus) == ("NotReady", "ProvisioningFailed")
    assert report.description is not None
    assert "reason=failed to provision user" in report.description
    assert "is the name of a system account" in report.description
    assert "is the name of a system account" in guest.path("var/lib/hyperv/.kvp_pool_1").read_bytes().decode()
    assert not guest.path("root/.ssh").exists()
    assert guest.text("etc/hostname") == "web-1\n", "the other handlers go on"


def test_an_optional_failure_does_not_keep_ready_back(guest: Guest) -> None:
    with scenario(hostname="___") as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.outcome == "provisioned"
    assert outcome.steps[0].status == "failed"
    assert [report.state for report in fabric.reports] == ["Ready"]


def test_required_in_the_yaml_decides(guest: Guest) -> None:
    handlers = [{"hostname": {"required": True}}, "user", "ssh_keys", "report_ready"]
    with scenario(hostname="___") as fabric:
        outcome = run(guest.on_azure().configure(fabric, handlers=handlers))
    assert outcome.exit_code == 1
    assert [report.state for report in fabric.reports] == ["NotReady"]


def test_imds_that_gives_nothing_is_exit_1_and_azure_hears_why(guest: Guest) -> None:
    with scenario(Fault(endpoint="imds", garbage=True)) as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
    (report,) = fabric.reports
    assert report.description is not None
    assert "reason=error parsing IMDS metadata" in report.description
    assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()


def test_wireserver_down_at_the_crawl_still_lets_the_keys_land_and_ready_follow(guest: Guest) -> None:
    with scenario(Fault(endpoint="goal_state", requests="1-12", status=503)) as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.outcome == "provisioned"
    assert guest.path("home/azureuser/.ssh/authorized_keys").exists()


def test_an_unreachable_fabric_is_exit_3_within_the_deadline(guest: Guest) -> None:
    with scenario() as gone:
        guest.on_azure().configure(gone, datasource={"deadline": 100})
    clock = FastClock()
    started = clock.monotonic()
    outcome = provision(Options(root=guest.root, clock=clock))
    assert outcome.exit_code == 3
    assert clock.monotonic() - started < 105
    assert not guest.path("var/lib/azurelite").exists() or not list(
        guest.path("var/lib/azurelite").rglob("provisioned")
    )


def test_not_azure_is_exit_0_without_a_packet(guest: Guest, fabric: Simulator) -> None:
    outcome = run(guest.configure(fabric))
    assert (outcome.outcome, outcome.exit_code) == ("not azure", 0)
    assert fabric.requests == []


def test_the_administrator_may_assert_azure(guest: Guest, fabric: Simulator) -> None:
    outcome = run(guest.configure(fabric, datasource={"platform": "azure"}))
    assert outcome.outcome == "provisioned"
    assert outcome.vm_id == fabric.scenario.vm.vm_id, "IMDS is asked where the firmware says nothing"


def test_without_a_firmware_id_the_second_run_is_silent_after_one_question(guest: Guest, fabric: Simulator) -> None:
    run(guest.configure(fabric, datasource={"platform": "azure"}))
    reports, before = len(fabric.reports), guest.snapshot()
    assert run(guest).outcome == "already provisioned"
    assert len(fabric.reports) == reports
    assert guest.snapshot() == before


def test_no_vm_id_anywhere_is_a_reported_failure(guest: Guest) -> None:
    with scenario(imds={"compute": {"vmId": None}}) as fabric:
        outcome = run(guest.configure(fabric, datasource={"platform": "azure"}))
    assert outcome.exit_code == 1
    (report,) = fabric.reports
    assert report.description is not None
    assert "reason=failure to identify Azure VM ID" in report.description


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"etc/azurelite/disabled": ""}, "/etc/azurelite/disabled exists"),
        ({"proc/cmdline": "quiet azurelite=off ro\n"}, "azurelite=off"),
    ],
)
def test_the_off_switches(guest: Guest, fabric: Simulator, files: dict[str, str], words: str) -> None:
    outcome = run(guest.on_azure().configure(fabric).put(files))
    assert (outcome.outcome, outcome.exit_code) == ("disabled", 0)
    assert words in outcome.reason
    assert fabric.requests == []


def test_a_handler_for_every_boot_runs_again_and_reports_nothing(guest: Guest, fabric: Simulator) -> None:
    handlers = ["hostname", "user", {"ssh_keys": {"frequency": "boot"}}, "report_ready"]
    run(guest.on_azure().configure(fabric, handlers=handlers))
    guest.path("home/azureuser/.ssh/authorized_keys").unlink()
    outcome = run(guest)
    assert outcome.outcome == "already provisioned"
    assert guest.text("home/azureuser/.ssh/authorized_keys").startswith("ssh-")
    assert len(fabric.reports) == 1


def test_a_later_boot_with_a_dead_fabric_spends_seconds_and_does_not_fail(guest: Guest) -> None:
    handlers = [{"hostname": {"frequency": "boot"}}, "user", "ssh_keys", "report_ready"]
    with scenario() as fabric:
        run(guest.on_azure().configure(fabric, handlers=handlers))
    clock = FastClock()
    started = clock.monotonic()
    assert provision(Options(root=guest.root, clock=clock)).exit_code == 0
    assert clock.monotonic() - started <= 12


def test_once_is_once_per_machine_even_for_a_new_vm(guest: Guest, fabric: Simulator) -> None:
    handlers = [{"hostname": {"frequency": "once"}}, "user", "ssh_keys", "report_ready"]
    run(guest.on_azure().configure(fabric, handlers=handlers))
    outcome = run(guest.on_azure(vm_id="0f0e0d0c-0b0a-4908-8706-050403020100"))
    assert (outcome.steps[0].status, outcome.steps[0].reason) == ("skipped", "done earlier on this machine")


def test_a_configuration_changed_after_the_fact_provisions_nothing_anew(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric))
    asked = len(fabric.requests)
    guest.configure(fabric, handlers=["user", "report_ready"])
    assert run(guest).outcome == "already provisioned"
    assert len(fabric.requests) == asked


def test_a_configuration_error_in_a_scratch_root_dials_nothing(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().put({"etc/azurelite/azurelite.yaml": "handlers: [hostnane]\n"})
    with pytest.raises(ConfigError, match="did you mean 'hostname'"):
        run(guest)
    assert fabric.requests == []


def test_the_records_hold_no_secret_for_everybody(guest: Guest) -> None:
    canary = "canary-5f2a"
    with scenario(user_data=f"#!/bin/sh\necho {canary}\n") as fabric:
        run(guest.on_azure().configure(fabric))
    import base64

    encoded = base64.b64encode(f"#!/bin/sh\necho {canary}\n".encode()).decode()
    assert guest.mode("run/azurelite/metadata.json") == 0o644
    assert guest.mode("run/azurelite/metadata-sensitive.json") == 0o600
    assert encoded in guest.text("run/azurelite/metadata-sensitive.json")
    for name, (mode, _, _, content) in guest.snapshot().items():
        if mode & 0o077:
            assert canary.encode() not in content, name
            assert encoded.encode() not in content, name


def test_status_tells_the_whole_story(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric))
    status = json.loads(guest.text("run/azurelite/status.json"))
    assert status["outcome"] == "provisioned"
    assert status["report"] == {"state": "Ready", "accepted": True, "description": None, "error": None}
    assert status["requests"] == 3
    assert {"name", "status", "seconds", "changes", "error"} <= set(status["steps"][0])
    full = json.loads(guest.text("run/azurelite/status-full.json"))
    assert [request["method"] for request in full["requests"]] == ["GET", "GET", "POST"]


def test_the_manifest_lists_every_change(guest: Guest, fabric: Simulator) -> None:
    outcome = run(guest.on_azure().configure(fabric))
    rows = [json.loads(line) for line in guest.text("var/lib/azurelite/manifest.jsonl").splitlines()]
    changes = [(row["kind"], row["target"]) for row in rows if row["kind"] != "account"]
    assert changes == [(c.kind, c.target) for c in outcome.changes]


def test_a_state_that_cannot_be_written_does_not_keep_ready_back(guest: Guest, fabric: Simulator) -> None:
    guest.put({"var/lib/azurelite": "a file where the folder should be"})
    outcome = run(guest.on_azure().configure(fabric))
    assert outcome.outcome == "provisioned"
    assert [report.state for report in fabric.reports] == ["Ready"]


class TestImport:
    """`import azurelite`, as a distribution's own init code uses it."""

    def test_crawl_returns_the_dict_and_changes_nothing(self, guest: Guest, fabric: Simulator) -> None:
        before = guest.on_azure().configure(fabric).snapshot()
        md = azurelite.crawl(root=guest.root)
        assert md["local_hostname"] == "web-1"
        assert md["provenance"]["username"] == "imds"
        assert md["raw"]["goal_state"]["incarnation"] == "1"
        assert guest.snapshot() == before

    def test_crawl_raises_when_no_source_gives_anything(self, guest: Guest) -> None:
        with scenario(Fault(endpoint="any", status=403)) as fabric:
            guest.on_azure().configure(fabric, datasource={"deadline": 20, "imds": {"deadline": 1}})
            with pytest.raises(azurelite.errors.FabricError, match="HTTP 403"):
                azurelite.crawl(root=guest.root, clock=FastClock())

    def test_reports(self, guest: Guest, fabric: Simulator) -> None:
        guest.on_azure().configure(fabric)
        azurelite.report_progress("half way", root=guest.root)
        azurelite.report_failure("the disk is <full>", root=guest.root)
        azurelite.report_ready(root=guest.root, force=True)
        assert [(r.state, r.substatus) for r in fabric.reports] == [
            ("NotReady", "Provisioning"),
            ("NotReady", "ProvisioningFailed"),
            ("Ready", None),
        ]
        assert "the disk is <full>" in (fabric.reports[1].description or "")

    def test_report_ready_raises_when_azure_refuses(self, guest: Guest) -> None:
        with scenario(Fault(endpoint="health", status=400)) as fabric:
            guest.on_azure().configure(fabric, datasource={"wireserver": {"dialect": "xml"}})
            with pytest.raises(azurelite.errors.ReportRefusedError):
                azurelite.report_ready(root=guest.root)

    def test_reports_need_proof_of_azure(self, guest: Guest, fabric: Simulator) -> None:
        with pytest.raises(azurelite.errors.NotAzureError):
            azurelite.report_ready(root=guest.configure(fabric).root)
        assert fabric.requests == []

    def test_apply_replays_a_saved_crawl_without_a_packet(self, guest: Guest, fabric: Simulator) -> None:
        guest.on_azure().configure(fabric)
        outcome = azurelite.apply(["hostname"], metadata={"local_hostname": "replayed"}, root=guest.root)
        assert outcome.outcome == "applied"
        assert guest.text("etc/hostname") == "replayed\n"
        assert fabric.requests == []
        assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()
        assert not guest.path(f"var/lib/azurelite/vms/{VM_ID}/handlers").exists()

    def test_apply_of_the_media_alone_needs_no_network(self, guest: Guest, fabric: Simulator) -> None:
        guest.path("disc.iso").write_bytes(fabric.media())
        guest.on_azure().configure(fabric, datasource={"media": {"device": "/disc.iso"}})
        outcome = azurelite.apply(["hostname"], sources=["media"], root=guest.root)
        assert outcome.exit_code == 0
        assert guest.text("etc/hostname") == "web-1\n"
        assert fabric.requests == []

    def test_apply_of_the_media_alone_without_a_disc_has_nothing_to_do(self, guest: Guest, fabric: Simulator) -> None:
        guest.on_azure().configure(fabric, datasource={"media": {"device": "none"}})
        outcome = azurelite.apply(["hostname"], sources=["media"], root=guest.root)
        assert (outcome.outcome, outcome.exit_code) == ("nothing to do", 0)
        assert fabric.requests == []

    def test_apply_names_the_nearest_source(self, guest: Guest, fabric: Simulator) -> None:
        with pytest.raises(azurelite.errors.ConfigError, match="unknown source 'medai'; did you mean 'media'"):
            azurelite.apply(["hostname"], sources=["medai"], root=guest.on_azure().configure(fabric).root)

    def test_provision(self, guest: Guest, fabric: Simulator) -> None:
        assert azurelite.provision(root=guest.on_azure().configure(fabric).root).exit_code == 0


class TestWhatIsAsked:
    """Azure is asked for what the handlers hang on, and for nothing else."""

    def asked(self, fabric: Simulator, *, since: int = 0) -> set[str]:
        return {request.target.partition("?")[0].rpartition("/")[2] for request in fabric.requests[since:]}

    @pytest.mark.parametrize(
        ("name", "asked"),
        [("timezone", set()), ("growroot", set()), ("hostname", {"instance"}), ("tags", {"instance"})],
    )
    def test_by_apply(self, guest: Guest, fabric: Simulator, name: str, asked: set[str]) -> None:
        guest.on_azure().configure(fabric)
        azurelite.apply([name], root=guest.root)
        assert self.asked(fabric) == asked

    def test_by_the_plan_of_a_vm_that_is_done_without_a_report(self, guest: Guest, fabric: Simulator) -> None:
        run(guest.on_azure().configure(fabric, handlers=["hostname"]))
        before = len(fabric.requests)
        assert "provisioned earlier" in Azure(root=guest.root).plan().headline
        assert self.asked(fabric, since=before) == set()

    @pytest.mark.parametrize(("entry", "asked"), [("growroot", set()), ("tags", {"instance"})])
    def test_at_a_later_boot(self, guest: Guest, fabric: Simulator, entry: str, asked: set[str]) -> None:
        run(guest.on_azure().configure(fabric, handlers=["user", "ssh_keys", entry, "report_ready"]))
        before = len(fabric.requests)
        assert "provisioned earlier" in Azure(root=guest.root).plan().headline
        assert self.asked(fabric, since=before) == asked
        before = len(fabric.requests)
        assert run(guest).outcome == "already provisioned"
        assert self.asked(fabric, since=before) == asked


def test_a_note_of_a_step_and_ready_are_in_the_log(
    guest: Guest, fabric: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(guest.on_azure().configure(fabric, handlers=["certificates", "report_ready"]))
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("WARNING", "certificates: Azure has no certificates for this VM") in said
    assert ("INFO", "report_ready: Azure accepted Ready") in said
