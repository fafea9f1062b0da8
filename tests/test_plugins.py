"""Handlers from outside: found in three ways, and unable to keep Ready back unless they are required."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit import VM_ID, FastClock, Guest, Shelf

from azurelite import layout, plugins
from azurelite.api import Azure
from azurelite.config.load import load_config
from azurelite.config.schema import ConfigProblemsError
from azurelite.describe.jsonschema import config_schema
from azurelite.describe.options import options_of
from azurelite.errors import ConfigError, HandlerError
from azurelite.handlers import bind_handlers, known_names, look_up, look_up_all
from azurelite.metadata import Secret
from azurelite.outcome import Outcome
from azurelite.record import replace
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


FLOOD = """
import os
def apply(ctx, options):
    for fd in range(3, 100):
        try: os.write(fd, b"not JSON\\n")
        except OSError: pass
"""


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
        found = look_up("greeting")
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
        ("import time\nTIMEOUT = 0.5\ndef apply(ctx, options):\n    time.sleep(300)\n", "timed out"),
        ("import os\ndef apply(ctx, options):\n    os._exit(0)\n", "without an answer"),
        ("import sys\ndef apply(ctx, options):\n    sys.exit(0)\n", "without an answer"),
        ("import os\ndef apply(ctx, options):\n    os.kill(os.getpid(), 9)\n", "signal 9"),
        ("def apply(ctx, options):\n    ctx.report_ready()\n", "cannot report to Azure"),
        ("raise RuntimeError('canary')\n", "unhandled RuntimeError"),
        ("import sys\nsys.exit(0)\n", "ended without an answer"),
        ("import no_such_module_at_all\n", "cannot import module 'no_such_module_at_all'"),
        ("NEEDS = ('usrname',)\ndef apply(ctx, options): pass\n", "'usrname' in NEEDS or USES is not a field"),
        ("FREQUENCY = 'daily'\ndef apply(ctx, options): pass\n", "FREQUENCY must be one of"),
        ("Options = 7\ndef apply(ctx, options): pass\n", "Options must be a frozen dataclass or a Record"),
        ("apply = 7\n", "no function"),
        (OPTIONS.format("text: NoSuchName = 7"), "unusable Options: "),
        (OPTIONS.format("def __post_init__(self): raise RuntimeError('canary')"), "unusable Options: "),
        (OPTIONS.format("def __post_init__(self): import os; os._exit(0)"), "ended without an answer"),
        (RAISING, "x"),
        ("import os\ndef apply(ctx, options):\n    os.closerange(3, 200)\n", "ended without an answer"),
        (FLOOD, "damaged its answer"),
        (
            "import os\nfor fd in range(3, 100):\n    try: os.write(fd, b'{}[')\n    except OSError: pass\n",
            "damaged its answer",
        ),
        ("TIMEOUT = 'soon'\ndef apply(ctx, options): pass\n", "TIMEOUT must be a number"),
        ("def apply(ctx, options):\n    import threading\n    threading.Event().wait()\nTIMEOUT = 0.5\n", "timed out"),
    ],
)
def test_one_that_breaks_blocks_ready_only_where_it_is_required(
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
def test_one_that_is_missing_blocks_ready_only_where_it_is_required(
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
    assert "plug-in acme: unusable Options: " in str(outcome.steps[3].error)
    assert states(fabric) == ["Ready"]


def test_what_it_says_of_its_failure_may_be_anything(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    shelf.put("acme", RAISING, acme="acme")
    outcome = provisioned(guest, fabric, {"acme": {"required": True}})
    assert outcome.exit_code == 1
    assert "reason=failed to provision acme|" in (fabric.reports[0].description or "")
    assert "|message=x|" in (fabric.reports[0].description or "")
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
    outcome = Azure(root=guest.on_azure().root).apply(["greeting"], {"local_hostname": "vm"})
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


HARMLESS = {
    "prints to stdout": ("def apply(ctx, options):\n    print('{\"failure\": 1}')\n", '{"failure": 1}'),
    "prints to stderr": ("import sys\ndef apply(ctx, options):\n    print('hm', file=sys.stderr)\n", "hm"),
    "prints when imported": ("print('hello')\ndef apply(ctx, options): pass\n", "hello"),
    "closes the standard descriptors": ("import os\ndef apply(ctx, options):\n    os.closerange(0, 3)\n", ""),
    "closes the standard streams": ("import sys\ndef apply(ctx, options):\n    sys.stdout.close()\n", ""),
    "needs ssl": (
        ("import ssl, http.client as h, urllib3\n"
         "def apply(ctx, options):\n    print(h.HTTPSConnection, urllib3.HTTPSConnectionPool.scheme)\n"),
        "https",
    ),
    "imports a module of its own name": (
        "import acme_harmless\ndef apply(ctx, options):\n    print(acme_harmless.apply is apply)\n", "True"
    ),
    "reads standard input": ("import sys\ndef apply(ctx, options):\n    print([sys.stdin.read()])\n", "['']"),
    "starts threads": (
        "import threading as t, time\ndef apply(ctx, options):\n    t.Thread(target=time.sleep, args=(99,)).start()\n",
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMLESS)
def test_what_does_no_harm_is_done(
    guest: Guest, fabric: Simulator, shelf: Shelf, case: str, caplog: Any, capfd: Any
) -> None:
    text, logged = HARMLESS[case]
    shelf.put("acme_harmless", text, harmless="acme_harmless")
    caplog.set_level("INFO")
    outcome = provisioned(guest, fabric, {"harmless": {"required": True}})
    assert outcome.exit_code == 0, outcome.reason
    assert states(fabric) == ["Ready"]
    lines = [record.getMessage() for record in caplog.records if record.name == "azurelite.plugins"]
    assert all(line.startswith("harmless: ") for line in lines)
    assert any(logged in line for line in lines) if logged else not lines
    assert capfd.readouterr().out == ""


def test_an_exceptions_text_goes_to_the_log_alone(guest: Guest, fabric: Simulator, shelf: Shelf, caplog: Any) -> None:
    shelf.put("acme", "def apply(ctx, options):\n    raise RuntimeError('canary')\n", acme="acme")
    caplog.set_level("INFO")
    outcome = provisioned(guest, fabric, {"acme": {"required": True}})
    assert "canary" not in str(outcome.as_dict())
    assert "canary" not in (fabric.reports[0].description or "")
    assert "acme: RuntimeError: canary" in [record.getMessage() for record in caplog.records]


RECORD_OPTIONS = """
from azurelite.record import Record
from azurelite.metadata import Secret
from typing import Literal, Mapping, Optional, Union
class Inner(Record):
    name: str = ""
    size: float = 1.5
