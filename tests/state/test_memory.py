"""What is remembered, and that it is said when nothing can be."""

from __future__ import annotations

from kit import VM_ID, FastClock, Guest

from azurelite.state.store import Memory
from azurelite.system.machine import System


def memory(guest: Guest, *, dry_run: bool = False) -> Memory:
    return Memory(System(guest.root, dry_run=dry_run, clock=FastClock()).files, VM_ID)


def test_what_was_remembered_is_known_to_the_next_run(guest: Guest) -> None:
    for _ in range(2):
        assert memory(guest).remember("scripts", "begun\n") is True
        assert memory(guest).recall("scripts") == "begun\n"


def test_a_dry_run_remembers_until_its_end(guest: Guest) -> None:
    before = guest.snapshot()
    dry = memory(guest, dry_run=True)
    assert dry.remember("scripts", "begun\n") is True
    assert dry.recall("scripts") == "begun\n"
    assert memory(guest).recall("scripts") is None
    assert guest.snapshot() == before


def test_what_cannot_be_kept_is_told_to_who_asked(guest: Guest) -> None:
    guest.put({"var/lib/azurelite": "in the way"})
    assert memory(guest).remember("scripts", "begun\n") is False
    assert memory(guest).recall("scripts") is None
