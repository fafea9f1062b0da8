"""Firewall rules that restrict which users of this machine may connect to an address, with nft or iptables.

These rules form a "fence": a separate table with nft, separate chains with iptables. It is replaced as a whole, and
rules of others are never changed. Its chain names or comments contain a digest of its rules. So an existing fence can
be compared with the wanted one, however a version of the tool prints the rules. DNS (port 53) and DHCP (UDP 67) stay
open to all: resolvers and DHCP clients run as users of their own.
"""

from __future__ import annotations

import re
from typing import Literal, Optional

from azurelite.errors import CommandError
from azurelite.record import Record, replace
from azurelite.system.changes import Change
from azurelite.system.machine import System

_SECONDS = 20.0
_TABLE = "azurelite"
_CHAIN = "azurelite-"  # followed by the hook and the digest: 28 characters at most
_AGENTS_TABLE = "walinuxagent"
# The agent's last rule: no new connection to any port, or any but 53. A rule for a single port is not the agent's.
_AGENTS_NFT = r"^(?!.*dport (?!!= 53)).*ct state \S*\bnew\b.* drop"
_AGENTS_IPTABLES = r"^(?!.*--dport).*--ctstate \S*\bNEW\b.*-j DROP$"
_TABLES = ("security", "filter")  # security is evaluated after filter, which administrators use


class Fence(Record):
    """Which users may connect to some addresses.

    Attributes:
        addresses: IPv4 addresses.
        uids: the allowed users.
        action: what happens to packets of other users.
        forward: allow forwarded packets, for example from containers.
        guarded: those of the addresses that another program's rules already protect; only forwarding is fenced there.
    """

    addresses: tuple[str, ...]
    uids: tuple[int, ...] = (0,)
    action: Literal["drop", "reject"] = "drop"
    forward: bool = False
    guarded: tuple[str, ...] = ()

    def digest(self) -> str:
        """Eight characters that identify the content."""
        import hashlib

        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    def hooks(self) -> list[tuple[str, str]]:
        """Each chain and address that it has rules for."""
        out = [("output", address) for address in self.addresses if address not in self.guarded]
        return out if self.forward else out + [("forward", address) for address in self.addresses]


def nft_script(fence: Fence) -> str:
    """One nft transaction that replaces the current fence."""
    table = f"ip {_TABLE}"
    words = [f"add table {table}", f"delete table {table}", f"add table {table}"]
    for chain in dict.fromkeys(chain for chain, _ in fence.hooks()):
        words.append(f"add chain {table} {chain} {{ type filter hook {chain} priority 50 ; policy accept ; }}")
    for number, (chain, rule) in enumerate(_nft_rules(fence)):
        words.append(f'add rule {table} {chain} {rule} comment "{fence.digest()} {number}"')
    return "; ".join(words)


def _nft_rules(fence: Fence) -> list[tuple[str, str]]:
    rules = []
    for chain, address in fence.hooks():
        whose = f"meta skuid != {{ {', '.join(map(str, fence.uids))} }} " if chain == "output" else ""
        rules += [
            (chain, f"ip daddr {address} udp dport {{ 53, 67 }} accept"),
            (chain, f"ip daddr {address} tcp dport 53 accept"),
            (chain, f"ip daddr {address} {whose}{fence.action}"),
        ]
    return rules


def nft_has(listing: str, fence: Fence) -> bool:
    """Whether the table, as nft lists it, is the fence: all rules, in order, and no others."""
    comments = re.findall(r'^\s*ip daddr .* comment "(\w+ \d+)"$', listing, re.MULTILINE)
    lines = [line for line in listing.splitlines() if not re.match(r"\s*(table|chain|type|}|$)", line)]
    return len(lines) == len(comments) and comments == [f"{fence.digest()} {n}" for n in range(len(_nft_rules(fence)))]