class Options(Record):
    '''Options.

    Attributes:
        key: a secret.
    '''
    key: Secret = Secret("x")
    mode: Literal["a", "b"] = "b"
    inner: tuple[Inner, ...] = ()
    more: Optional[Mapping[str, int]] = None
    what: Optional[Union[int, str]] = None
    def __post_init__(self):
        if self.mode == "a" and self.what is None:
            raise ValueError("what is needed with mode a")
def apply(ctx, options):
    ctx.system.files.rewrite("/etc/x", repr((options.key.reveal(), options.mode, options.inner[0].size)).encode())
"""
DATACLASS_OPTIONS = (
    RECORD_OPTIONS.replace("from azurelite.record import Record", "from dataclasses import dataclass")
    .replace("class Inner(Record)", "@dataclass(frozen=True)\nclass Inner")
    .replace("class Options(Record)", "@dataclass(frozen=True)\nclass Options")
)


@pytest.mark.parametrize("text", [RECORD_OPTIONS, DATACLASS_OPTIONS], ids=["Record", "dataclass"])
class TestOptions:
    """A plug-in's options are a Record or a standard dataclass."""

    def test_they_are_described_as_their_class_would_be(self, shelf: Shelf, text: str) -> None:
        shelf.put("acme_options", text, acme="acme_options")
        known = look_up("acme")
        assert known is not None
        assert known.options is not None
        own = importlib.import_module("acme_options").Options
        assert options_of(known.options) == options_of(own)
        assert config_schema({"acme": known}) == config_schema({"acme": replace(known, options=own)})
        assert {one.name: one.text for one in options_of(known.options)}["key"] == "a secret."

    def test_they_reach_the_plug_in_as_its_own_class(
        self, guest: Guest, fabric: Simulator, shelf: Shelf, text: str, caplog: Any
    ) -> None:
        shelf.put("acme_options", text, acme="acme_options")
        given = {"key": "canary", "inner": [{"name": "n"}], "required": True}
        outcome = provisioned(guest, fabric, {"acme": given})
        assert outcome.exit_code == 0, outcome.reason
        assert guest.text("etc/x") == "('canary', 'b', 1.5)"
        (handler,) = [h for h in bind_handlers(load_config(root_of(guest)), root_of(guest)) if h.name == "acme"]
        assert handler.options["key"] == Secret("canary")
        assert "canary" not in repr(handler)
        assert "canary" not in caplog.text

    def test_every_mistake_has_its_key_and_line(self, guest: Guest, shelf: Shelf, text: str) -> None:
        shelf.put("acme_options", text, acme="acme_options")
        entries = [{"acme": {"mod": "a", "inner": [{"name": 7}]}}, {"acme": {"id": "two", "mode": "a"}}]
        guest.configure(handlers=entries)
        with pytest.raises(ConfigProblemsError) as caught:
            bind_handlers(load_config(root_of(guest)), root_of(guest))
        found = [(problem.dotted, problem.at.line if problem.at else 0) for problem in caught.value.problems]
        assert sorted(key for key, _ in found) == [
            "handlers[0].acme.inner[0].name", "handlers[0].acme.mod", "handlers[1].acme"
        ]  # fmt: skip
        assert all(line > 0 for _, line in found)


