"""Ready cannot be wrong: what a hostile reader of the rules tried, and what must come of it."""

from __future__ import annotations

from typing import Any

import pytest
from kit import ED25519, SWAPPED_VM_ID, VM_ID, FastClock, Guest

from azurelite.cli import main
from azurelite.errors import ConfigError
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator


def scenario(*faults: Fault, **vm: Any) -> Simulator:
    said = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], **vm}})
    return Simulator(Scenario(said.vm, faults), rate_limit=None)


def run(guest: Guest, **options: Any) -> Outcome:
    return provision(Options(root=guest.root, clock=FastClock(), **options))


def marked(guest: Guest) -> bool:
    return guest.path(f"var/lib/azurelite/vms/{VM_ID}/provisioned").exists()


@pytest.mark.parametrize(
    "option", [{"required": False}, {"required": True}, {"frequency": "once"}, {"frequency": "boot"}]
)
def test_report_ready_takes_no_option_that_could_make_it_wrong(
    guest: Guest, fabric: Simulator, option: dict[str, Any]
) -> None:
    guest.on_azure().configure(fabric, handlers=["user", {"report_ready": option}])
    with pytest.raises(ConfigError, match="takes no `frequency`, `required`"):
        run(guest)


@pytest.mark.parametrize(
    "imds",
    [
        {"compute": {"osProfile": None, "publicKeys": None}},
        {"compute": {"osProfile": {"adminUsername": ""}}},
        {"compute": {"osProfile": {"adminUsername": 7}}},
    ],
)
def test_a_vm_that_nobody_could_enter_is_not_ready(guest: Guest, imds: dict[str, Any]) -> None:
    with scenario(imds=imds) as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.exit_code == 1
    assert [report.state for report in fabric.reports] == ["NotReady"]
    assert "reason=failed to determine username" in (fabric.reports[0].description or "")
    assert not marked(guest)


def test_an_administrator_may_say_that_no_user_is_needed(guest: Guest) -> None:
    handlers = [{"user": {"required": False}}, {"ssh_keys": {"required": False}}, "report_ready"]
    with scenario(username=None, ssh_keys=[]) as fabric:
        outcome = run(guest.on_azure().configure(fabric, handlers=handlers))
    assert outcome.outcome == "provisioned"
    assert [step.status for step in outcome.steps] == ["skipped", "skipped", "done"]


@pytest.mark.parametrize("keys", [[], None, [{"keyData": 7}]])
def test_without_keys_and_without_passwords_the_vm_is_not_ready(guest: Guest, keys: Any) -> None:
    with scenario(imds={"compute": {"publicKeys": keys}}, disable_password_authentication=True) as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.exit_code == 1
    assert "nobody could log in" in (fabric.reports[0].description or "")


def test_without_keys_and_without_a_password_nobody_could_enter(guest: Guest) -> None:
    with scenario(ssh_keys=[], disable_password_authentication=False) as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.exit_code == 1
    assert "no password, so nobody could log in" in (fabric.reports[0].description or "")


def test_a_run_without_report_ready_does_not_keep_a_later_one_from_reporting(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().configure(fabric, handlers=["hostname", "user", "ssh_keys"])
    assert run(guest).outcome == "provisioned"
    asked = len(fabric.requests)
    assert run(guest).outcome == "already provisioned"
    assert main(["provision", "--root", guest.root]) == 0
    assert len(fabric.requests) == asked
    assert fabric.reports == []
    guest.configure(fabric)
    outcome = run(guest)
    assert [step.status for step in outcome.steps] == ["skipped", "skipped", "skipped", "done", "done", "done"]
    assert [report.state for report in fabric.reports] == ["Ready"]
    assert run(guest).outcome == "already provisioned"


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("home/azureuser", "home"),
        ("etc/shadow", "shadow"),
        ("etc/group", "group"),
    ],
)
def test_an_account_that_a_crash_left_half_made_is_completed(
    guest: Guest, fabric: Simulator, lost: str, words: str
) -> None:
    import shutil

    run(guest.on_azure().configure(fabric))
    path = guest.path(lost)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text(
            "".join(line for line in path.read_text().splitlines(True) if not line.startswith("azureuser:"))
        )
    whole = guest.text("etc/passwd")
    dry = run(guest, force=True, dry_run=True)
    outcome = run(guest, force=True)
    assert outcome.outcome == "provisioned"
    assert dry.changes == outcome.changes
    assert f"complete: {words}" in outcome.changes[0].detail
    assert guest.text("etc/passwd") == whole
    assert guest.path("home/azureuser/.ssh/authorized_keys").exists()
    assert run(guest, force=True).changes == ()


