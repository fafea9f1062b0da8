"""A DHCP server as Azure's is: one address, never any other, with options 121 and 245; it keeps what it was asked.

Knows the wire of DHCP. Refuses to know namespaces and guests.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any, Callable, Optional

WIRESERVER = "168.63.129.16"
IMDS = "169.254.169.254"
LEASE_SECONDS = 3600

_COOKIE = b"\x63\x82\x53\x63"
_KINDS = {1: "discover", 3: "request", 4: "decline", 7: "release", 8: "inform"}
_OFFER, _ACK, _NAK = 2, 5, 6
_SO_NO_CHECK = 11  # a veth leaves checksums to hardware that is not there
_SO_BINDTODEVICE = 25


class DhcpServer:
    """Serves one interface of this network namespace from a thread of its own.

    Args:
        interface: whose requests it hears.
        own: its own address there, the router of its clients.
        offered: the one address that it has.
        clock: seconds, for the log.

    Attributes:
        log: one entry per message: `at`, `kind`, `mac`, `client_id`, and the host name of option 12 or 81 as `name`.
    """

    def __init__(self, interface: str, *, own: str, offered: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.log: list[dict[str, Any]] = []
        self._own, self._offered, self._clock = own, offered, clock
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, interface.encode())
        self._socket.bind(("", 67))
        threading.Thread(target=self._serve, name="dhcp", daemon=True).start()

    def _serve(self) -> None:
        while True:
            message = self._socket.recv(4096)
            if len(message) < 244 or message[0] != 1 or message[236:240] != _COOKIE:
                continue
            answer = self._answer(message, options_of(message))
            if answer is not None:
                self._socket.sendto(answer, ("255.255.255.255", 68))

    def _answer(self, message: bytes, options: dict[int, bytes]) -> Optional[bytes]:
        kind = options.get(53, b"\0")[0]
        name = options.get(12) or options.get(81, b"\0\0\0")[3:]
        self.log.append(
            {
                "at": self._clock(),
                "kind": _KINDS.get(kind, str(kind)),
                "mac": message[28:34].hex(":"),
                "client_id": options.get(61, b"").hex(),
                "name": name.decode("ascii", "replace"),
            }
        )
        if kind == 1:
            return self._reply(message, _OFFER)
        if kind != 3:
            return None
        wanted = socket.inet_ntoa(options.get(50, message[12:16]))
        return self._reply(message, _ACK if wanted == self._offered else _NAK)

    def _reply(self, message: bytes, kind: int) -> bytes:
        own = socket.inet_aton(self._own)
        yours = socket.inet_aton(self._offered) if kind != _NAK else b"\0" * 4
        head = struct.pack("!BBBB4sHH4s4s4s4s", 2, 1, 6, 0, message[4:8], 0, 0x8000, b"\0" * 4, yours, own, b"\0" * 4)
        body = option(53, bytes([kind])) + option(54, own)
        if kind != _NAK:
            body += option(51, struct.pack("!I", LEASE_SECONDS)) + option(1, socket.inet_aton("255.255.255.0"))
            body += option(3, own) + option(6, socket.inet_aton(WIRESERVER)) + option(15, b"internal.example")
            body += option(245, socket.inet_aton(WIRESERVER)) + option(121, routes(own))
        return (head + message[28:44] + b"\0" * 192 + _COOKIE + body + b"\xff").ljust(300, b"\0")


def options_of(message: bytes) -> dict[int, bytes]:
    """The options of a message: code -> value."""
    found, at = {}, 240
    while at + 1 < len(message) and message[at] != 255:
        if message[at] == 0:
            at += 1
            continue
        found[message[at]] = message[at + 2 : at + 2 + message[at + 1]]
        at += 2 + message[at + 1]
    return found


def option(code: int, value: bytes) -> bytes:
    """One option as it is sent."""
    return bytes((code, len(value))) + value


def routes(gateway: bytes) -> bytes:
    """RFC 3442, as Azure sends it: a default route, and one each to WireServer and IMDS."""
    return b"\0" + gateway + b"".join(b"\x20" + socket.inet_aton(to) + gateway for to in (WIRESERVER, IMDS))
