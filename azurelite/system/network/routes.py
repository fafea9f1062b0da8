"""IPv4 routes, parsed from the kernel's two tables in /proc/net and from the options of a DHCP lease."""

from __future__ import annotations

from typing import Iterable, Optional

from azurelite.record import Record
from azurelite.system.network.interfaces import dotted, unicast
from azurelite.system.root import Root

TABLE = "/proc/net/route"
TRIE = "/proc/net/fib_trie"
_LIMIT = 1024 * 1024  # bytes of either
_UP, _REJECT = 0x1, 0x200  # RTF_UP, RTF_REJECT
_SPECIAL = ("BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "LOCAL")


class Route(Record):
    """One IPv4 route.

    Attributes:
        network: the destination's first address, as a number.
        prefix: its length in bits.
        interface: the outgoing NIC; None if the route discards packets, or comes from a lease.
        gateway: the next hop's address; None if the destination is on the link.
        metric: of routes with the same prefix the one with the lowest metric is used.
        kind: "unicast", "local", "blackhole", "unreachable", "prohibit" or "throw".
    """

    network: int
    prefix: int
    interface: Optional[str] = None
    gateway: Optional[str] = None
    metric: int = 0
    kind: str = "unicast"

    @property
    def destination(self) -> str:
        """As "168.63.129.16/32"."""
        return f"{_address(self.network)}/{self.prefix}"

    def covers(self, address: int) -> bool:
        """Whether the route applies to this address."""
        shift = 32 - self.prefix
        return address >> shift == self.network >> shift


def kernel_routes(root: Root) -> Optional[list[Route]]:
    """The routes of the kernel's main table; None if it cannot be read."""
    text = root.text(TABLE, limit=_LIMIT)
    return read_table(text) if text.startswith("Iface") else None


def special_routes(root: Root) -> Optional[list[Route]]:
    """Local addresses and rejecting routes of all tables; None if they cannot be read."""
    text = root.text(TRIE, limit=_LIMIT)
    return read_trie(text) if text else None


def best(routes: Iterable[Route], address: int) -> Optional[Route]:
    """The route that the kernel uses for an address, or None."""
    fitting = [route for route in routes if route.covers(address)]
    return max(fitting, key=lambda route: (route.prefix, -route.metric), default=None)


def number(octets: bytes) -> int:
    """An address as a number. Raises ValueError: it does not have four bytes."""
    if len(octets) != 4:
        raise ValueError("an IPv4 address has four bytes")
    return int.from_bytes(octets, "big")


def prefix_of(mask: int) -> Optional[int]:
    """The prefix length of a mask; None for a mask with a gap."""
    ones = f"{mask:032b}".rstrip("0")
    return len(ones) if "0" not in ones else None


def read_table(text: str) -> list[Route]:
    """The routes in the format of /proc/net/route; unreadable lines are skipped."""
    found = []
    for line in text.split("\n")[1:]:
        words = line.split()
        try:
            name, destination, gateway, flags, _, _, metric, mask = words[:8]
            network, hop, bits = (number(bytes.fromhex(word)[::-1]) for word in (destination, gateway, mask))
            prefix = prefix_of(bits)
            if int(flags, 16) & _UP and prefix is not None:
                rejects = name == "*"
                kind = ("unreachable" if int(flags, 16) & _REJECT else "blackhole") if rejects else "unicast"
                via = _address(hop) if hop else None
                found.append(Route(network, prefix, None if rejects else name, via, int(metric), kind))
        except ValueError:
            continue
    return found


def read_trie(text: str) -> list[Route]:
    """Local addresses and rejecting routes of all tables, in the format of /proc/net/fib_trie."""
    found = []
    network: Optional[bytes] = None
    for line in text.split("\n"):
        words = line.split()
        if words[:1] == ["|--"] and len(words) == 2:
            network = dotted(words[1])
        elif len(words) >= 3 and words[0].startswith("/") and network is not None:
            prefix = _bits(words[0][1:])
            kind = next((word.lower() for word in words[2:] if word in _SPECIAL), None)
            if kind is not None and prefix is not None:
                found.append(Route(number(network), prefix, kind=kind))
    return found


def read_option(text: str) -> tuple[Route, ...]:
    """Classless routes of a DHCP lease, as pairs of network and gateway or as the bytes in decimal.

    The first invalid one ends the list.
    """
    words = text.split()[:512]
    found: list[Route] = []
    if "/" in text:
        for i in range(0, len(words) - 1, 2):
            network, _, length = words[i].partition("/")
            octets, hop, bits = dotted(network), dotted(words[i + 1]), _bits(length)
            if octets is None or hop is None or bits is None:
                break
            found.append(_leased(octets, bits, hop))
        return tuple(found)
    if not all(word.isascii() and word.isdigit() and len(word) < 4 and int(word) < 256 for word in words):
        return ()
    data = bytes(map(int, words))
    while data and data[0] <= 32:
        significant = (data[0] + 7) // 8
        if len(data) < 1 + significant + 4:
            break
        octets, hop = data[1 : 1 + significant].ljust(4, b"\0"), data[1 + significant : 5 + significant]
        found.append(_leased(octets, data[0], hop))
        data = data[5 + significant :]
    return tuple(found)


def _leased(octets: bytes, bits: int, hop: bytes) -> Route:
    """A route with its host bits cleared: the kernel rejects a route that has any set."""
    return Route(number(octets) >> (32 - bits) << (32 - bits), bits, gateway=unicast(hop))


def _bits(text: str) -> Optional[int]:
    usable = text.isascii() and text.isdigit() and len(text) < 3 and int(text) <= 32
    return int(text) if usable else None


def _address(value: int) -> str:
    return ".".join(map(str, value.to_bytes(4, "big")))
