"""The contract of all handlers: names of the module, a dry run that reports all changes, a second run without any."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import shutil
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import contractkit
import pytest
import yaml
from kit import BASE, ED25519, VM_ID, FastClock, Guest

from azurelite.config.document import Document
from azurelite.config.schema import bind, fields_of, has_keys
from azurelite.fabric.client import Fabric
from azurelite.handlers import BUILTIN, Context
from azurelite.metadata import Metadata, Secret
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.changes import Change
from azurelite.system.machine import System

MODULES = {name: importlib.import_module(place) for name, place in BUILTIN.items()}
FIELDS = {field.name for field in Metadata.FIELDS}

KNOWN = contractkit.known(
    "azureuser",
    custom_data=Secret(b"canary-custom"),
    user_data=Secret(b"canary-user"),
    network={
        "interface": [
            {
                "macAddress": "000D3A5E7B21",
                "ipv4": {
                    "ipAddress": [{"privateIpAddress": "10.0.0.4"}, {"privateIpAddress": "10.0.0.5"}],
                    "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
                },
                "ipv6": {"ipAddress": []},
            },
            {"macAddress": "000D3A5E7B22", "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.6"}]}},
            {"macAddress": "damaged", "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.7"}]}},
        ]
    },
)

LEAST: dict[str, dict[str, Any]] = {"run": {"argv": ["/bin/true"]}}  # what a handler must be given
WISHES = Path(__file__).parent / "wishes"  # NAME.yaml: further options and guest files to run the handler NAME with


@dataclasses.dataclass(frozen=True)
class Case:
    """A handler with its options in YAML, and the files of the guest.

    Attributes:
        name: the handler.
        options: its options.
        files: guest path -> text, written to the guest first.
        before: handlers that run before it, with their defaults.
    """

    name: str
    options: dict[str, Any]
    files: dict[str, str]
    before: list[str]

    def steps(self) -> list[tuple[ModuleType, Any]]:
        """The handlers to run, each with its options."""
        bound = bind(MODULES[self.name].Options, self.options, Document({}, {}), (self.name,))
        return [*((MODULES[name], MODULES[name].Options()) for name in self.before), (MODULES[self.name], bound)]


def cases() -> list[Any]:
    """The cases: every handler with its defaults, and with the options of its YAML file."""
    found = []
    for name in BUILTIN:
        path = WISHES / f"{name}.yaml"
        wishes = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
        for number, wish in enumerate([{"options": LEAST.get(name, {})}, *wishes]):
            case = Case(name, wish.get("options", {}), wish.get("files", {}), wish.get("before", []))
            found.append(pytest.param(case, id=f"{name}-{number}"))
    return found


@pytest.fixture(
    params=[
        "edit",
        "empty",
        pytest.param(
            "shadow",
            marks=[
                pytest.mark.skipif(os.geteuid() != 0, reason="needs root: shadow-utils work for root only"),
            ],
        ),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """The content of the root: files to edit directly, also the files that shadow-utils need, or nothing."""
    return str(request.param)


@pytest.fixture(params=["new", "adopted"])
def world(request: pytest.FixtureRequest, guest: Guest, kind: str, tmp_path: Path) -> list[Guest]:
    """Two equal guests, without or with an account of the administrator's name."""
    if kind == "shadow":
        guest.put({"etc/login.defs": "UID_MIN 1000\nUID_MAX 60000\n"})
    if kind == "empty":
        shutil.rmtree(guest.folder)
        guest.folder.mkdir()
    elif request.param == "adopted":
        guest.put({"etc/passwd": BASE["etc/passwd"] + "azureuser:x:1500:1500::/home/azureuser:/bin/sh\n"})
        guest.put({"etc/shadow": BASE["etc/shadow"] + "azureuser:$6$kept:19000:0:99999:7:::\n"})
        guest.put({"home/azureuser/.profile": "", "etc/group": BASE["etc/group"] + "azureuser:x:1500:\n"})
    shutil.copytree(guest.folder, tmp_path / "twin")
    return [guest, Guest(tmp_path / "twin")]


def run(
    steps: list[tuple[ModuleType, Any]], root: str, *, dry_run: bool
) -> tuple[tuple[Change, ...], list[str], list[Any]]:
    """Apply the handlers in order on one machine. Returns the changes, the notes and errors, and the contents."""
    system = System(root, dry_run=dry_run, clock=FastClock())
    system.journal.keeps_contents = True
    changes, said = contractkit.run(KNOWN, steps, system)
    return changes, said, [(change.before, change.after) for change in changes]