@pytest.mark.parametrize("line", ["odd:x:0:0:odd:/root", "odd:x:0:0:odd:/root:/bin/sh:more", "odd:x", "odd"])
def test_an_odd_line_in_passwd_is_an_account_all_the_same(guest: Guest, line: str) -> None:
    guest.put({"etc/passwd": guest.text("etc/passwd") + line + "\n"})
    before = guest.text("etc/passwd")
    with scenario(username="odd") as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.exit_code == 1
    assert guest.text("etc/passwd") == before


def test_a_name_of_a_system_group_is_refused(guest: Guest) -> None:
    with scenario(username="wheel") as fabric:
        outcome = run(guest.on_azure().configure(fabric))
    assert outcome.exit_code == 1
    assert "the name of a system group" in (fabric.reports[0].description or "")


def test_a_kvp_folder_that_cannot_be_looked_at_does_not_keep_ready_back(guest: Guest, fabric: Simulator) -> None:
    guest.path("var/lib/hyperv/.keep").unlink()
    guest.path("var/lib/hyperv").rmdir()
    guest.path("var/lib/hyperv").symlink_to("/var/lib/hyperv")
    assert run(guest.on_azure().configure(fabric)).outcome == "provisioned"
    assert [report.state for report in fabric.reports] == ["Ready"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("var/lib/cloud/data/instance-id", VM_ID.upper() + "\n"),
        ("var/lib/cloud/data/instance-id", SWAPPED_VM_ID),
        ("var/lib/waagent/provisioned", VM_ID),
    ],
)
def test_a_vm_that_another_agent_provisioned_is_left_alone(
    guest: Guest, fabric: Simulator, path: str, text: str
) -> None:
    guest.on_azure().configure(fabric).put({path: text})
    outcome = run(guest)
    assert (outcome.outcome, outcome.exit_code) == ("already provisioned", 0)
    assert fabric.requests == []
    assert run(guest, force=True).outcome == "provisioned"
    assert run(guest, force=False).reason == f"VM {VM_ID} was provisioned earlier; nothing to do"


