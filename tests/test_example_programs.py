"""The programs in contrib/examples, as a distribution would run them: boot after boot, on a made guest."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import azurelite
from azurelite.simulator import FastClock, Fault, Guest, Scenario, Simulator, make_guest

EXAMPLES = Path(__file__).parents[1] / "contrib/examples"
# What their tool does: it keeps the name and the keys.
TOOL = """#!/bin/sh
echo "$2" >> "${0%/*}/names" && cat > "${0%/*}/keys"
"""


def program(name: str) -> Any:
    """One of the programs as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scenario(*faults: Fault, **vm: Any) -> Scenario:
    return Scenario(Scenario.from_dict({"vm": vm}).vm, faults)


def states(simulator: Simulator) -> list[str]:
    return [report.state for report in simulator.reports]


def test_there_are_three_of_a_readable_length() -> None:
    lengths = {path.name: path.read_text().count("\n") for path in EXAMPLES.iterdir() if path.suffix == ".py"}
    assert sorted(lengths) == ["build_image.py", "own_accounts.py", "two_phases.py"]
    assert {name: lines for name, lines in lengths.items() if not 30 <= lines <= 60} == {}


class TestOwnAccounts:
    """contrib/examples/own_accounts.py"""

    example = program("own_accounts")

    def tool(self, folder: Path, text: str = TOOL) -> list[str]:
        path = folder / "my-account"
        path.write_text(text)
        path.chmod(0o755)
        return [str(path), "add"]

    def boot(self, guest: Guest, simulator: Simulator, tool: list[str]) -> None:
        """One boot: what /run had is gone."""
        shutil.rmtree(guest.path("run/azurelite"), ignore_errors=True)
        config: Mapping[str, Any] = {**self.example.CONFIG, "datasource": simulator.datasource}
        with azurelite.Azure(root=guest.root, config=config, clock=FastClock()) as azure:
            self.example.first_boot(azure, tool)

    @pytest.mark.spawns
    def test_the_tool_gets_name_and_keys_once(
        self, azure_guest: Guest, azure_simulator: Simulator, tmp_path: Path
    ) -> None:
        tool = self.tool(tmp_path)
        self.boot(azure_guest, azure_simulator, tool)
        asked = len(azure_simulator.requests)
        self.boot(azure_guest, azure_simulator, tool)
        assert states(azure_simulator) == ["Ready"]
        assert len(azure_simulator.requests) == asked
        assert (tmp_path / "names").read_text() == "azureuser\n"
        assert [key.split()[0] for key in (tmp_path / "keys").read_text().splitlines()] == ["ssh-ed25519", "ssh-rsa"]
        assert azure_guest.text("etc/hostname") == "web-1\n"
        assert "azureuser" not in azure_guest.text("etc/passwd")

    @pytest.mark.spawns
    @pytest.mark.parametrize(
        ("vm", "text", "said"),
        [
            ({}, "#!/bin/sh\necho the database is locked >&2; exit 3\n", "exit code 3: the database is locked"),
            ({"username": None}, TOOL, "Azure names no administrator"),
            ({"hostname": "___"}, TOOL, "___"),
        ],
    )
    def test_azure_is_told_what_failed(self, tmp_path: Path, vm: dict[str, Any], text: str, said: str) -> None:
        tool = self.tool(tmp_path, text)
        with Simulator(scenario(**vm), rate_limit=None) as simulator:
            guest = make_guest(tmp_path / "g", simulator)
            with pytest.raises(azurelite.HandlerError, match=said):
                self.boot(guest, simulator, tool)
            assert states(simulator) == ["NotReady"]
            with azurelite.Azure(root=guest.root) as azure:
                assert not azure.is_done()
        assert not (tmp_path / "names").exists()

    def test_keys_that_are_lost_are_not_taken_for_none(self, tmp_path: Path) -> None:
        lost = {"public_ssh_keys": {"message": "IMDS is down", "reason": "imds"}}
        metadata = azurelite.Metadata.from_dict({"username": "alex", "missing": lost})
        with pytest.raises(azurelite.HandlerError, match="IMDS is down"):
            self.example.make_account(metadata, self.tool(tmp_path))
        assert not (tmp_path / "names").exists()

    @pytest.mark.spawns
    def test_a_report_that_azure_does_not_take_is_tried_at_the_next_boot(self, tmp_path: Path) -> None:
        tool = self.tool(tmp_path)
        with Simulator(scenario(Fault(endpoint="health", status=503)), rate_limit=None) as simulator:
            guest = make_guest(tmp_path / "g", simulator)
            with pytest.raises(azurelite.FabricError):
                self.boot(guest, simulator, tool)
            assert len((tmp_path / "names").read_text().split()) == 1
        with Simulator(scenario(), rate_limit=None) as simulator:
            self.boot(guest, simulator, tool)
            assert states(simulator) == ["Ready"]

    def test_elsewhere_and_switched_off_nothing_happens(
        self, azure_guest: Guest, azure_simulator: Simulator, tmp_path: Path
    ) -> None:
        tool = self.tool(tmp_path)
        elsewhere = make_guest(tmp_path / "elsewhere", azure_simulator, asset_tag="none")
        with pytest.raises(azurelite.NotAzureError):
            self.boot(elsewhere, azure_simulator, tool)
        assert azure_simulator.requests == []
        self.boot(azure_guest.put({"etc/azurelite/disabled": ""}), azure_simulator, tool)
        assert states(azure_simulator) == []
        assert not (tmp_path / "names").exists()


