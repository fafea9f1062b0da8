"""What the tests of handlers share: a context made by hand."""

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
    """What the handlers said beside their work."""
    return []


@pytest.fixture
def context(guest: Guest, notes: list[str]) -> Callable[..., Context]:
    """Makes a context on the guest; keywords are metadata. Each call opens the machine anew."""

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
