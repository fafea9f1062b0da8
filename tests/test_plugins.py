"""Handlers from outside: found in three ways, and unable to keep Ready back unless they are required."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from kit import FastClock, Guest

from azurelite import plugins
from azurelite.api import run_apply
from azurelite.config.load import load_config
from azurelite.errors import ConfigError, HandlerError
from azurelite.handlers import bind_handlers, known_names
from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Simulator

pytestmark = pytest.mark.spawns

GREETING = '''
"""A plug-in."""
from dataclasses import dataclass

SUMMARY = "write a greeting"
NEEDS = ("local_hostname",)
FREQUENCY = "boot"
TIMEOUT = 20.0

@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        text: the greeting.
    """

    text: str = "hello"

def apply(ctx, options):
    """Write it."""
    ctx.system.files.rewrite("/etc/greeting", f"{options.text} {ctx.metadata.local_hostname}\\n".encode())
    ctx.note("a note of the plug-in")
'''


OPTIONS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True)
class Options:
    {}

def apply(ctx, options): pass
"""
RAISING = """
from azurelite.errors import HandlerError
def apply(ctx, options): raise HandlerError("x", data={"n": 5, 6: None})
"""


class Shelf:
    """A folder on sys.path that holds plug-ins for the length of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, text: str, **entries: str) -> Shelf:
        """A module, and entry points to it."""
        (self.folder / f"{name}.py").write_text(text)
        if entries:
            info = self.folder / f"{name}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            rows = "".join(f"{key} = {value}\n" for key, value in entries.items())
            (info / "entry_points.txt").write_text(f"[azurelite.handlers]\n{rows}")
        return self


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    folder = tmp_path / "shelf"
    folder.mkdir()
    sys.path.insert(0, str(folder))
    before = set(sys.modules)
    yield Shelf(folder)
    sys.path.remove(str(folder))
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def provisioned(guest: Guest, fabric: Simulator, *entries: Any, **options: Any) -> Outcome:
    guest.on_azure().configure(fabric, handlers=["hostname", "user", "ssh_keys", *entries, "report_ready"])
    return provision(Options(root=guest.root, clock=FastClock(), **options))


def states(fabric: Simulator) -> list[str]:
    return [report.state for report in fabric.reports]


class TestFound:
    def test_by_an_entry_point(self, guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
        shelf.put("acme_greeting", GREETING, greeting="acme_greeting")
        outcome = provisioned(guest, fabric, {"greeting": {"text": "welcome to"}})
        assert outcome.exit_code == 0
        assert guest.text("etc/greeting") == "welcome to web-1\n"
        step = next(step for step in outcome.steps if step.name == "greeting")
        assert [change.target for change in step.changes] == ["/etc/greeting"]
        assert step.notes == ("a note of the plug-in",)
        assert "/etc/greeting" in guest.text("var/lib/azurelite/manifest.jsonl")

    @pytest.mark.parametrize("place", ["acme_greeting", "acme_greeting:apply"])
    def test_by_an_entry_point_to_a_module_or_its_function(self, shelf: Shelf, place: str) -> None:
        shelf.put("acme_greeting", GREETING, greeting=place)
        found = plugins.find_plugin("greeting")
        assert found is not None
        assert (found.summary, found.needs, found.frequency, found.required, found.timeout) == (
            "write a greeting",
            ("local_hostname",),
            "boot",
            False,
            20.0,
        )

    def test_by_module_and_function(self, guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
        shelf.put("bare", "def go(ctx, options):\n    ctx.system.files.rewrite('/etc/x', repr(options).encode())\n")
        outcome = provisioned(guest, fabric, {"bare:go": {"any": ["key"]}})
        assert outcome.exit_code == 0
        assert guest.text("etc/x") == "{'any': ['key']}"

    def test_as_an_executable_which_a_foreign_root_does_not_run(self, guest: Guest, fabric: Simulator) -> None:
        guest.put({"etc/azurelite/handlers.d/greet": "#!/bin/sh\nexit 1\n"})
        guest.path("etc/azurelite/handlers.d/greet").chmod(0o755)
        assert "greet" in known_names(root_of(guest))
        outcome = provisioned(guest, fabric, {"greet": {"text": "hi"}})
        assert outcome.exit_code == 0
        assert states(fabric) == ["Ready"]

    def test_none_of_that_name_is_a_mistake_unless_the_entry_reckons_with_it(
        self, guest: Guest, fabric: Simulator
    ) -> None:
        with pytest.raises(ConfigError, match=r"unknown handler 'greting'.*required: false"):
            provisioned(guest, fabric, "greting")
        outcome = provisioned(guest, fabric, {"greting": {"required": False}})
        assert outcome.exit_code == 0
        assert "the handler 'greting' does not exist" in str(outcome.steps[3].error)


def root_of(guest: Guest) -> Any:
    from azurelite.system.root import Root

    return Root(guest.root)


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def apply(ctx, options):\n    raise RuntimeError('canary')\n", "unhandled RuntimeError"),
        ("import time\nTIMEOUT = 0.5\ndef apply(ctx, options):\n    time.sleep(300)\n", "did not end in time"),
        ("import os\ndef apply(ctx, options):\n    os._exit(0)\n", "without an answer"),
        ("import sys\ndef apply(ctx, options):\n    sys.exit(0)\n", "without an answer"),
        ("import os\ndef apply(ctx, options):\n    os.kill(os.getpid(), 9)\n", "signal 9"),
        ("def apply(ctx, options):\n    ctx.report_ready()\n", "does not report to Azure"),
        ("raise RuntimeError('canary')\n", "unhandled RuntimeError"),
        ("import sys\nsys.exit(0)\n", "it cannot be used"),
        ("import no_such_module_at_all\n", "no module 'no_such_module_at_all'"),
        ("NEEDS = ('usrname',)\ndef apply(ctx, options): pass\n", "needs 'usrname'"),
        ("FREQUENCY = 'daily'\ndef apply(ctx, options): pass\n", "FREQUENCY must be one of"),
        ("Options = 7\ndef apply(ctx, options): pass\n", "Options must be a dataclass"),
        ("apply = 7\n", "no function"),
        (OPTIONS.format("text: NoSuchName = 7"), "cannot be used"),
        (OPTIONS.format("def __post_init__(self): raise RuntimeError('canary')"), "cannot be used"),
        (OPTIONS.format("def __post_init__(self): import os; os._exit(0)"), "cannot be used"),
        (RAISING, "x"),
    ],
)
def test_one_that_breaks_keeps_ready_back_only_where_it_is_required(
    guest: Guest, fabric: Simulator, shelf: Shelf, text: str, said: str, required: bool
) -> None:
    shelf.put("acme_broken", text, broken="acme_broken")
    outcome = provisioned(guest, fabric, {"broken": {"required": required}})
    failed = next(step for step in outcome.steps if step.name == "broken")
    assert said in str(failed.error)
    assert "canary" not in str(outcome.as_dict())
    assert states(fabric) == (["NotReady"] if required else ["Ready"])
    assert outcome.exit_code == (1 if required else 0)
    if required:
        assert fabric.reports[0].description


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("name", ["no_such_module_at_all:go", "json:no_such_function"])
def test_one_that_is_missing_keeps_ready_back_only_where_it_is_required(
    guest: Guest, fabric: Simulator, name: str, required: bool
) -> None:
    outcome = provisioned(guest, fabric, {name: {"required": required}})
    assert states(fabric) == (["NotReady"] if required else ["Ready"])
    assert outcome.exit_code == (1 if required else 0)


def test_an_author_may_say_that_it_is_required(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    shelf.put("acme", "REQUIRED = True\ndef apply(ctx, options):\n    raise RuntimeError\n", acme="acme")
    assert provisioned(guest, fabric, "acme").exit_code == 1


def test_options_of_a_type_that_yaml_cannot_say_are_its_own_trouble(
    guest: Guest, fabric: Simulator, shelf: Shelf
) -> None:
    shelf.put("acme", OPTIONS.format("text: set[str] = frozenset()"), acme="acme")
    outcome = provisioned(guest, fabric, {"acme": {"text": ["a"]}})
    assert "the Options of the plug-in acme cannot be used" in str(outcome.steps[3].error)
    assert states(fabric) == ["Ready"]


def test_what_it_says_of_its_failure_may_be_anything(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    shelf.put("acme", RAISING, acme="acme")
    outcome = provisioned(guest, fabric, {"acme": {"required": True}})
    assert outcome.exit_code == 1
    assert "reason=x" in (fabric.reports[0].description or "")
    assert "n=5" in (fabric.reports[0].description or "")


def test_its_options_are_checked_ahead_of_everything(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    shelf.put("acme_greeting", GREETING, greeting="acme_greeting")
    with pytest.raises(ConfigError, match="unknown key 'txt'; did you mean 'text'"):
        provisioned(guest, fabric, {"greeting": {"txt": "x"}})
    assert fabric.requests == []


def test_a_dry_run_tells_what_it_would_change(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    shelf.put("acme_greeting", GREETING, greeting="acme_greeting")
    outcome = provisioned(guest, fabric, "greeting", dry_run=True)
    step = next(step for step in outcome.steps if step.name == "greeting")
    assert [change.target for change in step.changes] == ["/etc/greeting"]
    assert not guest.path("etc/greeting").exists()


def test_apply_runs_one_by_its_name(guest: Guest, shelf: Shelf) -> None:
    shelf.put("acme_greeting", GREETING, greeting="acme_greeting")
    outcome = run_apply(
        ["greeting"], metadata={"local_hostname": "vm"}, root=guest.on_azure().root, config=None, dry_run=False
    )
    assert outcome.exit_code == 0
    assert guest.text("etc/greeting") == "hello vm\n"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o644])
def test_an_executable_that_others_may_change_or_nobody_may_run_is_refused(guest: Guest, mode: int) -> None:
    guest.put({"etc/azurelite/handlers.d/greet": "#!/bin/sh\n"})
    guest.path("etc/azurelite/handlers.d/greet").chmod(mode)
    with pytest.raises(HandlerError, match="chmod 755"):
        plugins.executable("greet", root_of(guest))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can give a file away")
def test_an_executable_of_somebody_else_is_refused(guest: Guest) -> None:
    guest.put({"etc/azurelite/handlers.d/greet": "#!/bin/sh\n"})
    path = guest.path("etc/azurelite/handlers.d/greet")
    path.chmod(0o755)
    os.chown(path, 1000, 1000)
    with pytest.raises(HandlerError, match="chown root"):
        plugins.executable("greet", root_of(guest))


def test_files_with_a_dot_in_their_name_are_no_handlers(guest: Guest) -> None:
    guest.put({"etc/azurelite/handlers.d/greet.rpmsave": "", "etc/azurelite/handlers.d/.hidden": ""})
    assert plugins.executables(root_of(guest)) == []


def test_a_name_of_azurelite_s_own_is_never_taken_over(guest: Guest, shelf: Shelf) -> None:
    shelf.put("evil", "def apply(ctx, options):\n    raise RuntimeError\n", hostname="evil")
    guest.configure(handlers=["hostname"])
    (handler,) = bind_handlers(load_config(root_of(guest)), root_of(guest))
    assert handler.summary == "set the host name"
    assert handler.timeout is None


def test_at_a_later_boot_programs_have_their_own_time(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    """Nobody waits for Ready then; only what is asked of Azure is bounded."""
    shelf.put(
        "limits",
        "FREQUENCY = 'boot'\n"
        "def apply(ctx, options):\n"
        "    ctx.note('no limit' if ctx.system.commands.limit is None else 'a limit')\n",
    )
    guest.on_azure().configure(fabric, handlers=["user", "ssh_keys", "limits:apply", "report_ready"])
    first = provision(Options(root=guest.root, clock=FastClock()))
    later = provision(Options(root=guest.root, clock=FastClock()))
    assert [step.notes for step in first.steps if step.name == "limits:apply"] == [("a limit",)]
    assert [step.notes for step in later.steps if step.name == "limits:apply"] == [("no limit",)]


def test_no_connection_of_the_run_is_open_in_a_plug_in(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    """Two processes that speak on one connection take each other's answers."""
    shelf.put(
        "sockets",
        "import os, socket, stat\n"
        "def apply(ctx, options):\n"
        "    for number in map(int, os.listdir('/proc/self/fd')):\n"
        "        try:\n"
        "            peer = socket.socket(fileno=os.dup(number)).getpeername()\n"
        "        except OSError:\n"
        "            continue  # no socket, not connected, or closed\n"
        f"        if peer[1:] == ({fabric.url.rpartition(':')[2]},):\n"
        "            ctx.note('a connection to Azure')\n"
        "    ctx.note('looked')\n",
    )
    outcome = provisioned(guest, fabric, "sockets:apply")
    assert [step.notes for step in outcome.steps if step.name == "sockets:apply"] == [("looked",)]
    assert states(fabric) == ["Ready"]


class LateClock(FastClock):
    """Every deadline is over as soon as Azure has been told of the VM."""

    def __init__(self, fabric: Simulator) -> None:
        super().__init__()
        self.fabric = fabric

    def monotonic(self) -> float:
        return super().monotonic() + (100_000.0 if self.fabric.reports else 0.0)


def test_after_ready_programs_have_their_own_time(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    """Nobody waits then: what a first boot still does is not cut off by the deadline for Ready."""
    shelf.put(
        "late",
        "def apply(ctx, options):\n"
        "    limit = ctx.system.commands.limit\n"
        "    ctx.note('no limit' if limit is None or limit.remaining() > 0 else 'cut off')\n",
    )
    guest.on_azure().configure(fabric, handlers=["user", "ssh_keys", "report_ready", "late:apply"])
    outcome = provision(Options(root=guest.root, clock=LateClock(fabric)))
    assert states(fabric) == ["Ready"]
    assert [(step.status, step.notes) for step in outcome.steps][-1] == ("done", ("no limit",))
