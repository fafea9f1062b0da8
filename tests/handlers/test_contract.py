"""What every handler promises: its module's names, and that a dry run tells the truth and a second run does nothing."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kit import BASE, ED25519, VM_ID, FastClock, Guest

from azurelite.fabric.client import Fabric
from azurelite.handlers import BUILTIN, Context
from azurelite.metadata import Metadata, Secret, SshKey
from azurelite.outcome import Outcome
from azurelite.system.changes import Change
from azurelite.system.machine import System

MODULES = {name: importlib.import_module(place) for name, place in BUILTIN.items()}
FIELDS = {field.name for field in dataclasses.fields(Metadata)}

KNOWN = Metadata(
    cloud_name="azure",
    platform="azure",
    instance_id=VM_ID,
    vm_id=VM_ID,
    local_hostname="azure_vm.example",
    region="westeurope",
    vm_size="Standard_B2s",
    username="azureuser",
    password=Secret("canary-password"),
    disable_password_authentication=True,
    public_ssh_keys=(SshKey(ED25519), SshKey("damaged")),
    custom_data=Secret(b"canary-custom"),
    user_data=Secret(b"canary-user"),
    tags={"a": "b"},
)

# Options beside the defaults that lead a handler along other ways.
WISHES: dict[str, list[dict[str, Any]]] = {
    "hostname": [{"fqdn": "keep"}],
    "user": [
        {"groups": ("wheel", "docker"), "create_groups": True},
        {"groups": ("wheel", "wheel", "docker"), "sudo": "password"},
        {"sudo": "none"},
    ],
}
CASES = [(name, options) for name in BUILTIN for options in [{}, *WISHES.get(name, [])]]


@pytest.fixture(
    params=[
        "edit",
        pytest.param(
            "shadow",
            marks=[
                pytest.mark.spawns,
                pytest.mark.skipif(os.geteuid() != 0, reason="needs root: shadow-utils work for root only"),
            ],
        ),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """Which backend changes the accounts: the direct edit, or shadow-utils, which want a login.defs."""
    return str(request.param)


@pytest.fixture(params=["new", "adopted"])
def world(request: pytest.FixtureRequest, guest: Guest, kind: str, tmp_path: Path) -> list[Guest]:
    """Twins: a guest without and with an account of the administrator's name."""
    if kind == "shadow":
        guest.put({"etc/login.defs": "UID_MIN 1000\nUID_MAX 60000\n"})
    if request.param == "adopted":
        guest.put({"etc/passwd": BASE["etc/passwd"] + "azureuser:x:1500:1500::/home/azureuser:/bin/sh\n"})
        guest.put({"etc/shadow": BASE["etc/shadow"] + "azureuser:$6$kept:19000:0:99999:7:::\n"})
        guest.put({"home/azureuser/.profile": "", "etc/group": BASE["etc/group"] + "azureuser:x:1500:\n"})
    shutil.copytree(guest.folder, tmp_path / "twin")
    return [guest, Guest(tmp_path / "twin")]


def run(steps: list[tuple[ModuleType, Any]], root: str, *, dry_run: bool) -> tuple[tuple[Change, ...], list[str]]:
    """Apply handlers, one after the other, on one machine; what changed and what was noted."""
    system = System(root, dry_run=dry_run, clock=FastClock())
    notes: list[str] = []
    ctx = Context(KNOWN, system, Fabric(0), Outcome("applied", ""), notes.append, lambda: None)
    for module, options in steps:
        module.apply(ctx, options)
    return system.journal.since(0), notes


@pytest.mark.parametrize("name", BUILTIN)
class TestModule:
    def test_it_says_what_it_is(self, name: str) -> None:
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
        assert dataclasses.is_dataclass(options)
        assert options.__dataclass_params__.frozen
        assert options() == options()
        assert options.__doc__
        for field in dataclasses.fields(options):
            assert f"{field.name}:" in options.__doc__, f"{field.name} is not told of in the docstring"

    def test_apply_takes_a_context_and_options(self, name: str) -> None:
        apply = MODULES[name].apply
        assert apply.__doc__
        assert list(inspect.signature(apply).parameters) == ["ctx", "options"]


def steps_for(name: str, options: dict[str, Any]) -> list[tuple[ModuleType, Any]]:
    """The handler, after the account that it may need."""
    before = [(MODULES["user"], MODULES["user"].Options())] if name == "ssh_keys" else []
    return [*before, (MODULES[name], MODULES[name].Options(**options))]


@pytest.mark.parametrize(("name", "options"), CASES)
class TestRuns:
    def test_a_dry_run_leaves_the_tree_byte_identical(
        self, world: list[Guest], name: str, options: dict[str, Any]
    ) -> None:
        before = world[0].snapshot()
        run(steps_for(name, options), world[0].root, dry_run=True)
        assert world[0].snapshot() == before

    def test_a_dry_run_tells_what_the_real_one_does(
        self, world: list[Guest], name: str, options: dict[str, Any]
    ) -> None:
        steps = steps_for(name, options)
        told = run(steps, world[0].root, dry_run=True)
        assert told == run(steps, world[1].root, dry_run=False)
        assert "canary" not in str(told)

    def test_a_second_run_changes_nothing(self, world: list[Guest], name: str, options: dict[str, Any]) -> None:
        steps = steps_for(name, options)
        run(steps, world[0].root, dry_run=False)
        before = world[0].snapshot()
        assert run(steps, world[0].root, dry_run=False)[0] == ()
        assert world[0].snapshot() == before


def test_all_of_them_in_one_run_keep_the_same_promises(world: list[Guest]) -> None:
    order = ["hostname", "user", "ssh_keys", *sorted(set(BUILTIN) - {"hostname", "user", "ssh_keys", "report_ready"})]
    steps = [(MODULES[name], MODULES[name].Options()) for name in [*order, "report_ready"]]
    before = world[0].snapshot()
    told = run(steps, world[0].root, dry_run=True)
    assert world[0].snapshot() == before
    assert told == run(steps, world[1].root, dry_run=False)
    assert world[1].text("home/azureuser/.ssh/authorized_keys") == f"{ED25519}\n"
    after = world[1].snapshot()
    assert run(steps, world[1].root, dry_run=False)[0] == ()
    assert world[1].snapshot() == after


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_key_folder_from_skel_is_told_of_as_it_will_be(world: list[Guest], mode: int) -> None:
    for guest in world:
        guest.put({"etc/skel/.ssh/authorized_keys": "# from skel\n"}).path("etc/skel/.ssh").chmod(mode)
    steps = [(MODULES[name], MODULES[name].Options()) for name in ("user", "ssh_keys")]
    assert run(steps, world[0].root, dry_run=True) == run(steps, world[1].root, dry_run=False)


def test_the_same_handler_twice_in_one_run_is_told_of_as_it_will_be(world: list[Guest]) -> None:
    steps = [(MODULES["user"], MODULES["user"].Options(groups=("wheel",))) for _ in range(2)]
    assert run(steps, world[0].root, dry_run=True) == run(steps, world[1].root, dry_run=False)


def test_ready_is_reported_once_and_never_in_a_dry_run(guest: Guest) -> None:
    ready = MODULES["report_ready"]
    for dry_run, expected in ((True, []), (False, ["ready"])):
        said: list[str] = []
        system = System(guest.root, dry_run=dry_run)
        ctx = Context(KNOWN, system, Fabric(0), Outcome("applied", ""), said.append, lambda: said.append("ready"))  # noqa: B023
        ready.apply(ctx, ready.Options())
        assert said == expected
