"""`run`: input, environment and result of a program. It runs on this machine and writes to the test's folder only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from kit import VM_ID, FastClock

from azurelite.errors import CommandError, HandlerError
from azurelite.handlers import Context
from azurelite.handlers.run import Options, apply
from azurelite.metadata import Secret
from azurelite.record import replace
from azurelite.system.machine import System
from azurelite.version import VERSION

KNOWN: dict[str, Any] = {
    "vm_id": VM_ID,
    "local_hostname": "vm",
    "username": "azureuser",
    "region": "west\0europe",
    "password": Secret("canary-password"),
    "user_data": Secret(b"canary\0"),
    "tags": {"a": "b"},
}


@pytest.fixture
def host(context: Callable[..., Context]) -> Callable[..., Context]:
    """A context on this machine's own root, because programs run only there."""

    def make(*, dry_run: bool = False) -> Context:
        return replace(context(**KNOWN), system=System("/", dry_run=dry_run, clock=FastClock()))

    return make


@pytest.mark.spawns
@pytest.mark.parametrize("secrets", [False, True])
def test_the_metadata_comes_on_standard_input(host: Callable[..., Context], tmp_path: Path, secrets: bool) -> None:
    log = str(tmp_path / "log")
    apply(host(), Options(shell=f"cat > {tmp_path}/got", secrets=secrets, log=log))
    got = json.loads((tmp_path / "got").read_text())
    assert (got["vm_id"], got["tags"]) == (VM_ID, {"a": "b"})
    assert got["password"] == ("canary-password" if secrets else "redacted for non-root user")
    assert got["user_data"] == ("Y2FuYXJ5AA==" if secrets else "redacted for non-root user")
    apply(host(), Options(argv=("/bin/cat",), stdin="none", log=log))
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.spawns
def test_the_environment_has_the_known_metadata(host: Callable[..., Context], tmp_path: Path) -> None:
    env = {"STAGE": Secret("1"), "AZURELITE_HOSTNAME": Secret("mine")}
    options = Options(argv=("env",), env=env, log=str(tmp_path / "log"))
    apply(host(), options)
    found = dict(line.split("=", 1) for line in (tmp_path / "log").read_text().splitlines())
    assert {name: value for name, value in found.items() if name.startswith(("AZURELITE_", "STAGE"))} == {
        "AZURELITE_VM_ID": VM_ID,
        "AZURELITE_HOSTNAME": "mine",
        "AZURELITE_USERNAME": "azureuser",
        "AZURELITE_REGION": "westeurope",
        "AZURELITE_ROOT": "/",
        "AZURELITE_METADATA": "/run/azurelite/metadata.json",
        "AZURELITE_VERSION": VERSION,
        "STAGE": "1",
    }


@pytest.mark.spawns
def test_a_failure_names_the_status_and_the_log_but_not_the_output(
    host: Callable[..., Context], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    options = Options(shell='set -x; echo "$TOKEN" >&2; cat; exit 3', env={"TOKEN": Secret("canary")}, log=str(log))
    with pytest.raises(HandlerError) as caught:
        apply(host(), options)
    assert str(caught.value) == f"shell exited with status 3: see {log}"
    assert caught.value.reason == "the program shell failed"
    assert caught.value.data == {"status": "3"}
    assert "canary" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert "canary" not in repr(options)


@pytest.mark.spawns
def test_a_slow_or_missing_program_is_an_error(host: Callable[..., Context], tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    with pytest.raises(CommandError, match="timed out"):
        apply(host(), Options(argv=("sleep", "60"), timeout=0.3, log=log))
    with pytest.raises(CommandError, match="not installed"):
        apply(host(), Options(argv=("/no/such/program",), log=log))


@pytest.mark.spawns
def test_it_does_not_run_if_creates_exists(host: Callable[..., Context], tmp_path: Path) -> None:
    options = Options(shell=f"echo x >> {tmp_path}/made", creates=f"{tmp_path}/made", log=str(tmp_path / "log"))
    for _ in range(2):
        ctx = host()
        apply(ctx, options)
        assert (tmp_path / "made").read_text() == "x\n"
    assert len(ctx.system.journal) == 0


@pytest.mark.spawns
def test_a_dry_run_names_the_program_and_runs_nothing(host: Callable[..., Context], tmp_path: Path) -> None:
    told = []
    for dry_run in (True, False):
        ctx = host(dry_run=dry_run)
        apply(ctx, Options(argv=("touch", f"{tmp_path}/canary"), log=str(tmp_path / "log")))
        told.append(ctx.system.journal.since(0))
        assert (tmp_path / "canary").exists() is not dry_run
    assert told[0] == told[1]
    assert [str(change) for change in told[0]] == ["run touch"], "arguments may be secret"


def test_an_unknown_user_is_refused(host: Callable[..., Context]) -> None:
    with pytest.raises(Exception, match="user nobodyknows does not exist"):
        apply(host(dry_run=True), Options(argv=("true",), user="nobodyknows"))


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"argv": ("a",), "shell": "b"}, "exclude each other"),
        ({}, "nothing to run: set `argv` or `shell`"),
        ({"argv": ()}, "nothing to run: set `argv` or `shell`"),
        ({"argv": ("a\0",)}, "NUL"),
        ({"argv": ("",)}, "argv not empty"),
        ({"timeout": 0.0}, "timeout"),
        ({"creates": "x"}, "creates"),
        ({"cwd": "/a/../b"}, "cwd"),
        ({"log": "x"}, "log"),
        ({"env": {"A-B": Secret("canary")}}, "env"),
        ({"env": {"A": Secret("canary\0")}}, "env"),
        ({"user": "a b"}, "user"),
    ],
)
def test_invalid_options_are_refused_without_repeating_them(bad: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        Options(**bad)
    assert "canary" not in str(caught.value)
