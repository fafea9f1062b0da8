"""`wireserver_firewall`: options, what needs no packet filter, tools that fail. Real rules: test_firewall_live.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from kit import BASE, VM_ID, FastClock, Guest, shim

from azurelite.config.document import Document
from azurelite.config.schema import bind
from azurelite.errors import CommandError, HandlerError, SkippedError
from azurelite.fabric.client import Fabric
from azurelite.handlers import Context
from azurelite.handlers.wireserver_firewall import FREQUENCY, Options, apply
from azurelite.metadata import Metadata
from azurelite.outcome import Outcome
from azurelite.state.store import Memory
from azurelite.system.machine import System
from azurelite.system.process import Commands

NO_NFT = "echo 'Error: cannot initialize netlink' >&2; exit 1"
NO_TABLE = 'case "$*" in *security*) echo "Table does not exist" >&2; exit 3 ;; esac'


class Nothing(Commands):
    """A machine without programs."""

    def find(self, name: str) -> Optional[str]:
        return None


def here(guest: Guest, shims: Path, *, dry_run: bool = False) -> Context:
    """A context on a folder that is treated as the running system; its programs are shims."""
    system = System(guest.root, dry_run=dry_run, search_path=str(shims), clock=FastClock())
    system.root.is_host = True
    memory = Memory(system.files, VM_ID)
    return Context(Metadata(), system, Fabric(0), Outcome("applied", ""), lambda _: None, lambda: None, memory)


def test_it_runs_at_every_boot() -> None:
    assert FREQUENCY == "boot"


def test_in_a_foreign_root_there_is_nothing_to_do(guest: Guest, context: Callable[..., Context]) -> None:
    before = guest.snapshot()
    ctx = context()
    with pytest.raises(SkippedError, match="running system"):
        apply(ctx, Options())
    assert len(ctx.system.journal) == 0
    assert guest.snapshot() == before


@pytest.mark.parametrize("backend", ["auto", "nft", "iptables"])
def test_without_a_tool_the_remedy_is_named(guest: Guest, tmp_path: Path, backend: Any) -> None:
    ctx = here(guest, tmp_path)
    ctx.system.commands = Nothing()
    with pytest.raises(HandlerError, match="is not installed: add it to the image"):
        apply(ctx, Options(backend=backend))


@pytest.mark.spawns
def test_iptables_is_used_if_the_kernel_refuses_nft(guest: Guest, tmp_path: Path) -> None:
    shim(tmp_path, "nft", script=NO_NFT)
    log = shim(tmp_path, "iptables", script=NO_TABLE)
    ctx = here(guest, tmp_path)
    apply(ctx, Options())
    (change,) = ctx.system.journal.since(0)
    assert str(change) == "restrict access to 168.63.129.16 (only uid 0, by iptables)"
    calls = [words.split("\n") for words in log.read_text().strip("\n-").split("\n--\n")]
    # The chain is complete before packets are sent through it.
    verbs = [words[3] for words in calls if words[2] == "filter"]
    assert verbs == ["-S", "-N", "-A", "-A", "-A", "-A", "-A", "-N", "-A", "-A", "-A", "-A", "-I", "-I"]
    with pytest.raises(CommandError, match="cannot initialize netlink"):
        apply(here(guest, tmp_path), Options(backend="nft"))


@pytest.mark.spawns
def test_a_dry_run_sets_nothing(guest: Guest, tmp_path: Path) -> None:
    log = shim(tmp_path, "nft")
    dry, real = here(guest, tmp_path, dry_run=True), here(guest, tmp_path)
    apply(dry, Options())
    assert log.read_text().split() == ["list", "tables", "--"]
    apply(real, Options())
    assert dry.system.journal.since(0) == real.system.journal.since(0)
    script = log.read_text().split("--\n")[2]
    # All rules are set in one transaction, so the address is never unprotected.
    assert script.startswith("add table ip azurelite; delete table ip azurelite; add table ip azurelite; ")
    assert script.count("\n") == 1


@pytest.mark.spawns
@pytest.mark.parametrize("tool", ["nft", "iptables"])
def test_a_tool_that_fails_fails_the_handler(guest: Guest, tmp_path: Path, tool: Any) -> None:
    shim(tmp_path, tool, script="echo 'Operation not permitted (you must be root)' >&2; exit 4")
    with pytest.raises(CommandError, match="you must be root"):
        apply(here(guest, tmp_path), Options(backend=tool))


@pytest.mark.spawns
def test_users_are_permitted_by_name_and_by_uid(guest: Guest, tmp_path: Path) -> None:
    guest.put({"etc/passwd": BASE["etc/passwd"] + "agent:x:1500:1500::/:/bin/sh\n"})
    log = shim(tmp_path, "nft")
    apply(here(guest, tmp_path), Options(users=("agent", 7, "root")))
    assert "meta skuid != { 0, 7, 1500 } drop" in log.read_text()


def test_a_missing_user_is_refused_in_any_root(guest: Guest, context: Callable[..., Context]) -> None:
    with pytest.raises(HandlerError, match="the user 'ghost' does not exist"):
        apply(context(), Options(users=("ghost",)))


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**40])
def test_an_invalid_user_id_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="users has an invalid user id"):
        Options(users=(number,))


def test_users_can_be_names_or_uids_in_yaml() -> None:
    assert bind(Options, {"users": ["agent", 7]}, Document({}, {}), ()).users == ("agent", 7)


AGENT = "-A OUTPUT -d 168.63.129.16/32 -p tcp -m conntrack --ctstate INVALID,NEW -j DROP"


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("rule", "guards"),
    [
        (AGENT, True),
        (AGENT.replace("168.63.129.16", "10.0.0.9"), False),
        (AGENT.replace("-p tcp", "-p tcp -m tcp --dport 32526"), False),  # an administrator's rule for one port
        (AGENT.replace("INVALID,NEW", "INVALID"), False),
        (AGENT.replace("OUTPUT", "INPUT"), False),
        ("-A OUTPUT -d 168.63.129.16/32 -p udp -j DROP", False),
    ],
)
def test_only_the_agents_own_rule_replaces_ours(guest: Guest, tmp_path: Path, rule: str, guards: bool) -> None:
    script = f'case "$*" in *security*-S*) echo "{rule}" ;; esac'
    log = shim(tmp_path, "iptables", script=script)
    apply(here(guest, tmp_path), Options(backend="iptables"))
    assert ("--uid-owner" not in log.read_text()) == guards
