"""`certificates`: the simulator's encrypted package is decrypted by the real openssl and written to files."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from typing import Any, Callable, Iterator

import pytest
from kit import Guest

from azurelite.errors import FabricError, HandlerError, MachineError
from azurelite.fabric.client import Fabric
from azurelite.fabric.settings import WireServerSettings
from azurelite.handlers import Context
from azurelite.handlers.certificates import Options, apply
from azurelite.record import replace
from azurelite.simulator import Scenario, Simulator

pytestmark = [
    pytest.mark.spawns,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: install openssl"),
]
FOLDER = "etc/ssl/azurelite"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """A fabric that has a certificate for the VM."""
    with Simulator(Scenario.from_dict({"vm": {"certificates": True}}), rate_limit=None) as simulator:
        yield simulator


@pytest.fixture
def asking(
    simulator: Simulator, context: Callable[..., Context], quick_openssl: str
) -> Iterator[Callable[..., Context]]:
    """A context whose fabric is the simulator."""
    with contextlib.ExitStack() as open_ones:

        def make(**more: Any) -> Context:
            fabric = open_ones.enter_context(Fabric(60, wireserver=WireServerSettings(endpoint=simulator.url)))
            ctx = context(**more)
            ctx.system.commands.search_path = f"{quick_openssl}:{ctx.system.commands.search_path}"
            return replace(ctx, fabric=fabric)

        yield make


def openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(("names", "ending"), [("azurelite", "key"), ("waagent", "prv")])
def test_a_certificate_and_its_key_become_two_files(
    guest: Guest, asking: Callable[..., Context], names: Any, ending: str
) -> None:
    ctx = asking()
    apply(ctx, Options(names=names))
    crt, key = sorted(path.name for path in guest.path(FOLDER).iterdir())
    thumbprint = crt.partition(".")[0]
    assert (crt, key) == (f"{thumbprint}.crt", f"{thumbprint}.{ending}")
    assert re.fullmatch(r"[0-9A-F]{40}", thumbprint)
    assert [guest.mode(path) for path in (FOLDER, f"{FOLDER}/{crt}", f"{FOLDER}/{key}")] == [0o755, 0o644, 0o600]
    paths = [str(guest.path(f"{FOLDER}/{name}")) for name in (crt, key)]
    shown = openssl("x509", "-in", paths[0], "-noout", "-fingerprint", "-sha1")
    assert shown.split("=")[1].replace(":", "").strip() == thumbprint
    assert openssl("x509", "-in", paths[0], "-noout", "-pubkey") == openssl("pkey", "-in", paths[1], "-pubout")
    assert "PRIVATE" not in str(ctx.system.journal.since(0))
    again = asking()
    apply(again, Options(names=names))
    assert len(again.system.journal) == 0


def test_a_dry_run_fetches_and_reports_the_same_changes(guest: Guest, asking: Callable[..., Context]) -> None:
    told, before = [], guest.snapshot()
    for dry_run in (True, False):
        ctx = asking(dry_run=dry_run)
        apply(ctx, Options(directory="/srv/tls/azure", owner=":wheel", key_mode="0640"))
        told.append(ctx.system.journal.since(0))
        assert (guest.snapshot() == before) is dry_run
    assert [(change.kind, change.target.rpartition(".")[2]) for change in told[0]][-2:] == [
        ("write", "crt"),
        ("write", "key"),
    ]
    # The simulator's certificate does not change during the test, otherwise the records would differ.
    assert told[0] == told[1]


def test_only_listed_certificates_are_written_and_missing_ones_are_an_error(
    guest: Guest, asking: Callable[..., Context]
) -> None:
    apply(asking(), Options())
    (thumbprint,) = {path.name.partition(".")[0] for path in guest.path(FOLDER).iterdir()}
    missing = "0" * 40
    with pytest.raises(HandlerError, match=rf"this VM has no certificate {missing} \(1 others\)"):
        apply(asking(), Options(directory="/srv/a", thumbprints=(missing, thumbprint.lower())))
    assert len(list(guest.path("srv/a").iterdir())) == 2
    with pytest.raises(HandlerError, match="no certificate"):
        apply(asking(), Options(directory="/srv/b", thumbprints=(missing,)))
    assert not guest.path("srv/b").exists()


def test_a_vm_without_certificates_is_noted(guest: Guest, context: Callable[..., Context], notes: list[str]) -> None:
    before = guest.snapshot()
    with contextlib.ExitStack() as open_ones:
        simulator = open_ones.enter_context(Simulator(Scenario.default(), rate_limit=None))
        fabric = open_ones.enter_context(Fabric(60, wireserver=WireServerSettings(endpoint=simulator.url)))
        apply(replace(context(), fabric=fabric), Options())
    assert notes == ["Azure has no certificates for this VM"]
    assert guest.snapshot() == before


def test_without_openssl_or_the_owner_nothing_is_written(guest: Guest, asking: Callable[..., Context]) -> None:
    before = guest.snapshot()
    ctx = asking()
    ctx.system.commands.search_path = "/nonexistent"
    with pytest.raises(FabricError, match="openssl is not installed"):
        apply(ctx, Options())
    with pytest.raises(MachineError, match="group nosuchgroup does not exist"):
        apply(asking(), Options(owner="root:nosuchgroup"))
    assert guest.snapshot() == before


@pytest.mark.parametrize(
    "bad",
    [
        {"directory": "x"},
        {"directory": "/a/../b"},
        {"directory": "/"},
        {"owner": "a b"},
        {"thumbprints": ("canary",)},
        {"thumbprints": ("../../etc/passwd",)},
    ],
)
def test_invalid_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))) as caught:
        Options(**bad)
    assert "canary" not in str(caught.value)
