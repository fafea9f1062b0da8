"""No sequence of public calls reports Ready where `provision` reports that the VM is not ready."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as some
from kit import BASE, FastClock, Guest
from library.cases import CASES, Case, made, named, settings

import azurelite
from azurelite.errors import AzureliteError

NOT_READY = [name for name, case in CASES.items() if not case.ready]
STEPS = ["hostname", "user", "ssh_keys", "sshd", "report_ready"]


class Program:
    """A distribution's program: it calls what it likes, and goes on after every error."""

    def __init__(self, case: Case, guest: Guest, fabric: Any) -> None:
        self.given: dict[str, Any] = {"root": guest.root, "config": settings(case, fabric), "clock": FastClock()}
        self.azure = azurelite.Azure(**self.given)
        self.metadata: Any = None

    def crawl(self) -> None:
        """By the object."""
        self.metadata = self.azure.crawl()

    def crawl_once(self) -> None:
        """By the function."""
        self.metadata = azurelite.crawl(**self.given)

    def crawl_imds(self) -> None:
        """One source only."""
        self.azure.crawl(sources=["imds"])

    def crawl_media(self) -> None:
        """Another one."""
        self.azure.crawl(sources=["media"])

    def plain(self) -> None:
        """The metadata as a plain dict, which says nothing of what is missing."""
        if self.metadata is not None:
            self.metadata = dict(self.metadata)

    def own(self) -> None:
        """Metadata of the program's own."""
        own = {"write_files": {"files": [{"path": "/etc/own", "content": "own"}]}}
        self.azure.apply([own], {"username": "somebody"})

    def provision(self) -> None:
        """The main job."""
        self.azure.provision()

    def saved(self) -> None:
        """The metadata that the main job saved."""
        path = Path(self.given["root"], "run/azurelite/metadata-sensitive.json")
        if path.exists():
            self.metadata = azurelite.Metadata.from_json(path.read_bytes())

    def dry_run(self) -> None:
        """A dry run decides nothing."""
        self.azure.apply(["hostname"], {"local_hostname": "dry"}, dry_run=True)

    def written(self) -> None:
        """The metadata as a document that was written and read."""
        if self.metadata is not None:
            self.metadata = azurelite.Metadata.from_json(self.metadata.to_json(secrets=True))

    def apply(self) -> None:
        """What a program usually applies."""
        self.azure.apply(["user", "ssh_keys"], self.metadata)

    def apply_once(self) -> None:
        """By the function, which asks Azure itself."""
        azurelite.apply(["hostname"], **self.given)

    def apply_all(self) -> None:
        """The whole list, with its report."""
        self.azure.apply(STEPS, self.metadata)

    def apply_report(self) -> None:
        """The report as a handler."""
        self.azure.apply(["report_ready"], self.metadata)

    def progress(self) -> None:
        """A report that decides nothing."""
        self.azure.report_progress("half way", seconds=1)

    def reopen(self) -> None:
        """Another process."""
        self.azure.close()
        self.azure = azurelite.Azure(**self.given)

    def ready(self) -> None:
        """By the object."""
        self.azure.report_ready()

    def ready_once(self) -> None:
        """By the function."""
        azurelite.report_ready(**self.given)


FIRST = ["crawl", "crawl_once", "apply", "apply_once", "apply_all", "provision"]
REST = ["written", "plain", "saved", "crawl_imds", "crawl_media", "own", "dry_run"]
REST += ["apply_report", "progress", "reopen", "ready", "ready_once"]


def play(name: str, calls: list[str]) -> list[str]:
    """Call one after the other; the states that Azure accepted."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        guest = Guest(Path(folder)).put(BASE).on_azure()
        with made(case, guest) as fabric:
            program = Program(case, guest, fabric)
            for call in [*calls, "ready"]:
                act: Callable[[], object] = getattr(program, call)
                with contextlib.suppress(AzureliteError):
                    act()
            program.azure.close()
            return [report.state for report in fabric.reports]


def check(name: str, data: Any) -> None:
    # A report without any other call knows nothing, and is for programs that need nothing: so the first is another.
    waits = {"provision"} if "pool" in name else set()  # it waits for the owner, without a limit
    first = data.draw(some.sampled_from([one for one in CASES[name].tried or FIRST if one not in waits]))
    rest = [one for one in FIRST + REST if one not in waits]
    calls = [first, *data.draw(some.lists(some.sampled_from(rest), max_size=5))]
    assert "Ready" not in play(name, calls), calls


@pytest.mark.parametrize("name", named(*NOT_READY))
@limits(max_examples=5, deadline=None, derandomize=True, database=None)
@given(data=some.data())
def test_none_reports_ready_where_provision_would_not(name: str, data: Any) -> None:
    check(name, data)


@pytest.mark.thorough
@pytest.mark.parametrize("name", named(*NOT_READY))
@limits(max_examples=40, deadline=None, derandomize=True, database=None)
@given(data=some.data())
def test_nor_does_any_of_many_more(name: str, data: Any) -> None:
    check(name, data)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.ready])
@pytest.mark.parametrize(
    "calls",
    [
        [],
        ["crawl", "apply"],
        ["crawl_once", "apply"],
        ["crawl", "written", "apply"],
        ["apply", "reopen"],
        ["crawl", "apply", "progress", "ready_once"],
        ["apply_all"],
        ["crawl", "apply", "apply_report"],
        ["crawl", "apply", "own", "reopen"],
        ["dry_run", "crawl", "plain", "apply"],
        ["crawl", "apply", "crawl_imds", "crawl_media"],
        ["provision", "ready_once"],
    ],
)
def test_what_is_ready_is_reported(name: str, calls: list[str]) -> None:
    assert "Ready" in play(name, calls)
