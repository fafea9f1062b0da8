"""The plan: what runs, what is skipped and why, what cannot run; and the digest of what a handler works with."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional

import pytest
from kit import VM_ID, FastClock, Guest

from azurelite.config.condition import parse_condition
from azurelite.datasource import missing_by
from azurelite.errors import FabricError
from azurelite.handlers import Handler, user_data
from azurelite.metadata import Gaps, Metadata, Secret, SshKey
from azurelite.record import replace
from azurelite.run.plan import Step, inputs_of, make_plan
from azurelite.state.store import State
from azurelite.system.machine import System

CANARY = "hunter2-canary"
NO_IMDS = FabricError("IMDS is silent", reason="imds silent", data={"url": "x"})
VM = Metadata(vm_id=VM_ID, username="azureuser", tags={"role": "web"}, raw={"imds": {"x": "y"}})


@dataclasses.dataclass(frozen=True)
class Inner:
    password: Optional[Secret] = None


@dataclasses.dataclass(frozen=True)
class Options:
    word: str = ""
    secret: Optional[Secret] = None
    inners: tuple[Inner, ...] = ()
    env: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def handler(*when: str, **changed: Any) -> Handler:
    base = Handler(
        name="x",
        summary="does x",
        needs=(),
        uses=(),
        frequency="instance",
        required=False,
        options=Options(),
        apply=lambda ctx, options: None,
        when=tuple(parse_condition(text) for text in when),
    )
    return replace(base, **changed)


def known(
    metadata: Metadata, failures: Mapping[str, FabricError], lost: Optional[Mapping[str, FabricError]] = None
) -> Metadata:
    """The metadata as a crawl returns it whose sources failed so."""
    missing = {**missing_by(metadata, failures), **(lost or {})}
    return replace(metadata, gaps=Gaps(failures, missing, lost=tuple(lost or ())))


def step(one: Handler, metadata: Metadata, **more: Any) -> Step:
    return make_plan([one], metadata, more.pop("state", None), **more)[0]


LOST = FabricError("custom data is lost", reason="lost")
DATA = Secret(b"#!/bin/sh\n")
BOTH = ("custom_data", "user_data")


@pytest.mark.parametrize(
    ("sources", "given", "lost", "required", "runs"),
    [
        (BOTH, {"user_data": DATA}, "custom_data", False, True),
        (BOTH, {"user_data": DATA}, "custom_data", True, False),
        (BOTH, {}, "custom_data", False, False),
        (BOTH, {"custom_data": DATA}, "user_data", False, True),
        (BOTH, {}, "user_data", False, False),
        (("user_data",), {}, "custom_data", True, True),
        (("custom_data",), {"user_data": DATA}, "custom_data", False, False),
    ],
)
def test_user_data_is_run_where_custom_data_is_lost_unless_the_handler_is_required(
    sources: Any, given: dict[str, Any], lost: str, required: bool, runs: bool
) -> None:
    one = handler(name="user_data", uses=user_data.USES, options=user_data.Options(sources=sources), required=required)
    made = step(one, known(replace(VM, **given), {}, {lost: LOST}))
    assert (made.blocked is None) == runs
    assert made.again != runs


@pytest.mark.parametrize(
    ("when", "skip"),
    [
        ([], None),
        (["tags.role == web"], None),
        (["tags.role == web", "username", "not password"], None),
        (["tags.role == db"], "condition `tags.role == db` is false"),
        (["tags.role == web", "tags.role != web", "password"], "condition `tags.role != web` is false"),
        (["  not  tags.role "], "condition `not  tags.role` is false"),
        (["vm_size == big"], "condition `vm_size == big` is false"),
        (["raw.ovf.x == y"], "condition `raw.ovf.x == y` is false"),
    ],
)
@pytest.mark.parametrize("required", [False, True])
def test_a_step_whose_condition_does_not_hold_is_skipped(when: list[str], skip: str | None, required: bool) -> None:
    made = step(handler(*when, required=required), VM)
    assert (made.skip, made.blocked) == (skip, None)


@pytest.mark.parametrize(
    ("when", "unsure"),
    [
        (["vm_size == big"], "vm_size == big"),
        (["not vm_size"], "not vm_size"),
        (["raw.imds.x == y"], "raw.imds.x == y"),
        (["username", "tags.role == web", "vm_size == big"], "tags.role == web"),
        (["public_ssh_keys.0"], "public_ssh_keys.0"),
    ],
)
def test_a_condition_on_a_source_that_failed_is_not_known(when: list[str], unsure: str) -> None:
    crawled = known(Metadata(vm_id=VM_ID, username="azureuser"), {"imds": NO_IMDS})
    text = f"cannot check condition `{unsure}`: IMDS is silent"
    made = step(handler(*when), crawled)
    assert (made.skip, made.blocked) == (text, None)
    made = step(handler(*when, required=True), crawled)
    assert made.skip is None
    assert isinstance(made.blocked, FabricError)
    assert (str(made.blocked), made.blocked.reason, made.blocked.data) == (text, "imds silent", {"url": "x"})


@pytest.mark.parametrize(
    ("when", "crawled", "skip"),
    [
        # What is known decides, though something else is not.
        (
            ["vm_size == big", "username == other"],
            known(VM, {"imds": NO_IMDS}),
            "condition `username == other` is false",
        ),
        # A field that is there needs no source any more; nor does one that the failed source never gives.
        (["tags.role == web"], known(VM, {"imds": NO_IMDS}), None),
        (["tags.nothing"], known(VM, {"imds": NO_IMDS}), "condition `tags.nothing` is false"),
        (["password"], known(VM, {"imds": NO_IMDS}), "condition `password` is false"),
        (["raw.goal_state.x"], known(VM, {"imds": NO_IMDS}), "condition `raw.goal_state.x` is false"),
        (["raw"], known(Metadata(), {"imds": NO_IMDS}), "condition `raw` is false"),
        (
            ["provenance.region == imds"],
            known(Metadata(), {"imds": NO_IMDS}),
            "condition `provenance.region == imds` is",
        ),
        (
            ["public_ssh_keys"],
            known(VM, {}, {"public_ssh_keys": FabricError("the keys are lost")}),
            "cannot check condition `public_ssh_keys`: the keys are lost",
        ),
        (
            ["raw.goal_state.x"],
            known(VM, {"wireserver": FabricError("no answer")}),
            "cannot check condition `raw.goal_state.x`: no answer",
        ),
    ],
)
def test_what_is_known_decides(when: list[str], crawled: Metadata, skip: str | None) -> None:
    made = step(handler(*when), crawled)
    assert made.blocked is None
    assert made.skip == skip if skip is None else (made.skip or "").startswith(skip)


def test_the_conditions_come_ahead_of_what_is_needed() -> None:
    one = handler("tags.role == db", needs=("password",), required=True)
    assert step(one, VM).skip == "condition `tags.role == db` is false"
    assert step(handler("tags.role == web", needs=("password",)), VM).skip == "Azure has no password for this VM"


def test_what_is_done_is_done_whatever_the_conditions_say(guest: Guest) -> None:
    state = State(System(guest.root), VM_ID, FastClock())
    one = handler("vm_size == big", required=True, id="mine")
    state.finish("mine", "instance", inputs=inputs_of(one, VM), lasting=False)
    made = step(one, known(VM, {"imds": NO_IMDS}), state=state)
    assert made.skip == "done earlier for this VM"


def test_records_go_by_the_id(guest: Guest) -> None:
    state = State(System(guest.root), VM_ID, FastClock())
    first, second = handler(id="first"), handler(id="second")
    state.finish(first.key, "instance", inputs=inputs_of(first, VM), lasting=False)
    made = make_plan([first, second], VM, state)
    assert [one.skip for one in made] == ["done earlier for this VM", None]


def test_a_later_boot_judges_conditions_of_what_runs_then() -> None:
    boot, once = handler("tags.role == db", frequency="boot"), handler("tags.role == db")
    made = make_plan([boot, once], VM, None, later_boot=True)
    assert [one.skip for one in made] == ["condition `tags.role == db` is false", "this VM was provisioned earlier"]


A, B = Secret(f"{CANARY}-a"), Secret(f"{CANARY}-b")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Options(word="a"), Options(word="b")),
        (Options(secret=A), Options(secret=B)),
        (Options(secret=A), Options()),
        (Options(secret=Secret("a")), Options(secret=Secret("b"))),
        (Options(secret=Secret("")), Options()),
        (Options(inners=(Inner(A),)), Options(inners=(Inner(B),))),
        (Options(inners=(Inner(A), Inner(B))), Options(inners=(Inner(B), Inner(A)))),
        (Options(inners=(Inner(A), Inner())), Options(inners=(Inner(), Inner(A)))),
        (Options(env={"x": A}), Options(env={"x": B})),
        (Options(env={"x": [{"y": A}]}), Options(env={"x": [{"y": B}]})),
        (Options(word="x", secret=A), Options(word="y", secret=A)),
        (
            Options(inners=(Inner(Secret("ab")), Inner(Secret("c")))),
            Options(inners=(Inner(Secret("a")), Inner(Secret("bc")))),
        ),
    ],
)
def test_other_options_have_another_digest(one: Options, other: Options) -> None:
    digests = [inputs_of(handler(options=options), VM) for options in (one, other, one)]
    assert digests[0] == digests[2]
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"username": "other"},
        {"password": Secret("other")},
        {"custom_data": Secret(b"\xff")},
        {"public_ssh_keys": (SshKey.read("k"),)},
        {"tags": {"role": "db"}},
    ],
)
def test_other_metadata_has_another_digest(changed: dict[str, Any]) -> None:
    one = handler(needs=("username",), uses=("password", "custom_data", "public_ssh_keys", "tags"))
    base = replace(VM, password=Secret("p"))
    assert inputs_of(one, base) == inputs_of(one, base)
    assert inputs_of(one, base) != inputs_of(one, replace(base, **changed))


def test_a_digest_is_short_and_salted_where_it_holds_a_secret() -> None:
    one = handler(options=Options(secret=A))
    digests = {
        inputs_of(one, VM),
        inputs_of(replace(one, id="other"), VM),
        inputs_of(one, replace(VM, vm_id="other")),
    }
    assert len(digests) == 3
    assert all(len(digest or "") == 64 for digest in digests)


def test_while_a_need_is_missing_there_is_no_digest() -> None:
    assert inputs_of(handler(needs=("password",), options=Options(secret=A)), VM) is None