def test_one_interpreter_answers_for_all_and_none_is_started_without_plug_ins(
    guest: Guest, shelf: Shelf, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    text = f"import os\nopen({str(note)!r}, 'a').write(f'{{os.getpid()}}\\n')\ndef apply(ctx, options): pass\n"
    entries = []
    for name in ("one", "two", "three"):
        shelf.put(f"acme_{name}", text)
        entries.append(f"acme_{name}:apply")
    guest.configure(handlers=entries)
    bind_handlers(load_config(root_of(guest)), root_of(guest))
    pids = note.read_text().split()
    assert len(pids) == 3
    assert len(set(pids)) == 1
    assert str(os.getpid()) not in pids
    assert not {f"acme_{name}" for name in ("one", "two", "three")} & set(sys.modules)
    started: list[str] = []
    sys.addaudithook(lambda event, _: started.append(event) if event == "subprocess.Popen" else None)
    guest.configure(handlers=["hostname", "user"])
    bind_handlers(load_config(root_of(guest)), root_of(guest))
    assert started == []


def test_one_that_ends_the_interpreter_costs_the_others_nothing(shelf: Shelf) -> None:
    shelf.put("acme_good", "def apply(ctx, options): pass\n")
    shelf.put("acme_bad", "import os\nos._exit(0)\n")
    found = look_up_all(["acme_bad:apply", "acme_good:apply", "acme_bad:other", "hostname"])
    bad = {name for name, known in found.items() if isinstance(known, HandlerError)}
    assert bad == {"acme_bad:apply", "acme_bad:other"}
    assert "plug-in acme_bad:apply ended without an answer" in str(found["acme_bad:apply"])


def test_it_is_given_what_the_run_knows(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    shelf.put(
        "curious",
        "def apply(ctx, options):\n"
        "    assert ctx.fabric.imds.fetch_instance(ctx.fabric.reading)\n"
        "    assert ctx.memory.remember('seen', 'yes') and ctx.memory.recall('seen') == 'yes'\n"
        "    ctx.note(repr([ctx.system.root.path, ctx.system.dry_run, ctx.metadata.public_ssh_keys is not None,\n"
        "        [step.name for step in ctx.outcome.steps], [entry.name for entry in ctx.config.handlers][-2:],\n"
        "        0 < ctx.fabric.deadline.remaining() <= 3600, ctx.system.commands.limit is not None]))\n",
    )
    outcome = provisioned(guest, fabric, {"curious:apply": {"required": True}})
    assert outcome.exit_code == 0, outcome.reason
    told = [guest.root, False, True, ["hostname", "user", "ssh_keys"], ["curious:apply", "report_ready"], True, True]
    assert outcome.steps[3].notes == (repr(told),)


def test_in_a_dry_run_it_finds_what_earlier_steps_would_have_made(
    guest: Guest, fabric: Simulator, shelf: Shelf
) -> None:
    shelf.put(
        "curious",
        "def apply(ctx, options):\n"
        "    user = ctx.system.accounts.user(ctx.metadata.username)\n"
        "    ctx.note(f'{user.name} {ctx.system.files.read(\"/etc/hostname\")}')\n",
    )
    outcome = provisioned(guest, fabric, {"curious:apply": {"required": True}}, dry_run=True)
    assert outcome.steps[3].error is None
    assert outcome.steps[3].notes[0].endswith("b'web-1\\n'")


@pytest.mark.parametrize("how", ["-c", "-m"])
def test_the_current_folder_is_never_searched(guest: Guest, tmp_path: Path, how: str) -> None:
    (tmp_path / "stray.py").write_text("def apply(ctx, options): pass\n")
    guest.on_azure().configure(handlers=[{"stray:apply": {"required": True}}])
    words = ["-m", "azurelite"] if how == "-m" else ["-c", "from azurelite.cli import command; command()"]
    words += ["handlers", "stray:apply", "--root", guest.root]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert "cannot import module 'stray'" in done.stdout + done.stderr


@pytest.mark.parametrize("how", ["-c", "-m"])
def test_the_current_folder_is_searched_where_it_is_named(guest: Guest, tmp_path: Path, how: str) -> None:
    (tmp_path / "stray.py").write_text("SUMMARY = 'it was found'\ndef apply(ctx, options): pass\n")
    words = ["-m", "azurelite"] if how == "-m" else ["-c", "from azurelite.cli import command; command()"]
    named = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    done = subprocess.run(
        [sys.executable, *words, "handlers", "stray:apply", "--root", guest.root],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PYTHONPATH": named},
    )  # fmt: skip
    assert "it was found" in done.stdout + done.stderr


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
    """Every deadline is over as soon as Azure has accepted Ready."""

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self.accepted = guest.path(f"var/lib/azurelite/vms/{VM_ID}/handlers/report_ready")

    def monotonic(self) -> float:
        return super().monotonic() + (100_000.0 if self.accepted.exists() else 0.0)


def test_after_ready_programs_have_their_own_time(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    """Nobody waits then: what a first boot still does is not cut off by the deadline for Ready."""
    shelf.put(
        "late",
        "def apply(ctx, options):\n"
        "    limit = ctx.system.commands.limit\n"
        "    ctx.note('no limit' if limit is None or limit.remaining() > 0 else 'cut off')\n",
    )
    guest.on_azure().configure(fabric, handlers=["user", "ssh_keys", "report_ready", "late:apply"])
    outcome = provision(Options(root=guest.root, clock=LateClock(guest)))
    assert states(fabric) == ["Ready"]
    assert [(step.status, step.notes) for step in outcome.steps][-1] == ("done", ("no limit",))


SECRET_TEXT = """
from azurelite.metadata import Secret
from azurelite.record import Record
class Options(Record):
    pin: Secret = Secret("x")
def apply(ctx, options):
    int(options.pin.reveal())
"""


def test_a_secret_in_an_exception_is_masked(guest: Guest, fabric: Simulator, shelf: Shelf, caplog: Any) -> None:
    shelf.put("acme_secret", SECRET_TEXT, acme="acme_secret")
    caplog.set_level("DEBUG")
    outcome = provisioned(guest, fabric, {"acme": {"pin": "hunter2canary"}})
    assert "hunter2canary" not in caplog.text + str(outcome.as_dict())
    assert "ValueError: invalid literal for int() with base 10: '***'" in caplog.text


FALSE_ANSWERS = {
    "an answer of its own before the failure": (
        "import os\nREQUIRED = True\ndef apply(ctx, options):\n    for number in range(3, 40):\n        try:\n"
        '            os.write(number, b\'{"changes": [], "notes": [], "failure": null}\\n\')\n'
        "        except OSError: pass\n    raise RuntimeError\n"
    ),
    "a forked child that returns first": (
        "import os, time\nREQUIRED = True\ndef apply(ctx, options):\n    if os.fork():\n        time.sleep(1)\n"
        "        raise RuntimeError\n"
    ),
}


@pytest.mark.parametrize("case", FALSE_ANSWERS)
def test_ready_is_not_sent_for_an_answer_that_is_not_the_plug_ins(
    guest: Guest, fabric: Simulator, shelf: Shelf, case: str
) -> None:
    shelf.put("acme_false", FALSE_ANSWERS[case], acme="acme_false")
    assert provisioned(guest, fabric, "acme").exit_code == 1
    assert states(fabric) == ["NotReady"]


ODD_OPTIONS = """
from dataclasses import dataclass, field
@dataclass(frozen=True)
class Options:
    items: list = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    computed: int = field(init=False)
    def __post_init__(self):
        object.__setattr__(self, "computed", len(self.items))
def apply(ctx, options):
    ctx.note(f"{options.items} {options.named} {options.computed}")
"""


def test_options_of_types_that_yaml_does_not_name_reach_the_plug_in(
    guest: Guest, fabric: Simulator, shelf: Shelf
) -> None:
    shelf.put("acme_odd", ODD_OPTIONS, acme="acme_odd")
    outcome = provisioned(guest, fabric, {"acme": {"items": ["a"]}})
    assert [step.notes for step in outcome.steps if step.name == "acme"] == [("['a'] [] 1",)]


def test_a_plug_in_holds_the_lock_of_its_run(guest: Guest, fabric: Simulator, shelf: Shelf) -> None:
    """A run that is killed leaves its plug-in behind; the next one waits for it."""
    shelf.put(
        "acme_lock",
        "import os\ndef apply(ctx, options):\n"
        "    paths = [os.path.realpath(f'/proc/self/fd/{number}') for number in os.listdir('/proc/self/fd')]\n"
        f"    ctx.note(str({guest.root + layout.LOCK!r} in paths))\n",
        acme="acme_lock",
    )
    outcome = provisioned(guest, fabric, "acme")
    assert [step.notes for step in outcome.steps if step.name == "acme"] == [("True",)]
