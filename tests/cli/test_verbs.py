"""Every verb as a user types it: words in, exit code and text out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit import VM_ID, Guest

import azurelite
from azurelite.cli import main
from azurelite.simulator import Fault, Scenario, Simulator


@pytest.fixture
def ready(guest: Guest, fabric: Simulator) -> Guest:
    """A guest on Azure, with a fabric that behaves."""
    return guest.on_azure().configure(fabric)


def test_without_a_verb_the_verbs_are_listed(capsys: Any) -> None:
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(verb in out for verb in ("provision", "metadata", "apply", "report", "plan", "simulate", "demo"))


def test_the_demo_takes_a_configuration(tmp_path: Path, capsys: Any) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("handlers: [hostname, report_ready]\n")
    assert main(["demo", "--json", "--config", str(config)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in shown["outcome"]["steps"]] == ["hostname", "report_ready"]
    config.write_text("handlers: [hostnam]\n")
    assert main(["demo", "--config", str(config)]) == 2
    assert "own.yaml:1:12: " in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"azurelite {azurelite.__version__}\n"


def test_a_mistyped_verb_names_the_nearest(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["provison"])
    assert ended.value.code == 2
    assert "did you mean 'provision'?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["provision", "metadata", "apply", "report", "plan", "simulate", "demo"])
def test_every_verb_has_help(verb: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"azurelite {verb}" in capsys.readouterr().out


class TestProvision:
    """`azurelite provision`."""

    def test_says_one_line(self, ready: Guest, capsys: Any) -> None:
        assert main(["provision", "--root", ready.root]) == 0
        captured = capsys.readouterr()
        assert captured.out.startswith("provisioned: ")
        assert "Azure accepted Ready" in captured.out
        assert "azurelite: info: user: create user azureuser (" in captured.err

    def test_json_is_the_documented_shape(self, ready: Guest, capsys: Any) -> None:
        assert main(["provision", "--root", ready.root, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert set(document) >= {"outcome", "vm_id", "seconds", "report", "steps", "requests"}
        assert document["report"]["accepted"] is True
        assert set(document["steps"][0]) >= {"name", "status", "seconds", "changes", "error"}

    def test_twice_is_silent_with_config_outside_the_root(
        self, guest: Guest, fabric: Simulator, tmp_path: Path, capsys: Any
    ) -> None:
        config = tmp_path / "c.yaml"
        endpoint = {"endpoint": fabric.url}
        config.write_text(yaml.safe_dump({"datasource": {"imds": endpoint, "wireserver": endpoint}}))
        words = ["provision", "--root", guest.on_azure().root, "--config", str(config)]
        assert main(words) == 0
        before, asked = guest.snapshot(), len(fabric.requests)
        capsys.readouterr()
        assert main(words) == 0
        assert capsys.readouterr().out == f"VM {VM_ID} was provisioned earlier; nothing to do\n"
        assert (guest.snapshot(), len(fabric.requests)) == (before, asked)
        assert main([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["outcome"] == "already provisioned"
        guest.on_azure(vm_id="0f0e0d0c-0b0a-4908-8706-050403020100")
        assert main(words) == 0
        assert len(fabric.reports) == 2

    def test_dry_run_lists_the_changes(self, ready: Guest, fabric: Simulator, capsys: Any) -> None:
        before = ready.snapshot()
        assert main(["provision", "--root", ready.root, "--dry-run"]) == 0
        out = capsys.readouterr().out
        assert "would write /etc/hostname" in out
        assert "would create user azureuser (" in out
        assert ready.snapshot() == before
        assert fabric.reports == []

    def test_not_azure_is_one_line(self, guest: Guest, fabric: Simulator, capsys: Any) -> None:
        assert main(["provision", "--root", guest.root]) == 0
        captured = capsys.readouterr()
        assert captured.out == "this machine is not on Azure: no request was sent and nothing was changed\n"
        assert captured.err == ""
        assert fabric.requests == []

    def test_switched_off_is_one_line(self, ready: Guest, capsys: Any) -> None:
        ready.put({"etc/azurelite/disabled": ""})
        assert main(["provision", "--root", ready.root]) == 0
        assert capsys.readouterr().out == "azurelite is disabled: /etc/azurelite/disabled exists\n"

    def test_a_wrong_key_is_exit_2_with_place_and_remedy(self, guest: Guest, capsys: Any) -> None:
        guest.on_azure().put({"etc/azurelite/azurelite.yaml": "datasource:\n  imds:\n    endpiont: x\n"})
        assert main(["provision", "--root", guest.root]) == 2
        err = capsys.readouterr().err
        expected = "/etc/azurelite/azurelite.yaml:3:5: in `datasource.imds`: unknown key 'endpiont'"
        assert err.startswith(f"azurelite: error: {expected}; did you mean 'endpoint'?\n")
        assert "azurelite: what to do: Correct the place that the message names" in err

    def test_a_missing_config_file_is_exit_2(self, guest: Guest, capsys: Any) -> None:
        assert main(["provision", "--root", guest.root, "--config", "/nowhere/c.yaml"]) == 2
        assert "/nowhere/c.yaml: No such file or directory" in capsys.readouterr().err

    def test_failure_is_exit_1(self, guest: Guest, capsys: Any) -> None:
        with Simulator(Scenario.from_dict({"vm": {"username": "root"}})) as fabric:
            assert main(["provision", "--root", guest.on_azure().configure(fabric).root]) == 1
        assert "is the name of a system account" in capsys.readouterr().out

    def test_debug_shows_where_an_error_comes_from(self, guest: Guest, capsys: Any) -> None:
        guest.on_azure().put({"etc/azurelite/azurelite.yaml": "nonsense: 1\n"})
        assert main(["provision", "--root", guest.root, "--debug"]) == 2
        assert "Traceback" in capsys.readouterr().err
        assert main(["provision", "--root", guest.root]) == 2
        assert "Traceback" not in capsys.readouterr().err


class TestMetadata:
    """`azurelite metadata`."""

    def test_the_whole_as_json_with_secrets_masked(self, ready: Guest, fabric: Simulator, capsys: Any) -> None:
        assert main(["metadata", "--root", ready.root]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["username"] == fabric.scenario.vm.username
        assert document["user_data"] in (None, "redacted for non-root user")

    @pytest.mark.parametrize(
        ("key", "form", "expected"),
        [
            ("username", None, "azureuser\n"),
            ("tags.role", None, "web\n"),
            ("raw.imds.compute.vmSize", "text", "Standard_B2s\n"),
            ("disable_password_authentication", "text", "true\n"),
            ("disable_password_authentication", "json", "true\n"),
            ("tags", "yaml", "role: web\nenvironment: demo\n"),
            ("username", "yaml", "azureuser\n"),
            ("username", "json", '"azureuser"\n'),
        ],
    )
    def test_one_key(self, ready: Guest, key: str, form: str | None, expected: str, capsys: Any) -> None:
        words = ["metadata", key, "--root", ready.root] + (["--format", form] if form else [])
        assert main(words) == 0
        assert capsys.readouterr().out == expected

    def test_keys_come_one_a_line_though_the_portal_broke_them(self, ready: Guest, capsys: Any) -> None:
        assert main(["metadata", "public_ssh_keys", "--root", ready.root]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["ssh-ed25519", "ssh-rsa"]

    def test_no_value_is_exit_1_and_nothing_printed(self, ready: Guest, capsys: Any) -> None:
        assert main(["metadata", "password", "--root", ready.root]) == 1
        assert capsys.readouterr().out == ""

    def test_the_listed_keys_are_those_that_are_taken(self, ready: Guest, capsys: Any) -> None:
        assert main(["metadata", "--list-keys", "--root", ready.root]) == 0
        keys = capsys.readouterr().out.splitlines()
        assert "username" in keys
        assert "public_ssh_keys.0" in keys
        assert any(key.startswith("raw.imds.compute.") for key in keys)
        assert main(["metadata", keys[-1], "--root", ready.root]) in (0, 1)
        assert main(["metadata", "username", "--list-keys", "--root", ready.root]) == 2

    def test_an_unknown_key_names_the_nearest(self, ready: Guest, capsys: Any) -> None:
        assert main(["metadata", "usrname", "--root", ready.root]) == 2
        assert "did you mean 'username'?" in capsys.readouterr().err

    def test_yaml_and_text_for_all(self, ready: Guest, capsys: Any) -> None:
        assert main(["metadata", "--root", ready.root, "--format", "yaml"]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["username"] == "azureuser"
        assert main(["metadata", "--root", ready.root, "--format", "text"]) == 0
        assert "username: azureuser\n" in capsys.readouterr().out

    def test_off_azure_nothing_is_asked(self, guest: Guest, capsys: Any) -> None:
        assert main(["metadata", "--root", guest.root]) == 3
        assert "not on Azure" in capsys.readouterr().err


class TestApply:
    """`azurelite apply`."""

    def test_just_these(self, ready: Guest, fabric: Simulator, capsys: Any) -> None:
        assert main(["apply", "hostname", "--root", ready.root]) == 0
        assert ready.text("etc/hostname") == "web-1\n"
        assert "azureuser" not in ready.text("etc/passwd")
        assert fabric.reports == []

    def test_a_saved_crawl_is_replayed_offline(
        self, ready: Guest, tmp_path: Path, fabric: Simulator, capsys: Any
    ) -> None:
        assert main(["metadata", "--root", ready.root]) == 0
        saved = tmp_path / "saved.json"
        saved.write_text(capsys.readouterr().out)
        asked = len(fabric.requests)
        words = ["apply", "hostname", "user", "ssh_keys", "--root", ready.root, "--metadata", str(saved), "--json"]
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["outcome"] == "applied"
        assert ready.path("home/azureuser/.ssh/authorized_keys").exists()
        assert len(fabric.requests) == asked

    @pytest.mark.parametrize("text", ["not json", "[]", '{"username": 7}'])
    def test_a_bad_saved_crawl_is_exit_2(self, ready: Guest, tmp_path: Path, text: str, capsys: Any) -> None:
        saved = tmp_path / "saved.json"
        saved.write_text(text)
        assert main(["apply", "hostname", "--root", ready.root, "--metadata", str(saved)]) == 2
        assert "`azurelite metadata`" in capsys.readouterr().err

    def test_an_unknown_handler_is_exit_2(self, ready: Guest, capsys: Any) -> None:
        assert main(["apply", "hostnam", "--root", ready.root]) == 2
        assert "did you mean 'hostname'?" in capsys.readouterr().err

    def test_an_entry_with_its_options_is_used_in_place_of_the_configuration(
        self, ready: Guest, fabric: Simulator
    ) -> None:
        ready.put({"etc/azurelite/conf.d/1.yaml": "handlers:\n  - hostname: {name: from-file}\n"})
        assert main(["apply", "{hostname: {name: 'given'}}", "--root", ready.root]) == 0
        assert ready.text("etc/hostname") == "given\n"
        assert fabric.requests == []

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("{hostname: {nam: x}}", "handlers[0].hostname.nam: in `handlers[0].hostname`: unknown key 'nam'"),
            ("{hostname: [", "apply:2:1: not valid YAML"),
            ("{}", "handlers[0]: an entry must be a handler's name"),
            ("{hostnam: {}}", "did you mean 'hostname'?"),
            ("{hostname: {publish: often}}", "must be true or false or always"),
        ],
    )
    def test_a_wrong_entry_is_exit_2(self, guest: Guest, word: str, said: str, capsys: Any) -> None:
        assert main(["apply", word, "--root", guest.root]) == 2
        assert said in capsys.readouterr().err

    def test_report_ready_as_a_handler(self, ready: Guest, fabric: Simulator) -> None:
        assert main(["apply", "report_ready", "--root", ready.root]) == 0
        assert [report.state for report in fabric.reports] == ["Ready"]

    def test_a_failure_is_exit_1_and_dry_run_changes_nothing(self, guest: Guest) -> None:
        with Simulator(Scenario.from_dict({"vm": {"username": "root"}})) as fabric:
            guest.on_azure().configure(fabric)
            before = guest.snapshot()
            assert main(["apply", "hostname", "--root", guest.root, "--dry-run"]) == 0
            assert guest.snapshot() == before
            assert main(["apply", "user", "--root", guest.root]) == 1


class TestReport:
    """`azurelite report`."""

    @pytest.mark.parametrize(
        ("words", "state", "substatus"),
        [
            (["ready"], "Ready", None),
            (["failure", "--reason", "no disk"], "NotReady", "ProvisioningFailed"),
            (["progress"], "NotReady", "Provisioning"),
            (["progress", "--reason", "half way"], "NotReady", "Provisioning"),
        ],
    )
    def test_tells(self, ready: Guest, fabric: Simulator, words: list[str], state: str, substatus: str | None) -> None:
        assert main(["report", *words, "--root", ready.root]) == 0
        assert [(report.state, report.substatus) for report in fabric.reports] == [(state, substatus)]

    @pytest.mark.parametrize("words", [["failure"], ["failure", "--reason", " "], ["ready", "--reason", "x"]])
    def test_refuses_what_makes_no_sense(self, ready: Guest, words: list[str], fabric: Simulator) -> None:
        assert main(["report", *words, "--root", ready.root]) == 2
        assert fabric.requests == []

    def test_a_refused_report_is_exit_3(self, guest: Guest, capsys: Any) -> None:
        scenario = Scenario(Scenario.default().vm, (Fault(endpoint="health", status=400),))
        with Simulator(scenario) as fabric:
            guest.on_azure().configure(fabric, datasource={"wireserver": {"dialect": "xml"}})
            assert main(["report", "ready", "--root", guest.root]) == 3
        assert "Azure did not accept the health report" in capsys.readouterr().err


class TestPlan:
    """`azurelite plan`."""

    def test_says_what_would_run(self, ready: Guest, fabric: Simulator, capsys: Any) -> None:
        before = ready.snapshot()
        assert main(["plan", "--root", ready.root]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"VM {VM_ID}\n")
        assert "report_ready  run    tell Azure that the VM is ready (required, once per VM)" in out
        assert ready.snapshot() == before
        assert fabric.reports == []

    def test_says_why_nothing_would(self, ready: Guest, fabric: Simulator, capsys: Any) -> None:
        assert main(["provision", "--root", ready.root]) == 0
        asked = len(fabric.requests)
        assert main(["plan", "--root", ready.root, "--json"]) == 0
        document = json.loads(capsys.readouterr().out.partition("\n")[2])
        assert {step["action"] for step in document["steps"]} == {"skip"}
        assert len(fabric.requests) == asked
        assert main(["plan", "--root", ready.root, "--force"]) == 0

    def test_says_what_azure_did_not_give(self, guest: Guest, capsys: Any) -> None:
        with Simulator(Scenario.from_dict({"vm": {"username": None, "ssh_keys": []}})) as fabric:
            assert main(["plan", "--root", guest.on_azure().configure(fabric).root]) == 3
        out = capsys.readouterr().out
        assert "Azure has no username for this VM: deploy it with one" in out
        assert "report_ready  skip   user fails, and Azure is told so" in out
        assert "user_data     skip   the VM is not Ready" in out

    def test_a_blocked_step_is_exit_3(self, guest: Guest, capsys: Any) -> None:
        scenario = Scenario(Scenario.default().vm, (Fault(endpoint="imds", status=403),))
        with Simulator(scenario) as fabric:
            assert main(["plan", "--root", guest.on_azure().configure(fabric).root]) == 3
        assert "fail   IMDS: HTTP 403" in capsys.readouterr().out

    def test_off_azure_and_switched_off(self, guest: Guest, capsys: Any) -> None:
        assert main(["plan", "--root", guest.root]) == 0
        assert "not on Azure" in capsys.readouterr().out
        guest.put({"etc/azurelite/disabled": ""})
        assert main(["plan", "--root", guest.root]) == 0
        assert "azurelite is disabled" in capsys.readouterr().out


class TestDemo:
    """`azurelite demo`."""

    def test_shows_the_whole_story_as_plain_text(self, capsys: Any) -> None:
        assert main(["demo"]) == 0
        out = capsys.readouterr().out
        for words in (
            "What Azure said",
            "local_hostname",
            "create user azureuser (home /home/azureuser",
            "Ready: accepted (HTTP 200)",
            "home/azureuser/.ssh/authorized_keys",
            "Azure accepted Ready (exit 0)",
        ):
            assert words in out
        assert "\033" not in out

    def test_a_vm_whose_user_cannot_be_made_is_not_ready(self, tmp_path: Path, capsys: Any) -> None:
        scenario = tmp_path / "s.yaml"
        scenario.write_text("vm: {username: ../../root}\n")
        assert main(["demo", "--scenario", str(scenario)]) == 1
        out = capsys.readouterr().out
        assert "NotReady, ProvisioningFailed: accepted" in out
        assert "the user name ''../../root'' is refused" in out

    def test_json_for_programs_and_a_root_that_stays(self, tmp_path: Path, capsys: Any) -> None:
        kept = tmp_path / "kept"
        assert main(["demo", "--json", "--keep", str(kept)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["exit_code"] == 0
        assert document["fabric"]["reports"][0]["accepted"] is True
        assert "etc/hostname" in document["files"]
        assert (kept / "etc/hostname").read_text() == "web-1\n"
        assert main(["demo", "--keep", str(kept)]) == 2
        assert "is not empty" in capsys.readouterr().err

    def test_a_generation_1_vm(self, tmp_path: Path, capsys: Any) -> None:
        scenario = tmp_path / "s.yaml"
        scenario.write_text("vm: {generation: 1}\n")
        assert main(["demo", "--json", "--scenario", str(scenario)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["outcome"]["vm_id"] == Scenario.default().vm.vm_id
        assert document["metadata"]["instance_id"] != document["metadata"]["vm_id"]

    @pytest.mark.parametrize("text", ["vm: {usernam: x}", "nonsense", "vm: ["])
    def test_a_bad_scenario_is_exit_2(self, tmp_path: Path, text: str, capsys: Any) -> None:
        scenario = tmp_path / "s.yaml"
        scenario.write_text(text)
        assert main(["demo", "--scenario", str(scenario)]) == 2
        assert str(scenario) in capsys.readouterr().err
        assert main(["demo", "--scenario", str(tmp_path / "missing.yaml")]) == 2
