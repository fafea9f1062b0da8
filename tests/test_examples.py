"""The library's examples: none goes on to Ready after a failure, and `check` raises what failed."""

from __future__ import annotations

import inspect
import re
import textwrap
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
PAGES = [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md"), *(REPO / "contrib").rglob("*.md")]
CALLS = r"(?:azurelite|azure)\.(?:apply|provision)\("


def examples() -> list[tuple[str, str]]:
    """Page and text of each Python example that runs handlers; also those of a docstring."""
    blocks = [
        (path.name, text) for path in PAGES for text in re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
    ]
    indented = re.findall(r"::\n\n((?: {4}.*\n|\n)+)", inspect.cleandoc(azurelite.Azure.__doc__ or ""))
    blocks += [("help(azurelite.Azure)", textwrap.dedent(text)) for text in indented]
    return [
        (name, text)
        for name, text in blocks
        if re.search(CALLS, text) and not re.search("simulator|dry_run=True", text)
    ]


def test_readme_the_library_page_and_help_have_one() -> None:
    assert {name for name, _ in examples()} >= {"README.md", "library.md", "help(azurelite.Azure)"}


@pytest.mark.parametrize(("name", "text"), examples())
def test_each_call_is_checked(name: str, text: str) -> None:
    assert len(re.findall(CALLS, text)) == text.count(".check()"), name


def play(text: str, guest: Guest) -> None:
    """Run an example on a scratch root, as the body of a function."""

    def here(function: Any) -> Any:
        return lambda *words, **more: function(*words, root=guest.root, clock=FastClock(), **more)

    public = {name: getattr(azurelite, name) for name in azurelite.__all__}
    placed = ("Azure", "crawl", "apply", "provision", "report_ready", "report_failure")
    module = SimpleNamespace(**{**public, **{name: here(public[name]) for name in placed}})
    code = re.sub(r"^import azurelite$", "", text, flags=re.MULTILINE)
    names: dict[str, Any] = {"azurelite": module}
    exec("def example():\n" + textwrap.indent(code, "    "), names)
    names["example"]()


@pytest.mark.parametrize(("name", "text"), examples())
@pytest.mark.parametrize("username", ["azureuser", "root"])
def test_none_reports_ready_after_a_failure(guest: Guest, name: str, text: str, username: str) -> None:
    scenario = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], "username": username}})
    with Simulator(scenario, rate_limit=None) as fabric:
        guest.on_azure().configure(fabric)
        if username != "root":
            play(text, guest)
            play(text, guest)  # the second boot
        else:
            with pytest.raises(HandlerError, match="root"):
                play(text, guest)
    told = "report_failure" in text or "provision" in text
    states = ["Ready"] if username != "root" else ["NotReady"] if told else []
    assert [report.state for report in fabric.reports] == states


def test_the_pages_own_test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    text = (REPO / "docs/library.md").read_text()
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "make_guest" in code)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    assert capsys.readouterr().out.startswith("web-1\n Ready [Request(")


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