@pytest.mark.parametrize("name", BUILTIN)
class TestModule:
    def test_its_module_has_the_required_names(self, name: str) -> None:
        module = MODULES[name]
        assert module.__doc__
        assert isinstance(module.SUMMARY, str)
        assert module.SUMMARY
        assert "\n" not in module.SUMMARY
        assert isinstance(module.NEEDS, tuple)
        assert set(module.NEEDS) <= FIELDS
        assert module.FREQUENCY in ("instance", "boot", "once")
        assert isinstance(module.REQUIRED, bool)

    def test_its_options_are_frozen_and_all_have_defaults(self, name: str) -> None:
        options = MODULES[name].Options
        assert has_keys(options)
        least = {key: tuple(value) for key, value in LEAST.get(name, {}).items()}
        assert options(**least) == options(**least)
        assert options.__doc__
        for field in fields_of(options):
            assert f"{field.name}:" in options.__doc__, f"{field.name} is not in the docstring"

    def test_apply_takes_a_context_and_options(self, name: str) -> None:
        apply = MODULES[name].apply
        assert apply.__doc__
        assert list(inspect.signature(apply).parameters) == ["ctx", "options"]


@pytest.mark.spawns
@pytest.mark.thorough
@pytest.mark.parametrize("case", cases())
def test_a_dry_run_changes_nothing_but_reports_all_changes_and_a_second_run_has_none(
    world: list[Guest], case: Case
) -> None:
    for guest in world:
        guest.put(case.files)
    before = world[0].snapshot()
    told = run(case.steps(), world[0].root, dry_run=True)
    assert world[0].snapshot() == before
    assert told == run(case.steps(), world[1].root, dry_run=False)
    assert "canary" not in str(told)
    after = world[1].snapshot()
    assert run(case.steps(), world[1].root, dry_run=False)[0] == ()
    assert world[1].snapshot() == after


@pytest.mark.spawns
def test_all_handlers_in_one_run_keep_the_contract(world: list[Guest], kind: str) -> None:
    order = ["hostname", "user", "ssh_keys", *sorted(set(BUILTIN) - {"hostname", "user", "ssh_keys", "report_ready"})]
    least = {name: {key: tuple(value) for key, value in given.items()} for name, given in LEAST.items()}
    steps = [(MODULES[name], MODULES[name].Options(**least.get(name, {}))) for name in [*order, "report_ready"]]
    before = world[0].snapshot()
    told = run(steps, world[0].root, dry_run=True)
    assert world[0].snapshot() == before
    assert told == run(steps, world[1].root, dry_run=False)
    if kind != "empty":
        assert world[1].text("home/azureuser/.ssh/authorized_keys") == f"{ED25519}\n"
    after = world[1].snapshot()
    assert run(steps, world[1].root, dry_run=False)[0] == ()
    assert world[1].snapshot() == after


@pytest.mark.spawns
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_dry_run_knows_a_key_folder_from_skel(world: list[Guest], mode: int) -> None:
    for guest in world:
        guest.put({"etc/skel/.ssh/authorized_keys": "# from skel\n"}).path("etc/skel/.ssh").chmod(mode)
    steps = [(MODULES[name], MODULES[name].Options()) for name in ("user", "ssh_keys")]
    assert run(steps, world[0].root, dry_run=True) == run(steps, world[1].root, dry_run=False)


@pytest.mark.spawns
def test_a_dry_run_knows_what_the_same_handler_did_before(world: list[Guest]) -> None:
    steps = [(MODULES["user"], MODULES["user"].Options(groups=("wheel",))) for _ in range(2)]
    assert run(steps, world[0].root, dry_run=True) == run(steps, world[1].root, dry_run=False)


def test_ready_is_reported_once_and_never_in_a_dry_run(guest: Guest) -> None:
    ready = MODULES["report_ready"]
    for dry_run, expected in ((True, []), (False, ["ready"])):
        said: list[str] = []
        system = System(guest.root, dry_run=dry_run)
        ctx = Context(
            KNOWN,
            system,
            Fabric(0),
            Outcome("applied", ""),
            said.append,
            partial(said.append, "ready"),
            Memory(system.files, VM_ID),
        )
        ready.apply(ctx, ready.Options())
        assert said == expected
