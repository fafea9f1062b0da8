"""A short deadline and a server that never answers: what the disc has is applied, and the exit code is right.

The endpoints accept connections and answer too late, which is how a black hole looks once a request is on its way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit import ED25519, FastClock, Guest

from azurelite.outcome import Outcome
from azurelite.run.provision import Options, provision
from azurelite.simulator import Fault, Scenario, Simulator

pytestmark = pytest.mark.spawns

HOLES: dict[str, tuple[str, ...]] = {
    "imds": ("imds",),
    "wireserver": ("goal_state", "health", "health_json", "versions", "certificates"),
    "both": ("any",),
}
LEAST = {15: 1.5, 20: 2.5, 40: 8, 60: 12, 100: 30}  # deadline -> seconds that the work on the machine has at least
PROBE = """
REQUIRED = True
def apply(ctx, options):
    ctx.note(f"{ctx.system.commands.limit.remaining():.1f} seconds are left")
"""


def run(guest: Guest, fabric: Simulator, deadline: float, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    shelf.mkdir()
    (shelf / "budget_probe.py").write_text(PROBE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(shelf))
    monkeypatch.syspath_prepend(str(shelf))
    guest.put({"dev/.keep": ""}).path("dev/sr0").write_bytes(fabric.media("udf"))
    datasource: dict[str, Any] = {
        "deadline": deadline,
        "media": {"device": "/dev/sr0"},
        "imds": {"timeout": 0.05},
        "wireserver": {"timeout": 0.05},
    }
    handlers = ["hostname", "budget_probe:apply", "user", "ssh_keys", "sshd", "report_ready", "user_data"]
    guest.on_azure().configure(fabric, handlers=handlers, datasource=datasource)
    return provision(Options(root=guest.root, clock=FastClock()))


@pytest.mark.parametrize("deadline", LEAST)
@pytest.mark.parametrize("hole", HOLES)
def test_the_disc_is_applied_and_the_silent_server_decides(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hole: str, deadline: int
) -> None:
    vm = {"ssh_keys": [ED25519], "ovf_username": "azureuser", "password": "Long-enough-1", "hostname": "web-7"}
    faults = tuple(Fault(endpoint=endpoint, delay=2) for endpoint in HOLES[hole])
    clock = FastClock()
    started = clock.monotonic()
    with Simulator(Scenario(Scenario.from_dict({"vm": vm}).vm, faults), rate_limit=None) as fabric:
        outcome = run(guest, fabric, deadline, tmp_path / "shelf", monkeypatch)
        states = [(report.state, report.accepted) for report in fabric.reports]
    applied = {step.name: step.status for step in outcome.steps[:5]}
    assert applied == dict.fromkeys(("hostname", "budget_probe:apply", "user", "ssh_keys", "sshd"), "done")
    assert guest.text("etc/hostname") == "web-7\n"
    assert "azureuser:x:" in guest.text("etc/passwd")
    assert ED25519 in guest.text("home/azureuser/.ssh/authorized_keys")
    (note,) = outcome.steps[1].notes
    assert float(note.split()[0]) >= LEAST[deadline]
    assert outcome.exit_code == (0 if hole == "imds" else 3)
    assert outcome.outcome == ("provisioned" if hole == "imds" else "unreachable")
    if hole == "imds":
        assert states == [("Ready", True)]
    assert clock.monotonic() - started < deadline


def test_the_keys_in_the_certificates_get_their_time(guest: Guest, quick_openssl: str) -> None:
    """The disc names its keys by thumbprint only, so WireServer must be asked after IMDS has not answered."""
    named = {"ovf_keys": "fingerprint", "certificates": True, "certificate_keys": "ec"}
    vm = Scenario.from_dict({"vm": {"ssh_keys": [ED25519], "ovf_username": "azureuser", **named}}).vm
    with Simulator(Scenario(vm, (Fault(endpoint="imds", delay=2),)), rate_limit=None) as fabric:
        guest.put({"dev/.keep": ""}).path("dev/sr0").write_bytes(fabric.media("udf"))
        datasource = {"deadline": 40, "media": {"device": "/dev/sr0"}, "imds": {"timeout": 0.05}}
        guest.on_azure().configure(fabric, datasource=datasource)
        outcome = provision(Options(root=guest.root, clock=FastClock(), search_path=quick_openssl))
    assert outcome.exit_code == 0, outcome.reason
    assert "ecdsa-sha2" in guest.text("home/azureuser/.ssh/authorized_keys")
