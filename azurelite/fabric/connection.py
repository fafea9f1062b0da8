"""An HTTP connection whose every read is bounded in time: a server that drips bytes cannot hold us.

A plain socket time-out starts anew with each byte. Here one limit spans a whole exchange: connecting,
sending, status line, headers and body. This is the only file that knows how urllib3 makes connections, and the
only one that binds them to an interface.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import socket
import struct
import sys
from typing import Any, Optional

from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from azurelite.clock import Clock, Deadline
from azurelite.errors import ConfigError

_SIOCGIFADDR = 0x8915 if sys.platform == "linux" else 0xC0206921  # the BSDs' number; the address lies at the same place
_BIND_TO_DEVICE = 25  # SO_BINDTODEVICE, which Python names on Linux only


class Limit:
    """The time that the exchange under way may still take."""

    def __init__(self, clock: Clock) -> None:
        self.deadline = Deadline(clock, 0)

    def apply(self, sock: socket.socket) -> None:
        """Give the socket's next operation what is left. Raises TimeoutError when nothing is."""
        remaining = self.deadline.remaining()
        if remaining <= 0:
            raise socket.timeout("timed out")
        sock.settimeout(remaining)


class _BoundedReader(io.RawIOBase):
    """The reading end of a socket, with the limit applied before each read."""

    def __init__(self, sock: socket.socket, limit: Limit) -> None:
        self._sock = sock
        self._limit = limit
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        self._limit.apply(self._sock)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """A connected socket as http.client uses it; anything but sending and reading goes straight through."""

    def __init__(self, sock: socket.socket, limit: Limit) -> None:
        self._sock = sock
        self._limit = limit

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._limit))

    def sendall(self, data: bytes) -> None:
        self._limit.apply(self._sock)
        self._sock.sendall(data)

    def settimeout(self, _: Optional[float]) -> None:
        """urllib3 sets its own read time-out; the limit rules instead."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Connection(HTTPConnection):
    def __init__(self, *args: Any, limit: Limit, interface: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit = limit
        self._interface = interface

    def connect(self) -> None:
        if self._interface is not None:  # anew for each connection: DHCP may have given it another address since
            self.source_address = (primary_address(self._interface), 0)
            self.socket_options = [*self.default_socket_options, *_device_option(self._interface)]
        super().connect()
        self.sock: Any = _BoundedSocket(self.sock, self._limit)

    def _new_conn(self) -> Any:
        """Connect to a dotted address at once: for urllib3 it is a name, to be encoded by IDNA and looked up."""
        try:
            socket.inet_pton(socket.AF_INET, self.host)
        except OSError:
            return super()._new_conn()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(self._limit.deadline.remaining() or 0.001)  # 0 would not wait at all
            if self.source_address:
                sock.bind(self.source_address)
            sock.connect((self.host, self.port))
        except OSError as error:
            sock.close()
            if isinstance(error, socket.timeout):
                raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from error
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        return sock


class BoundedPool(HTTPConnectionPool):
    """A kept-alive connection to one server. It reads no proxy settings from anywhere.

    Args:
        host: address of the server.
        port: TCP port.
        limit: bounds every exchange.
        interface: the NIC to leave by; None leaves that to the routing table.
    """

    ConnectionCls = _Connection
    # What a pool is for is its class's business; urllib3 asks for this name only to tidy host names, with patterns that
    # take 4 ms to compile. Ours come from a URL that was taken apart already.
    scheme = "http, as it is"

    def __init__(self, host: str, port: int, limit: Limit, *, interface: Optional[str] = None) -> None:
        super().__init__(host, port, maxsize=1, limit=limit, interface=interface)
        self.limit = limit


def check_interface(name: str) -> None:
    """Raise ConfigError, naming those that there are, unless the machine has an interface of this name."""
    there = sorted(found for _, found in socket.if_nameindex())
    if name not in there:
        raise ConfigError(f"datasource.interface: there is no interface {name!r}; this machine has {', '.join(there)}")


def primary_address(interface: str) -> str:
    """The first IPv4 address of an interface, as the kernel orders them.

    Raises:
        OSError: it has none (yet), or is gone.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            request = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("16s240x", interface.encode()[:15]))
        except OSError as error:
            raise OSError(error.errno or errno.EADDRNOTAVAIL, f"{interface} has no IPv4 address") from None
    return socket.inet_ntoa(request[20:24])


def _device_option(interface: str) -> list[tuple[int, int, bytes]]:
    """What binds a socket to the device itself, where this process may: a source address alone chooses no route."""
    option = (socket.SOL_SOCKET, _BIND_TO_DEVICE, interface.encode()[:15] + b"\0")
    if sys.platform == "linux":
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(*option)
            return [option]
    return []
