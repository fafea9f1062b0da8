"""Fixtures for the tests of handlers: a context and its notes."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from kit import VM_ID, FastClock, Guest

from azurelite.fabric.client import Fabric
from azurelite.handlers import Context
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.machine import System


@pytest.fixture
def notes() -> list[str]:
    """The notes of the handlers."""
    return []


@pytest.fixture
def context(guest: Guest, notes: list[str]) -> Callable[..., Context]:
    """A function that creates a context on the guest; keywords are metadata. Each call opens the machine again."""

    def make(*, dry_run: bool = False, **known: Any) -> Context:
        system = System(guest.root, dry_run=dry_run, clock=FastClock())
        return Context(
            metadata=Metadata(**known),
            system=system,
            fabric=Fabric(0),
            outcome=Outcome("applied", ""),
            note=notes.append,
            report_ready=lambda: None,
            memory=Memory(system.files, VM_ID),
        )

    return make