class TestTwoPhases:
    """contrib/examples/two_phases.py"""

    example = program("two_phases")

    def boot(self, guest: Guest, clock: FastClock) -> tuple[int, bool]:
        """One boot: what /run had is gone. Returns the exit code and what `is_done` says afterwards."""
        shutil.rmtree(guest.path("run/azurelite"), ignore_errors=True)
        with azurelite.Azure(root=guest.root, clock=clock) as azure:
            code: int = self.example.boot(azure, guest.path("var/lib/note"))
            return code, azure.is_done()

    def test_it_is_done_after_the_second(
        self, azure_guest: Guest, azure_simulator: Simulator, azure_clock: FastClock
    ) -> None:
        assert self.boot(azure_guest, azure_clock) == (75, False)
        assert azure_guest.text("etc/hostname") == "web-1\n"
        assert "azureuser" not in azure_guest.text("etc/passwd")
        assert states(azure_simulator) == ["NotReady"]
        assert azure_simulator.reports[0].substatus == "Provisioning"
        assert self.boot(azure_guest, azure_clock) == (0, True)
        assert "azureuser" in azure_guest.text("etc/passwd")
        assert states(azure_simulator) == ["NotReady", "Ready"]
        asked = len(azure_simulator.requests)
        assert self.boot(azure_guest, azure_clock) == (0, True)
        assert len(azure_simulator.requests) == asked

    def test_disks_that_are_not_there_are_no_failure(
        self, azure_guest: Guest, azure_clock: FastClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.boot(azure_guest, azure_clock) == (75, False)
        assert "continuing: " in capsys.readouterr().err

    def test_a_failure_of_the_second_is_reported(self, tmp_path: Path, azure_clock: FastClock) -> None:
        with Simulator(scenario(username="../../root"), rate_limit=None) as simulator:
            guest = make_guest(tmp_path / "g", simulator)
            assert self.boot(guest, azure_clock) == (75, False)
            with pytest.raises(azurelite.HandlerError, match="user name"):
                self.boot(guest, azure_clock)
            assert [report.substatus for report in simulator.reports] == ["Provisioning", "ProvisioningFailed"]
            with azurelite.Azure(root=guest.root) as azure:
                assert not azure.is_done()

    def test_a_firmware_without_an_id_does_not_reboot_for_ever(
        self, azure_guest: Guest, azure_simulator: Simulator, azure_clock: FastClock
    ) -> None:
        azure_guest.path("sys/class/dmi/id/product_uuid").unlink()
        assert [self.boot(azure_guest, azure_clock)[0] for _ in range(3)] == [75, 0, 0]
        assert states(azure_simulator)[-1] == "Ready"

    def test_a_captured_image_begins_anew(self, azure_guest: Guest, azure_clock: FastClock, tmp_path: Path) -> None:
        assert [self.boot(azure_guest, azure_clock) for _ in range(2)] == [(75, False), (0, True)]
        with Simulator(scenario(vm_id="0f0e0d0c-0b0a-4908-8706-050403020100"), rate_limit=None) as simulator:
            made = make_guest(tmp_path / "g", simulator)
            for name in ("sys/class/dmi/id/product_uuid", "etc/azurelite/azurelite.yaml"):
                azure_guest.put({name: made.text(name)})
            assert [self.boot(azure_guest, azure_clock) for _ in range(2)] == [(75, False), (0, True)]
            assert states(simulator)[-1] == "Ready"


class TestBuildImage:
    """contrib/examples/build_image.py"""

    example = program("build_image")

    def test_what_it_shows_is_what_it_does(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        guest = make_guest(tmp_path / "g", asset_tag="none")
        before = guest.snapshot()
        assert self.example.main([guest.root]) == 0
        foreseen = capsys.readouterr().out
        assert guest.snapshot() == before
        assert "would write /etc/azurelite/conf.d/20-image.yaml" in foreseen
        assert "would create user backup" in foreseen
        assert self.example.main([guest.root, "--yes"]) == 0
        assert capsys.readouterr().out == foreseen + foreseen.replace("would ", "")
        assert "backup:" in guest.text("etc/passwd")
        assert "deadline: 600" in guest.text("etc/azurelite/conf.d/20-image.yaml")
        assert self.example.main([guest.root, "--yes"]) == 0
        assert capsys.readouterr().out == ""

    def test_the_image_is_provisioned_at_its_first_boot(self, azure_guest: Guest, azure_simulator: Simulator) -> None:
        assert self.example.main([azure_guest.root, "--yes"]) == 0
        with azurelite.Azure(root=azure_guest.root, clock=FastClock()) as azure:
            assert not azure.is_done()
            assert azure.provision().outcome == "provisioned"
        assert states(azure_simulator) == ["Ready"]

    @pytest.mark.parametrize(
        ("files", "said"),
        [({}, "no such folder|not a folder"), ({"etc/passwd": ""}, "user root does not exist")],
    )
    def test_what_cannot_be_done_is_said(self, tmp_path: Path, files: dict[str, str], said: str) -> None:
        guest = make_guest(tmp_path / "g", files=files) if files else Guest(tmp_path / "none")
        with pytest.raises(azurelite.AzureliteError, match=said):
            self.example.main([guest.root])
