"""`azurelite.Azure`: what each method promises, and where single calls once differed from `provision`."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any, ClassVar, Optional

import pytest
import yaml
from kit import ED25519, VM_ID, FastClock, Guest
from library.cases import CASES, Case, made, named, needs_openssl, settings

import azurelite
from azurelite.cli import main
from azurelite.clock import Deadline
from azurelite.errors import (
    AzureliteError,
    ConfigError,
    DisabledError,
    FabricError,
    MachineError,
    NotAzureError,
    OutOfOrderError,
)
from azurelite.simulator import Fault, Scenario, Simulator
from azurelite.system.machine import System
from azurelite.system.runlock import run_lock

OTHER_ID = "00000000-1111-2222-3333-444444444444"
NO_ID = "00000000-0000-0000-0000-000000000000"
WELL = CASES["all is well"]


class Here:
    """A case that is served: its guest and its configuration."""

    def __init__(self, guest: Guest, fabric: Simulator, config: dict[str, Any]) -> None:
        self.guest, self.fabric, self.config = guest, fabric, config
        self.clock = FastClock()

    def azure(self, **more: Any) -> azurelite.Azure:
        return azurelite.Azure(**{"root": self.guest.root, "config": self.config, "clock": self.clock, **more})

    @property
    def states(self) -> list[str]:
        return [f"{report.state} {report.substatus or ''}".strip() for report in self.fabric.reports]


def serve(guest: Guest, case: Case = WELL, **changed: Any) -> Any:
    class Served:
        def __enter__(self) -> Here:
            self.fabric = made(case, guest.on_azure())
            self.fabric.__enter__()
            config = settings(case, self.fabric)
            config["datasource"].update(changed)
            return Here(guest, self.fabric, config)

        def __exit__(self, *error: Any) -> None:
            self.fabric.__exit__(*error)

    return Served()


def test_making_one_reads_and_sends_nothing(guest: Guest) -> None:
    azurelite.Azure(root="/does/not/exist", config="/nor/this.yaml").close()


@pytest.mark.spawns
@needs_openssl
def test_what_is_lost_is_not_what_azure_does_not_have(guest: Guest) -> None:
    with serve(guest, CASES["certificates answer 500"]) as here, here.azure() as azure:
        metadata = azure.crawl()
    assert metadata.public_ssh_keys is None
    assert isinstance(metadata.missing["public_ssh_keys"], FabricError)
    assert metadata.user_data is None
    assert "user_data" in metadata.missing  # IMDS was silent
    assert metadata.pps_type is None or "pps_type" not in metadata.missing
    with serve(guest) as here, here.azure() as azure:
        metadata = azure.crawl()
    assert (metadata.user_data, dict(metadata.missing), metadata.refused) == (None, {}, None)


def test_a_password_that_is_too_long_is_refused_in_each_way(guest: Guest) -> None:
    with serve(guest, CASES["a password that is too long"]) as here, here.azure() as azure:
        metadata = azure.crawl()
        assert metadata.refused is not None
        assert metadata.refused.reason
        outcome = azure.apply(["hostname"], metadata)
        assert (outcome.exit_code, outcome.steps[0].name) == (1, "datasource")
        with pytest.raises(AzureliteError, match="UserPassword"):
            outcome.check()
        with pytest.raises(OutOfOrderError, match="UserPassword") as caught:
            azure.report_ready()
        assert caught.value.reason == metadata.refused.reason
        azure.report_failure(caught.value)
    assert here.states == ["NotReady ProvisioningFailed"]


def test_an_optional_step_fails_the_call_and_not_the_vm(guest: Guest) -> None:
    with serve(guest, CASES["an optional step fails"]) as here, here.azure() as azure:
        outcome = azure.apply(["hostname", "user", "ssh_keys"])
        assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
        azure.report_ready()
        assert azure.apply(["hostname", "report_ready"]).exit_code == 1
    assert here.states == ["Ready", "Ready"]


def test_a_step_that_was_repaired_no_longer_holds_ready_back(guest: Guest) -> None:
    with serve(guest) as here, here.azure() as azure:
        bad = azurelite.Metadata(vm_id=VM_ID, username="root")
        assert azure.apply(["user"], bad).exit_code == 1
        with pytest.raises(OutOfOrderError, match=r"user failed: .*'root'"):
            here.azure().report_ready()
        azure.apply(["user", "ssh_keys"]).check()
        azure.report_ready()
    assert here.states == ["Ready"]


def test_neither_key_nor_password_holds_ready_back_before_anything_was_applied(guest: Guest) -> None:
    with serve(guest, CASES["neither a key nor a password"]) as here, here.azure() as azure:
        azure.crawl()
        with pytest.raises(OutOfOrderError, match="no SSH key and no password"):
            azure.report_ready()
    assert here.states == []


def test_force_reports_what_somebody_repaired_by_hand(guest: Guest) -> None:
    with serve(guest) as here, here.azure() as azure:
        assert azure.apply(["user"], azurelite.Metadata(vm_id=VM_ID)).exit_code == 1
        azure.report_ready(force=True)
        azure.report_ready()  # Azure has accepted it
    assert here.states == ["Ready", "Ready"]


@pytest.mark.parametrize("way", ["provision", "apply", "report_ready"])
def test_a_report_that_azure_did_not_take_is_sent_again(guest: Guest, way: str) -> None:
    once = Case({}, ready=False, faults=(Fault(endpoint="health", status=400, requests=1),))
    with serve(guest, once) as here, here.azure() as azure:
        if way == "provision":
            assert azure.provision().exit_code == 3
        elif way == "apply":
            assert azure.apply(["user", "ssh_keys", "report_ready"]).exit_code == 3
        else:
            with pytest.raises(FabricError):
                azure.report_ready()
        here.azure().report_ready()
        azure.report_ready()
    assert here.states == ["Ready"] * 3


@pytest.mark.parametrize("reason", ["", "  ", AzureliteError("")])
def test_a_failure_without_a_reason_is_refused(guest: Guest, reason: Any) -> None:
    with serve(guest) as here, here.azure() as azure, pytest.raises(ConfigError, match="reason"):
        azure.report_failure(reason)
    assert here.states == []


def test_after_ready_there_is_neither_progress_nor_failure(guest: Guest) -> None:
    with serve(guest) as here:
        with here.azure() as azure:
            assert azure.report_progress("begun")
            azure.report_ready()
            assert not azure.report_progress("half way")
        with here.azure() as another:
            assert not another.report_progress("half way")
            with pytest.raises(OutOfOrderError, match="accepted Ready"):
                another.report_failure("too late")
        assert not azurelite.report_progress("by the function", root=guest.root, config=here.config, clock=here.clock)
    assert here.states == ["NotReady Provisioning", "Ready"]


def test_progress_that_fails_is_no_error_and_takes_its_time_only(guest: Guest) -> None:
    broken = Case({}, ready=False, faults=(Fault(endpoint="health", status=500),))
    with serve(guest, broken) as here, here.azure() as azure:
        assert not azure.report_progress("begun", seconds=7)
        assert here.clock.skipped <= 8


def test_one_time_budget_for_all_calls(guest: Guest) -> None:
    silent = Case({}, ready=False, disc=False, faults=(Fault(status=500),))
    with serve(guest, silent, deadline=600) as here, here.azure(seconds=40) as azure:
        for call in (azure.crawl, azure.report_ready, azure.goal_state):
            with pytest.raises(AzureliteError):
                call()
    assert 10 < here.clock.skipped <= 41


def test_a_vm_is_done_when_it_is_marked(guest: Guest) -> None:
    with serve(guest) as here, here.azure() as azure:
        assert (azure.vm_id(), azure.is_done()) == (VM_ID, False)
        with pytest.raises(OutOfOrderError, match="report_ready first"):
            azure.mark_done()
        azure.apply(["user", "ssh_keys"]).check()
        azure.report_ready()
        assert not azure.is_done()
        azure.mark_done()
        azure.mark_done()
        assert azure.is_done()
        assert azure.provision().outcome == "already provisioned"
        assert here.azure().is_done()
    assert here.states == ["Ready"]


def test_the_state_is_that_of_the_vm_in_the_metadata(guest: Guest) -> None:
    """The same disk as another VM must not count as done, nor take the records of one whose id nobody knew."""
    with serve(guest) as here:
        here.config["handlers"] = ["hostname", "user", "ssh_keys"]
        other = azurelite.Metadata(vm_id=OTHER_ID, local_hostname="other", username="azureuser")
        with here.azure() as azure:
            azure.apply(["hostname"], other).check()
            azure.apply(["hostname"], azurelite.Metadata(local_hostname="web-1")).check()
            assert not azure.is_done()
        names = {path.name for path in guest.path("var/lib/azurelite/vms").glob("*")}
        assert names <= {OTHER_ID, VM_ID}


def test_without_any_vm_id_nothing_is_kept_for_a_vm(guest: Guest) -> None:
    outcome = azurelite.apply(["hostname"], metadata={"local_hostname": "built"}, root=guest.root, clock=FastClock())
    assert outcome.exit_code == 0
    assert not guest.path("var/lib/azurelite/vms").exists()
    assert guest.text("etc/hostname") == "built\n"


def test_an_image_with_records_of_no_vm_is_healed(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    guest.put({f"var/lib/azurelite/vms/{NO_ID}/provisioned": "\n"})
    with serve(guest) as here:
        guest.path("sys/class/dmi/id/product_uuid").unlink()
        with here.azure() as azure:
            assert azure.provision().outcome == "provisioned"
    assert here.states == ["Ready"]
    assert "of no VM" in caplog.text
    assert not guest.path(f"var/lib/azurelite/vms/{NO_ID}/provisioned").exists()


def test_a_mapping_is_the_whole_configuration(guest: Guest) -> None:
    guest.put({"etc/azurelite/azurelite.yaml": "nonsense: [", "etc/azurelite/conf.d/x.yaml": "handlers: [nothing]\n"})
    with serve(guest) as here, here.azure() as azure:
        assert azure.provision().outcome == "provisioned"
    with pytest.raises(ConfigError):
        azurelite.Azure(root=guest.root).is_done()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"datasorce": {}}, ["config.datasorce", "did you mean 'datasource'"]),
        ({"datasource": {"deadline": "long"}}, ["config.datasource.deadline", "number"]),
        ({"handlers": [{"user": {"grops": ["wheel"]}}]}, ["config.handlers[0].user.grops", "did you mean 'groups'"]),
        ({"handlers": ["usr"]}, ["config.handlers[0]", "did you mean 'user'"]),
        ({"handlers": [{1: {}}]}, ["config.handlers[0]", "a key must be text"]),
        ({"handlers": [{"user": {"groups": {"wheel"}}}]}, ["config.handlers[0].user.groups", "type set"]),
        ({"handlers": "user"}, ["config.handlers", "must be a list"]),
    ],
)
def test_a_wrong_mapping_is_told_as_a_wrong_file_is(guest: Guest, config: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        azurelite.Azure(root=guest.on_azure().root, config=config, clock=FastClock()).provision(dry_run=True)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"write_files": {"fils": []}}, ["handlers[1].write_files.fils", "files"]),
        ({"write_files": {}, "hostname": {}}, ["handlers[1]", "an entry must be"]),
        ("hostnam", ["hostname"]),
    ],
)
def test_a_wrong_entry_of_apply_is_told_with_its_path(guest: Guest, entry: Any, words: list[str]) -> None:
    with serve(guest) as here, here.azure() as azure, pytest.raises(ConfigError) as caught:
        azure.apply(["hostname", entry], {"local_hostname": "x"})
    for word in words:
        assert word in str(caught.value)


def test_entries_of_apply_have_their_own_options(guest: Guest) -> None:
    motd = {"write_files": {"files": [{"path": "/etc/motd", "content": "hello\n"}]}}
    with serve(guest) as here, here.azure() as azure:
        azure.apply(["hostname", motd], {"local_hostname": "x"}).check()
    assert (guest.text("etc/motd"), guest.text("etc/hostname")) == ("hello\n", "x\n")


def test_a_broken_configuration_does_not_prevent_a_report_of_failure(guest: Guest) -> None:
    """It goes by the built-in settings then; here the firmware does not prove Azure, which is the next thing asked."""
    with pytest.raises(NotAzureError):
        azurelite.Azure(root=guest.root, config={"nonsense": 1}).report_failure("the configuration is broken")
    with pytest.raises(ConfigError):
        azurelite.Azure(root=guest.on_azure().root, config={"nonsense": 1}).report_ready()


@pytest.mark.parametrize("released", [True, False])
def test_apply_waits_for_another_run(guest: Guest, released: bool) -> None:
    """Also with metadata of the caller, with which no request may be sent."""

    class Clock(FastClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if released and self.skipped > 5:
                lock.close()

    import contextlib

    lock = contextlib.ExitStack()
    other = System(guest.root)
    lock.enter_context(run_lock(other, Deadline(FastClock(), 1)))
    with serve(guest) as here:
        azure = here.azure(clock=Clock())
        if released:
            assert azure.apply(["hostname"], {"local_hostname": "x"}).exit_code == 0
        else:
            with lock, pytest.raises(MachineError, match="another azurelite run"):
                azure.apply(["hostname"], {"local_hostname": "x"})


OFF = {"etc/azurelite/disabled": ""}
REPORTS: dict[str, Any] = {
    "ready": lambda azure: azure.report_ready(),
    "failure": lambda azure: azure.report_failure("x"),
    "progress": lambda azure: azure.report_progress(),
    "post": lambda azure: azure.post_report(b"<Health/>"),
}


@pytest.mark.parametrize("report", REPORTS)
def test_the_off_switch_holds_for_reports(guest: Guest, report: str) -> None:
    guest.put(OFF)
    with serve(guest) as here, here.azure() as azure:
        with pytest.raises(DisabledError, match="/etc/azurelite/disabled exists"):
            REPORTS[report](azure)
        assert here.fabric.requests == []


def test_the_off_switch_holds_for_what_changes_the_machine(guest: Guest) -> None:
    guest.put(OFF)
    with serve(guest) as here, here.azure() as azure:
        assert (azure.provision().outcome, azure.apply(["hostname"]).outcome) == ("disabled", "disabled")
        assert here.fabric.requests == []
        assert azure.plan().headline.startswith("azurelite is disabled")
        assert azure.crawl().username == "azureuser"  # who asks may know


class TestBothWays:
    """The command line and the library give the same outcome."""

    CALLS: ClassVar[dict[str, tuple[list[str], Any]]] = {
        "provision": (["provision"], lambda azure: azure.provision().exit_code),
        "provision --dry-run": (["provision", "--dry-run"], lambda azure: azure.provision(dry_run=True).exit_code),
        "apply all": (
            ["apply", "hostname", "user", "ssh_keys", "report_ready"],
            lambda azure: azure.apply(["hostname", "user", "ssh_keys", "report_ready"]).exit_code,
        ),
        "apply hostname": (["apply", "hostname"], lambda azure: azure.apply(["hostname"]).exit_code),
        "report ready": (["report", "ready"], lambda azure: azure.report_ready() or 0),
        "plan": (["plan"], lambda azure: azure.plan() and None),
    }
    BEFORE: ClassVar[list[Optional[str]]] = [None, "apply hostname", "apply all"]

    @staticmethod
    def called(azure: azurelite.Azure, call: str) -> Any:
        try:
            return TestBothWays.CALLS[call][1](azure)
        except AzureliteError as error:
            return error.exit_code

    @pytest.mark.parametrize("call", [name for name in CALLS if name != "plan"])
    @pytest.mark.parametrize("before", BEFORE)
    @pytest.mark.parametrize("name", named(*(name for name in CASES if "pool" not in name)))
    def test_they_agree(self, tmp_path: Any, name: str, before: Optional[str], call: str) -> None:
        found = []
        for way in ("command line", "library"):
            from kit import BASE

            guest = Guest(tmp_path / way).put(BASE)
            with serve(guest, CASES[name], deadline=2.0) as here:
                guest.put({"etc/azurelite/azurelite.yaml": yaml.safe_dump(here.config)})
                codes: list[Any] = []
                for step in [before, call] if before else [call]:
                    if way == "library":
                        with azurelite.Azure(root=guest.root) as azure:
                            codes.append(self.called(azure, step))
                    else:
                        codes.append(main([*self.CALLS[step][0], "--root", guest.root]))
                found.append(
                    (codes, here.states, guest.snapshot(without=("/run", "/var/lib/azurelite", "/etc/shadow")))
                )
        assert found[0][:2] == found[1][:2]
        assert found[0][2].keys() == found[1][2].keys()


def test_a_document_of_another_release_is_read_and_its_unknown_fields_named(caplog: pytest.LogCaptureFixture) -> None:
    old = azurelite.Metadata.from_json('{"username": "azureuser", "color": "blue", "raw": null}')
    assert (old.username, old.raw, dict(old.missing)) == ("azureuser", {}, {})
    assert "'color' is unknown" in caplog.text


@pytest.mark.parametrize(
    "text", ["[]", "7", '"x"', "{", '{"username": 7}', '{"missing": []}', '{"lost": [1]}', "[" * 9999]
)
def test_a_document_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        azurelite.Metadata.from_json(text)


@pytest.mark.parametrize("name", named(*CASES))
@pytest.mark.parametrize("secrets", [True, False])
def test_a_document_comes_back_as_it_went_out(guest: Guest, name: str, secrets: bool) -> None:
    with serve(guest, CASES[name]) as here, here.azure() as azure:
        try:
            metadata = azure.crawl()
        except FabricError:
            return
    back = azurelite.Metadata.from_json(metadata.to_json(secrets=secrets))
    assert back.document(secrets=secrets).keys() - {"missing", "lost", "damaged"} <= metadata.document().keys()
    if secrets:
        assert back.document(secrets=True) == metadata.document(secrets=True)
        assert dict(back) == dict(metadata)
    hidden = {name for name, value in metadata.items() if isinstance(value, azurelite.Secret)}
    assert secrets or hidden <= back.missing.keys()


def test_a_secret_that_was_left_out_is_missing_and_not_absent(guest: Guest) -> None:
    with serve(guest, Case({"password": "Secret-1234"}, ready=True)) as here, here.azure() as azure:
        document = azure.crawl().to_json()
        outcome = azure.apply(["user"], azurelite.Metadata.from_json(document))
    assert outcome.exit_code in {1, 3}
    assert "--show-secrets" in outcome.reason


def test_the_kit_has_both_kinds_of_cases() -> None:
    assert {case.ready for case in CASES.values()} == {True, False}
    assert len(TestBothWays.CALLS) * len(TestBothWays.BEFORE) * len(CASES) >= 50
    assert Scenario.from_dict({"vm": {"ssh_keys": [ED25519]}}).vm.username == "azureuser"


class TestFoundByAHostileReader:
    """Each was a wrong Ready, a wrong refusal or a wrong error once."""

    BAD = CASES["a password that is too long"]

    def test_a_report_that_is_held_back_is_no_success(self, guest: Guest) -> None:
        with serve(guest) as here:
            here.config["handlers"] = [{"timezone": {"zone": "No/Such", "required": True}}, "user", "ssh_keys"]
            with here.azure() as azure:
                assert azure.apply(["timezone"]).exit_code == 1
                outcome = azure.apply(["user", "ssh_keys", "report_ready"])
        assert (outcome.exit_code, here.states) == (1, ["NotReady ProvisioningFailed"])
        with pytest.raises(OutOfOrderError, match="timezone failed in an earlier call"):
            outcome.check()

    def test_a_broken_configuration_stays_broken_after_the_report(self, guest: Guest) -> None:
        azure = azurelite.Azure(root=guest.root, config={"nonsense": 1}, clock=FastClock())
        with pytest.raises(NotAzureError):
            azure.report_failure("the configuration is broken")
        with pytest.raises(ConfigError):
            azure.provision()

    def test_a_folder_in_place_of_the_notes_holds_ready_back(self, guest: Guest) -> None:
        with serve(guest) as here, here.azure() as azure:
            guest.put({"run/azurelite/standing.json/x": ""})
            with pytest.raises(OutOfOrderError, match="standing"):
                azure.report_ready()
            azure.report_ready(force=True)
        assert here.states == ["Ready"]

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", "[" * 100_000, '{"vm_id": null, "failed": {"a": {"message": "m"}}}']
    )
    def test_damaged_notes_and_those_of_another_vm_do_not_count(self, guest: Guest, text: str) -> None:
        guest.put({"run/azurelite/standing.json": text})
        with serve(guest) as here, here.azure() as azure:
            azure.report_ready()
        assert here.states == ["Ready"]

    def test_a_vm_that_is_ready_is_not_judged_by_what_is_gone_since(self, guest: Guest) -> None:
        pool = CASES["the VM waits in a pool"]
        guest.put({f"var/lib/azurelite/vms/{VM_ID}/provisioned": "\n"})
        with serve(guest, pool) as here, here.azure() as azure:
            assert azure.apply(["hostname"], azure.crawl()).exit_code == 0
            azure.report_ready()
        assert here.states == ["Ready"]

    def test_a_later_boot_does_not_shorten_what_follows(self, guest: Guest) -> None:
        with serve(guest, deadline=600) as here, here.azure() as azure:
            azure.provision().check()
            assert azure.provision().outcome == "already provisioned"
            fabric = azure._session.fabric()
            assert fabric.deadline.remaining() > 500

    def test_a_failure_that_azure_never_got_holds_nothing_back(self, guest: Guest) -> None:
        once = Case({}, ready=False, faults=(Fault(endpoint="health", status=400, requests=1),))
        with serve(guest, once) as here, here.azure() as azure:
            with pytest.raises(FabricError):
                azure.report_failure("lost on the way")
            azure.apply(["user", "ssh_keys"]).check()
            azure.report_ready()
        assert here.states[-1] == "Ready"

    @pytest.mark.parametrize("vm_id", ["../../x", "x", "", VM_ID + "/..", "g" * 36])
    def test_a_vm_id_that_is_none_is_refused(self, guest: Guest, vm_id: str) -> None:
        with serve(guest) as here, here.azure() as azure, pytest.raises(ConfigError, match="vm_id must be a UUID"):
            azure.provision(metadata={"username": "azureuser", "vm_id": vm_id})

    def test_a_vm_id_in_capitals_is_the_same_vm(self, guest: Guest) -> None:
        assert azurelite.Metadata.from_dict({"vm_id": VM_ID.upper()}).vm_id == VM_ID

    def test_a_secret_in_a_key_of_a_mapping_is_not_quoted(self, guest: Guest) -> None:
        with pytest.raises(ConfigError) as caught:
            azurelite.Azure(root=guest.root, config={"handlers": [{"user": {"password:CANARY": 1}}]}).plan()
        assert "CANARY" not in str(caught.value)

    def test_verbose_asks_in_the_same_order(self, guest: Guest) -> None:
        guest.put(OFF)
        for tell in (None, print):
            with pytest.raises(DisabledError):
                azurelite.Azure(root=guest.root, config={"nonsense": 1}).report_ready(tell=tell)

    @pytest.mark.parametrize("sources", ["imds", [5], [None]])
    def test_sources_of_a_wrong_type_are_named(self, guest: Guest, sources: Any) -> None:
        with serve(guest) as here, here.azure() as azure, pytest.raises(ConfigError):
            azure.crawl(sources=sources)

    def test_sources_may_be_any_list(self, guest: Guest) -> None:
        with serve(guest) as here, here.azure() as azure:
            assert azure.crawl(sources=iter(["imds"])).username == "azureuser"


def test_a_name_with_several_entries_is_refused_with_their_ids(guest: Guest) -> None:
    entries = [{"run": {"id": "first", "command": ["true"]}}, {"run": {"id": "second", "command": ["true"]}}]
    azure = azurelite.Azure(root=guest.root, config={"handlers": entries})
    with pytest.raises(azurelite.ConfigError, match=r"'run' has several entries: .* first, second"):
        azure.apply(["run"], {})


def test_a_failure_is_noted_in_a_folder_that_others_may_read(guest: Guest) -> None:
    azurelite.Azure(root=guest.root).apply([{"run": {"argv": ["/missing"], "required": True}}], {})
    assert guest.path("run/azurelite/standing.json").stat().st_mode & 0o777 == 0o600
    assert guest.path("run/azurelite").stat().st_mode & 0o777 == 0o755


def test_what_a_caller_hands_on_decides_where_it_tells_what_is_missing(guest: Guest) -> None:
    with serve(guest, CASES["a password that is too long"]) as here:
        with here.azure() as azure:
            document = azure.crawl().to_json(secrets=True)
        guest.path("run/azurelite/standing.json").unlink()  # as of a machine on which nothing was noted
        for handed in (azurelite.Metadata.from_json(document), dict(azurelite.Metadata.from_json(document))):
            with here.azure() as azure:
                azure.apply([{"custom_data": {"required": False}}], handed)
                guest.path("run/azurelite/standing.json").unlink(missing_ok=True)
                told = isinstance(handed, azurelite.Metadata)
                with pytest.raises(azurelite.OutOfOrderError) if told else contextlib.nullcontext():
                    azure.report_ready()
    assert here.states == ["Ready"]


def test_a_root_is_a_text_or_a_path_object(guest: Guest) -> None:
    with serve(guest) as here:
        settings, root = {"config": here.config, "clock": here.clock}, Path(guest.root)
        assert azurelite.crawl(root=root, **settings)["username"] == "azureuser"
        assert azurelite.apply(["hostname"], root=root, **settings).exit_code == 0
        assert azurelite.Azure(root=root, **settings).plan().steps
        assert azurelite.Azure(root=root, **settings).provision().exit_code == 0
        assert azurelite.Azure(
            root=root,
            config=guest.put({"etc/azurelite/azurelite.yaml": yaml.safe_dump(here.config)}).path(
                "etc/azurelite/azurelite.yaml"
            ),
        ).is_done()
