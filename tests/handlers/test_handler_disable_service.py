"""`disable_service`: azurelite's own unit and others, never before Ready. The init systems: test_system_services."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from kit import VM_ID, Guest

from azurelite.config.load import Config, HandlerEntry
from azurelite.errors import HandlerError
from azurelite.handlers import Context
from azurelite.handlers.disable_service import Options, apply
from azurelite.outcome import Outcome
from azurelite.record import replace
from azurelite.state import marker


@pytest.fixture
def installed(guest: Guest) -> Guest:
    """A guest with systemd, azurelite's unit and another one, both enabled."""
    guest.put({"usr/lib/systemd/systemd": "", "etc/machine-id": "1\n"})
    wants = guest.path("etc/systemd/system/multi-user.target.wants")
    wants.mkdir(parents=True)
    for name in ("azurelite", "web"):
        guest.put({f"usr/lib/systemd/system/{name}.service": "[Service]\n"})
        (wants / f"{name}.service").symlink_to(Path(f"/usr/lib/systemd/system/{name}.service"))
    return guest


def config(*names: str) -> Config:
    return Config(handlers=tuple(HandlerEntry(name) for name in names))


@pytest.mark.parametrize("listed", [("report_ready", "disable_service"), ("disable_service",), ("hostname",)])
def test_azurelite_does_not_start_again(installed: Guest, context: Callable[..., Context], listed: tuple[str]) -> None:
    ctx = replace(context(), config=config(*listed), outcome=Outcome("provisioned", ""))
    apply(ctx, Options())
    wants = installed.path("etc/systemd/system/multi-user.target.wants")
    assert [path.name for path in wants.iterdir()] == ["web.service"]


@pytest.mark.parametrize(
    ("listed", "outcome"),
    [(("disable_service", "report_ready"), "provisioned"), (("report_ready", "disable_service"), "failed")],
)
def test_its_own_service_stays_enabled_until_ready_is_reported(
    installed: Guest, context: Callable[..., Context], listed: tuple[str, ...], outcome: str
) -> None:
    before = installed.snapshot()
    ctx = replace(context(), config=config(*listed), outcome=Outcome(outcome, ""))
    with pytest.raises(HandlerError, match="azurelite stays enabled"):
        apply(ctx, Options())
    assert installed.snapshot() == before
    apply(ctx, Options(service="web"))
    wants = installed.path("etc/systemd/system/multi-user.target.wants")
    assert [path.name for path in wants.iterdir()] == ["azurelite.service"]


def test_after_ready_its_own_service_can_be_disabled_from_any_position(
    installed: Guest, context: Callable[..., Context]
) -> None:
    installed.put({marker.marker_path(VM_ID).lstrip("/"): "\n"})
    listed = config("disable_service", "report_ready")
    apply(replace(context(vm_id=VM_ID), config=listed, outcome=Outcome("provisioned", "")), Options())
    wants = installed.path("etc/systemd/system/multi-user.target.wants")
    assert [path.name for path in wants.iterdir()] == ["web.service"]


def test_a_missing_service_is_noted(installed: Guest, context: Callable[..., Context], notes: list[str]) -> None:
    apply(context(), Options(service="walinuxagent"))
    assert notes == ["the service walinuxagent does not exist (init system: systemd): nothing to disable"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-a", "a b", "a.service", "a\n"])
def test_invalid_service_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="service"):
        Options(service=name)
