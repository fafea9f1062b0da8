"""A DHCP server for one interface of a namespace: one address, options 121 and 245 as Azure's server sends them.

Usage: dhcp_server.py INTERFACE OWN_ADDRESS OFFERED_ADDRESS [bare|silent]

"bare" leaves option 121 out, so that a client has a router only; "silent" answers nothing. Each message it gets is
a line on standard output. It ends when it is killed.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from boot.dhcp import WIRESERVER, option, options_of, routes

DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5


def packed(address: str) -> bytes:
    return socket.inet_aton(address)


def reply(message: bytes, kind: int, *, own: str, offered: str, bare: bool) -> bytes:
    head = struct.pack("!BBBBIHH4s4s4s4s", 2, 1, 6, 0, int.from_bytes(message[4:8], "big"), 0, 0x8000,
                       b"\0" * 4, packed(offered), packed(own), b"\0" * 4)  # fmt: skip
    body: bytes = option(53, bytes([kind])) + option(54, packed(own)) + option(51, b"\xff" * 4)
    body += option(1, packed("255.255.255.0")) + option(3, packed(own)) + option(245, packed(WIRESERVER))
    body += option(6, packed(own)) + option(15, b"example.internal")
    if not bare:
        body += option(121, routes(packed(own)))
    return head + message[28:44] + b"\0" * 192 + b"\x63\x82\x53\x63" + body + b"\xff"


def listen(interface: str) -> socket.socket:
    """A socket that hears what is said to DHCP servers on one interface."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    server.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: a veth leaves checksums to hardware that is not there
    server.setsockopt(socket.SOL_SOCKET, 25, interface.encode())  # SO_BINDTODEVICE
    server.bind(("", 67))
    return server


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until killed."""
    interface, own, offered, *how = sys.argv[1:]
    server = listen(interface)
    say("ready")
    while True:
        message = server.recv(4096)
        kind = options_of(message).get(53, b"\0")[0]
        say({DISCOVER: "discover", REQUEST: "request", 7: "release", 4: "decline"}.get(kind, str(kind)))
        answer = {DISCOVER: OFFER, REQUEST: ACK}.get(kind)
        if answer is not None and how != ["silent"]:
            packet = reply(message, answer, own=own, offered=offered, bare=how == ["bare"])
            server.sendto(packet, ("255.255.255.255", 68))


if __name__ == "__main__":
    main()
