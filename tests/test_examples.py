"""The library's examples: none goes on to Ready after a failure, and `check` raises what failed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kit import ED25519, FastClock, Guest

import azurelite
from azurelite.errors import AzureliteError, FabricError, HandlerError
from azurelite.outcome import EXIT_CODES, Outcome
from azurelite.simulator import Fault, Scenario, Simulator

REPO = Path(__file__).parents[1]
PAGES = [*REPO.glob("*.md"), *(REPO / "docs").glob("*.md"), *(REPO / "contrib").rglob("*.md")]
CALLS = r"azurelite\.(?:apply|provision)\("


def examples() -> list[tuple[str, str]]:
    """Page and text of each Python example that runs handlers."""
    blocks = [
        (path.name, text) for path in PAGES for text in re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
    ]
    return [(name, text) for name, text in blocks if re.search(CALLS, text)]


def test_readme_and_the_library_page_have_one() -> None:
    assert {name for name, _ in examples()} >= {"README.md", "library.md"}


@pytest.mark.parametrize(("name", "text"), examples())
def test_each_call_is_checked(name: str, text: str) -> None:
    assert len(re.findall(CALLS, text)) == text.count(".check()"), name


def play(text: str, guest: Guest) -> None:
    """Run an example on a scratch root."""

    def here(function: Any) -> Any:
        return lambda *words, **more: function(*words, root=guest.root, clock=FastClock(), **more)

    names = ("crawl", "apply", "provision", "report_ready", "report_failure")
    module = SimpleNamespace(**{name: here(getattr(azurelite, name)) for name in names})
    code = re.sub(r"^import azurelite$", "", text, flags=re.MULTILINE)
    exec(code, {"azurelite": module})


@pytest.mark.parametrize(("name", "text"), examples())
@pytest.mark.parametrize(("hostname", "states"), [("web-1", ["Ready"]), ("___", [])])
def test_none_reports_ready_after_a_failure(
    guest: Guest, name: str, text: str, hostname: str, states: list[str]
) -> None:
    scenario = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], "hostname": hostname}})
    with Simulator(scenario, rate_limit=None) as fabric:
        guest.on_azure().configure(fabric)
        if states:
            play(text, guest)
        else:
            with pytest.raises(HandlerError):
                play(text, guest)
    assert [report.state for report in fabric.reports] == states


@pytest.mark.parametrize("outcome", EXIT_CODES)
@pytest.mark.parametrize("error", [None, HandlerError("it failed"), FabricError("no answer")])
def test_an_outcome_raises_if_its_exit_code_is_not_0(outcome: str, error: Any) -> None:
    made = Outcome(outcome, "the reason", error=error)
    if made.exit_code == 0:
        made.check()
        return
    with pytest.raises(AzureliteError, match="it failed|no answer" if error else "the reason") as caught:
        made.check()
    assert error is None or caught.value is error


def test_azure_that_cannot_be_reached_raises_its_error(guest: Guest) -> None:
    scenario = Scenario.from_dict({"vm": {"ssh_keys": [ED25519]}})
    with Simulator(Scenario(scenario.vm, (Fault(endpoint="health", status=500),)), rate_limit=None) as fabric:
        guest.on_azure().configure(fabric, datasource={"deadline": 60})
        with pytest.raises(FabricError, match="500"):
            azurelite.provision(root=guest.root, clock=FastClock()).check()