def test_another_agents_note_of_another_vm_means_nothing(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().configure(fabric).put({"var/lib/cloud/data/instance-id": "0f0e0d0c-0b0a-4908-8706-050403020100"})
    assert run(guest).outcome == "provisioned"


@pytest.mark.parametrize("root", ["/nowhere/at/all", "", "FILE"])
@pytest.mark.parametrize(
    "verb", [["provision"], ["provision", "--json"], ["metadata"], ["plan"], ["apply", "hostname"]]
)
def test_a_root_that_is_no_folder_is_exit_2(tmp_path: Any, capsys: Any, root: str, verb: list[str]) -> None:
    if root == "FILE":
        root = str(tmp_path / "file")
        (tmp_path / "file").write_text("")
    assert main([*verb, "--root", root]) == 2
    assert ": not a folder: give " in capsys.readouterr().err


def test_a_missing_config_is_exit_2_on_later_boots_too(guest: Guest, fabric: Simulator, capsys: Any) -> None:
    run(guest.on_azure().configure(fabric))
    assert main(["provision", "--root", guest.root, "--config", "/nowhere.yaml"]) == 2


def test_apply_of_a_handler_that_fails_is_exit_1_even_if_ready_would_not_hang_on_it(guest: Guest) -> None:
    with scenario(hostname="___") as fabric:
        assert main(["apply", "hostname", "--root", guest.on_azure().configure(fabric).root]) == 1


@pytest.mark.parametrize("verb", [["apply", "hostname", "--json"], ["plan", "--json"], ["provision", "--json"]])
def test_off_azure_json_is_still_json(guest: Guest, capsys: Any, verb: list[str]) -> None:
    import json

    assert main([*verb, "--root", guest.root]) == 0
    assert "not on Azure" in json.dumps(json.loads(capsys.readouterr().out))


def test_off_azure_a_report_says_that_nothing_was_reported(guest: Guest, capsys: Any) -> None:
    assert main(["report", "ready", "--root", guest.root]) == 0
    assert capsys.readouterr().out.startswith("no report was sent: ")


def test_a_required_handler_that_fails_at_a_later_boot_is_not_told_to_azure(guest: Guest) -> None:
    handlers = ["user", {"ssh_keys": {"frequency": "boot"}}, "report_ready"]
    with scenario() as fabric:
        run(guest.on_azure().configure(fabric, handlers=handlers))
    with scenario(Fault(endpoint="imds", status=403)) as fabric:
        outcome = run(guest.configure(fabric, handlers=handlers))
    assert outcome.exit_code == 0
    assert fabric.reports == []


def test_work_done_with_other_inputs_does_not_count(guest: Guest) -> None:
    with scenario(Fault(endpoint="health", status=500), username="first") as fabric:
        assert run(guest.on_azure().configure(fabric, datasource={"deadline": 60})).exit_code == 3
    with scenario(username="second", hostname="web-1") as fabric:
        outcome = run(guest.configure(fabric))
    assert outcome.outcome == "provisioned"
    assert [step.status for step in outcome.steps] == ["skipped", "done", "done", "done", "done", "done"]
    assert "second:x:" in guest.text("etc/passwd")
    assert guest.text("etc/sudoers.d/90-azurelite").count("NOPASSWD") == 2, "nobody is demoted"


def test_a_forced_run_that_fails_is_not_forgotten(guest: Guest, fabric: Simulator) -> None:
    run(guest.on_azure().configure(fabric))
    with scenario(Fault(endpoint="health", status=500)) as broken:
        assert run(guest.configure(broken, datasource={"deadline": 60}), force=True).exit_code == 3
    guest.configure(fabric)
    assert run(guest).outcome == "provisioned"


@pytest.mark.spawns
def test_two_runs_at_once_are_one_after_the_other(guest: Guest, fabric: Simulator) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-m", "azurelite", "provision", "--root", guest.on_azure().configure(fabric).root]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert [report.state for report in fabric.reports] == ["Ready"]
    assert guest.text("etc/passwd").count("azureuser") == 2, "one line, which names the user and his home"
    assert sum(b"was provisioned earlier" in out for out, _ in said) == 3


def test_without_a_firmware_id_a_dead_imds_is_not_told_as_a_failure_of_a_done_vm(guest: Guest) -> None:
    platform = {"platform": "azure"}
    with scenario() as fabric:
        assert run(guest.configure(fabric, datasource=platform)).outcome == "provisioned"
    clock = FastClock()
    started = clock.monotonic()
    with scenario(Fault(endpoint="imds", status=503)) as fabric:
        outcome = provision(Options(root=guest.configure(fabric, datasource=platform).root, clock=clock))
    assert fabric.reports == []
    assert outcome.exit_code == 3
    assert clock.monotonic() - started < 15


def test_the_answers_text_reaches_neither_log_nor_report(guest: Guest, caplog: Any) -> None:
    import socket
    import threading

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link:
                link.recv(65536)
                link.sendall(b"canary-5f2a \x1b[31m\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with scenario() as fabric:
            guest.on_azure().configure(fabric, datasource={"imds": {"endpoint": url, "deadline": 2}})
            outcome = run(guest)
        listener.shutdown(socket.SHUT_RDWR)
    assert outcome.exit_code == 1
    told = caplog.text + str(fabric.reports) + guest.text("run/azurelite/status.json")
    assert "canary" not in told
    assert "the answer is not HTTP" in told


def test_single_handlers_run_on_a_vm_that_another_agent_provisioned(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().configure(fabric).put({"var/lib/cloud/data/instance-id": VM_ID})
    assert main(["apply", "hostname", "--root", guest.root]) == 0
    assert guest.text("etc/hostname") == "web-1\n"


def test_a_memory_that_leads_in_a_circle_does_not_keep_ready_back(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().configure(fabric).path("var/lib/azurelite").symlink_to("/var/lib/azurelite")
    assert run(guest).outcome == "provisioned"
    assert [report.state for report in fabric.reports] == ["Ready"]


def test_forced_work_whose_ready_was_refused_is_reported_at_the_next_boot(guest: Guest) -> None:
    with scenario() as fabric:
        assert run(guest.on_azure().configure(fabric)).exit_code == 0
    with scenario(Fault(endpoint="health", status=500)) as fabric:
        assert run(guest.configure(fabric, datasource={"deadline": 60}), force=True).exit_code == 3
    with scenario() as fabric:
        outcome = run(guest.configure(fabric))
        assert outcome.outcome == "provisioned"
        assert [report.state for report in fabric.reports] == ["Ready"]


@pytest.mark.parametrize("required", [False, True])
def test_user_data_that_imds_may_have_is_not_taken_for_absent(guest: Guest, required: bool) -> None:
    handlers = ["user", "ssh_keys", {"user_data": {"required": required}}, "report_ready"]
    with scenario(Fault(endpoint="imds", status=500), custom_data=None) as fabric:
        guest.path("disc.iso").write_bytes(fabric.media())
        guest.on_azure().configure(
            fabric, handlers=handlers, datasource={"media": {"device": "/disc.iso"}, "imds": {"deadline": 5}}
        )
        outcome = run(guest)
        assert next(step for step in outcome.steps if step.name == "user_data").status == "failed"
        assert [report.state for report in fabric.reports] == (["NotReady"] if required else ["Ready"])


def test_what_a_silent_imds_kept_back_has_its_turn_at_a_later_boot(guest: Guest) -> None:
    wish = {"id": "web", "files": [{"path": "/etc/role", "content": "web"}], "when": "tags.role == web"}
    handlers = ["user", "ssh_keys", "report_ready", {"write_files": wish}]
    source = {"media": {"device": "/disc.iso"}, "imds": {"deadline": 5}}
    with scenario(Fault(endpoint="imds", status=500), tags={"role": "web"}) as fabric:
        guest.path("disc.iso").write_bytes(fabric.media())
        guest.on_azure().configure(fabric, handlers=handlers, datasource=source)
        assert run(guest).outcome == "provisioned"
        assert not guest.path("etc/role").exists()
        assert run(guest).outcome == "already provisioned"
        assert not guest.path("etc/role").exists()
    with scenario(tags={"role": "web"}) as fabric:
        guest.configure(fabric, handlers=handlers, datasource=source)
        assert run(guest).outcome == "already provisioned"
        assert guest.text("etc/role") == "web"
        assert fabric.reports == []
        asked = len(fabric.requests)
        assert main(["provision", "--root", guest.root]) == 0
        assert len(fabric.requests) == asked


def test_a_cloud_without_imds_is_not_asked_for_ever(guest: Guest) -> None:
    handlers = ["user", "ssh_keys", "report_ready", {"tags": {}}]
    source = {"media": {"device": "/disc.iso"}, "imds": {"deadline": 5}}
    with scenario(Fault(endpoint="imds", status=404)) as fabric:
        guest.path("disc.iso").write_bytes(fabric.media())
        guest.on_azure().configure(
            fabric, handlers=[*handlers[:3], {"tags": {"frequency": "instance"}}], datasource=source
        )
        asked = []
        for _ in range(6):
            before = len(fabric.requests)
            run(guest)
            asked.append(len(fabric.requests) > before)
        assert asked == [True, True, True, True, False, False]
