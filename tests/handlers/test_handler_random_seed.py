"""`random_seed`: added once, never shown. The system call is tested with `system/entropy.py`."""

from __future__ import annotations

from typing import Callable

import pytest
from kit import VM_ID, FastClock, Guest

from azurelite.handlers import Context
from azurelite.handlers.random_seed import Options, apply
from azurelite.metadata import Secret
from azurelite.record import replace
from azurelite.state.store import Memory
from azurelite.system.machine import System

SEED = Secret(b"canary-seed" * 10)


@pytest.fixture
def host(guest: Guest, context: Callable[..., Context]) -> Callable[..., Context]:
    """A dry run on this machine's own root, with the memory of a guest."""

    def make(seed: Secret) -> Context:
        system = System("/", dry_run=True, clock=FastClock())
        remembering = Memory(System(guest.root).files, VM_ID)
        return replace(context(random_seed=seed), system=system, memory=remembering)

    return make


@pytest.mark.parametrize(("credit", "said"), [(False, "mixed in"), (True, "credited as entropy")])
def test_the_same_bytes_are_added_once(host: Callable[..., Context], credit: bool, said: str) -> None:
    ctx = host(SEED)
    apply(ctx, Options(credit=credit))
    assert [str(change) for change in ctx.system.journal.since(0)] == [f"seed /dev/urandom (110 bytes {said})"]
    again = host(SEED)
    apply(again, Options(credit=credit))
    assert len(again.system.journal) == 0
    other = host(Secret(b"another boot's"))
    apply(other, Options(credit=credit))
    assert len(other.system.journal) == 1


def test_the_memory_does_not_reveal_the_seed(host: Callable[..., Context], guest: Guest) -> None:
    apply(host(SEED), Options())
    kept = [content for _, _, _, content in guest.snapshot().values()]
    assert not any(b"canary" in content for content in kept)


def test_without_bytes_and_in_a_foreign_root_nothing_is_done(
    host: Callable[..., Context], context: Callable[..., Context], guest: Guest
) -> None:
    before = guest.snapshot()
    for ctx in (host(Secret(b"")), context(random_seed=SEED), context()):
        apply(ctx, Options())
        assert len(ctx.system.journal) == 0
    assert guest.snapshot() == before
