"""What the engine makes of a defect: Azure hears of it, and nothing of what the defect choked on is told."""

from __future__ import annotations

import pytest
from kit import FastClock, Guest

from azurelite.errors import AzureliteError, ConfigError
from azurelite.guard import guard
from azurelite.run.provision import Options, provision
from azurelite.simulator import Simulator


def test_an_unexpected_exception_becomes_a_reportable_error_without_its_text() -> None:
    def broken() -> None:
        raise RuntimeError("canary-hunter2")

    error = guard(broken)
    assert isinstance(error, AzureliteError)
    assert error.reason == "unhandled exception"
    assert error.data["exception"] == "RuntimeError"
    assert error.data["place"].startswith("test_provision_defects.py:")
    assert "canary" not in str(error) + str(error.data)


def test_an_expected_error_comes_back_as_it_is() -> None:
    known = AzureliteError("known")

    def failing() -> None:
        raise known

    assert guard(failing) is known
    assert guard(lambda: None) is None
    assert guard(lambda: 5) == 5


def test_run_files_that_cannot_be_written_do_not_keep_ready_back(guest: Guest, fabric: Simulator) -> None:
    guest.put({"run/azurelite": "a file where the folder should be"})
    outcome = provision(Options(root=guest.on_azure().configure(fabric).root, clock=FastClock()))
    assert outcome.outcome == "provisioned"


def test_an_interface_that_does_not_exist_is_a_configuration_error(guest: Guest, fabric: Simulator) -> None:
    guest.on_azure().configure(fabric, datasource={"interface": "nowhere0"})
    with pytest.raises(ConfigError, match="this machine has no 'nowhere0': set auto or one of "):
        provision(Options(root=guest.root, clock=FastClock()))