class Nft:
    """The fence with nft. Raises CommandError if the kernel or the tool does not support it."""

    name = "nft"

    def __init__(self, system: System) -> None:
        self._system = system
        self._tables = _run(system, "nft", "list", "tables").splitlines()

    def has(self, fence: Fence) -> bool:
        """Whether the fence exists as wanted."""
        return nft_has(self._list(_TABLE), fence)

    def guarded(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """The addresses that the Azure Linux agent's rules protect: its own table, or iptables' table seen by nft."""
        rules = self._list(_AGENTS_TABLE) + self._list("security")
        drops = [line for line in rules.splitlines() if re.search(_AGENTS_NFT, line)]
        return tuple(address for address in addresses if any(f"ip daddr {address} " in line for line in drops))

    def put(self, fence: Fence) -> None:
        """Replace the current fence."""
        _run(self._system, "nft", nft_script(fence))

    def _list(self, table: str) -> str:
        return _run(self._system, "nft", "list", "table", "ip", table) if f"table ip {table}" in self._tables else ""


class Iptables:
    """The fence with iptables. Raises CommandError if the kernel or the tool does not support it.

    The new chains are complete before packets go through them; then the old ones are removed.
    """

    name = "iptables"

    def __init__(self, system: System, action: str) -> None:
        self._system = system
        self._rules: dict[str, list[str]] = {}
        for table in _TABLES:
            try:
                self._rules[table] = _run(system, "iptables", "-w", "-t", table, "-S").splitlines()
            except CommandError:
                if table != "security":  # not every kernel has this table
                    raise
        # REJECT does not work in the table security.
        self._table = "security" if action == "drop" and "security" in self._rules else "filter"

    def has(self, fence: Fence) -> bool:
        """Whether the fence exists as wanted."""
        rules = self._rules[self._table]
        whole = all(
            sum(line.startswith(f"-A {chain} ") for line in rules) == len(wanted)
            for chain, wanted in _chains(fence).items()
        )
        return whole and all(jump in rules for jump in _jumps(fence)) and not self._strangers(fence)

    def guarded(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """The addresses that the Azure Linux agent's rules protect."""
        rules = [line for lines in self._rules.values() for line in lines if line.startswith("-A OUTPUT ")]
        drops = [line for line in rules if re.search(_AGENTS_IPTABLES, line)]
        return tuple(address for address in addresses if any(f"-d {address}/32 " in line for line in drops))

    def put(self, fence: Fence) -> None:
        """Replace the current fence."""
        rules = self._rules[self._table]
        for chain, wanted in _chains(fence).items():
            self._change(self._table, "-F" if f"-N {chain}" in rules else "-N", chain)
            for words in wanted:
                self._change(self._table, "-A", chain, *words)
        for jump in _jumps(fence):
            if jump not in rules:
                self._change(self._table, "-I", *jump.split()[1:])
        for table, line in self._strangers(fence):
            if line.startswith("-A "):
                self._change(table, "-D", *line.split()[1:])
        for table, line in self._strangers(fence):
            if line.startswith("-N "):
                self._change(table, "-F", line.split()[1])
                self._change(table, "-X", line.split()[1])

    def _strangers(self, fence: Fence) -> list[tuple[str, str]]:
        """Chains of an earlier fence, and the jumps to them: (table, line)."""
        own = set(_chains(fence))
        found = []
        for table, lines in self._rules.items():
            for line in lines:
                chain = line.rpartition(" ")[2] if line.startswith(("-N ", "-A OUTPUT ", "-A FORWARD ")) else ""
                if chain.startswith(_CHAIN) and (chain not in own or table != self._table):
                    found.append((table, line))
        return found

    def _change(self, table: str, *words: str) -> None:
        _run(self._system, "iptables", "-w", "-t", table, *words)


def _chains(fence: Fence) -> dict[str, list[list[str]]]:
    """The chains of a fence with iptables: name → rules as words."""
    end = ["-j", fence.action.upper()]
    names = [["-p", protocol, "--dport", str(port), "-j", "RETURN"] for protocol, port in _OPEN]
    rules = {
        # Packets without a socket (the last ones of a closed connection) have no owner: allow them.
        "output": [["-m", "owner", "--uid-owner", str(uid), "-j", "RETURN"] for uid in fence.uids]
        + [["-m", "owner", "--socket-exists", *end]],
        "forward": [end],
    }
    return {f"{_CHAIN}{hook}-{fence.digest()}": names + rules[hook] for hook in dict(fence.hooks())}


_OPEN = (("udp", 53), ("udp", 67), ("tcp", 53))


def _jumps(fence: Fence) -> list[str]:
    return [f"-A {h.upper()} -d {address}/32 -j {_CHAIN}{h}-{fence.digest()}" for h, address in fence.hooks()]


def open_backend(system: System, wanted: str, action: str) -> Optional[Nft | Iptables]:
    """The installed tool that the kernel supports; None if none is installed.

    Args:
        system: the running system.
        wanted: "auto", "nft" or "iptables".
        action: what the fence does with packets.

    Raises:
        CommandError: it is installed, but the kernel does not support it.
    """
    nft = wanted != "iptables" and system.commands.find("nft") is not None
    iptables = wanted != "nft" and system.commands.find("iptables") is not None
    if nft:
        try:
            return Nft(system)
        except CommandError:
            if not iptables:
                raise
    return Iptables(system, action) if iptables else None


def set_fence(system: System, backend: Nft | Iptables, fence: Fence) -> tuple[str, ...]:
    """Set the fence unless it exists as wanted.

    Returns:
        The addresses that the Azure Linux agent's rules already protect; for them only forwarding is fenced.

    Raises:
        CommandError: the kernel lacks what the rules need.
    """
    if backend.has(fence):
        return ()
    guarded = backend.guarded(fence.addresses)
    fence = replace(fence, guarded=guarded)
    if fence.hooks() and not (guarded and backend.has(fence)):
        detail = f"only uid {', '.join(map(str, fence.uids))}, by {backend.name}"
        system.journal.record(Change("firewall", " ".join(fence.addresses), detail))
        if not system.dry_run:
            backend.put(fence)
    return guarded


def _run(system: System, *argv: str) -> str:
    return system.commands.run(argv, timeout=_SECONDS)
