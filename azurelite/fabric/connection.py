"""An HTTP connection with one time limit for the whole request, so that a slow server cannot block the run.

A plain socket timeout restarts with each byte. Here one limit covers connecting, sending, status line, headers and
body. Only this file knows how urllib3 makes connections, and only this file binds them to an interface.
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

_SIOCGIFADDR = 0x8915 if sys.platform == "linux" else 0xC0206921  # the BSDs' number; the address is at the same offset
_BIND_TO_DEVICE = 25  # SO_BINDTODEVICE, which Python names on Linux only


class Limit:
    """The time that the current request may still take."""

    def __init__(self, clock: Clock) -> None:
        self.deadline = Deadline(clock, 0)

    def apply(self, sock: socket.socket) -> None:
        """Set the timeout of the socket's next operation to the time left. Raises TimeoutError if none is left."""
        remaining = self.deadline.remaining()
        if remaining <= 0:
            raise socket.timeout("timed out")
        sock.settimeout(remaining)


class _BoundedReader(io.RawIOBase):
    """Reads from a socket, and applies the limit before each read."""

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
    """A connected socket for http.client. Applies the limit to sending and reading, and passes on everything else."""

    def __init__(self, sock: socket.socket, limit: Limit) -> None:
        self._sock = sock
        self._limit = limit

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._limit))

    def sendall(self, data: bytes) -> None:
        self._limit.apply(self._sock)
        self._sock.sendall(data)

    def settimeout(self, _: Optional[float]) -> None:
        """Ignore the read timeout that urllib3 sets: the limit applies instead."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Connection(HTTPConnection):
    def __init__(self, *args: Any, limit: Limit, interface: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit = limit
        self._interface = interface

    def connect(self) -> None:
        if self._interface is not None:  # for each connection: DHCP may have changed the address
            self.source_address = (primary_address(self._interface), 0)
            self.socket_options = [*self.default_socket_options, *_device_option(self._interface)]
        super().connect()
        self.sock: Any = _BoundedSocket(self.sock, self._limit)

    def _new_conn(self) -> Any:
        """Connect to an IPv4 address directly. urllib3 would treat it as a name: encode it by IDNA and look it up."""
        try:
            socket.inet_pton(socket.AF_INET, self.host)
        except OSError:
            return super()._new_conn()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(self._limit.deadline.remaining() or 0.001)  # 0 would mean: do not block
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
    """A kept-alive connection to one server. Ignores all proxy settings.

    Args:
        host: address of the server.
        port: TCP port.
        limit: the time limit of each request.
        interface: the NIC to use; None: the routing table decides.
    """

    ConnectionCls = _Connection
    # A scheme that urllib3 does not know. It normalises host names of known schemes, with patterns that take 4 ms to
    # compile; ours come from a URL that is already parsed.
    scheme = "http, as it is"

    def __init__(self, host: str, port: int, limit: Limit, *, interface: Optional[str] = None) -> None:
        super().__init__(host, port, maxsize=1, limit=limit, interface=interface)
        self.limit = limit


def check_interface(name: str) -> None:
    """Raise ConfigError, with the names of the existing ones, unless the machine has this interface."""
    there = sorted(found for _, found in socket.if_nameindex())
    if name not in there:
        raise ConfigError(f"datasource.interface: this machine has no {name!r}: set auto or one of {', '.join(there)}")


def primary_address(interface: str) -> str:
    """The first IPv4 address of an interface, in the kernel's order.

    Raises:
        OSError: it has no address (yet), or does not exist any more.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            request = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("16s240x", interface.encode()[:15]))
        except OSError as error:
            raise OSError(error.errno or errno.EADDRNOTAVAIL, f"{interface} has no IPv4 address") from None
    return socket.inet_ntoa(request[20:24])


def _device_option(interface: str) -> list[tuple[int, int, bytes]]:
    """The socket option that binds to the device, if permitted: a source address alone does not choose the route."""
    option = (socket.SOL_SOCKET, _BIND_TO_DEVICE, interface.encode()[:15] + b"\0")
    if sys.platform == "linux":
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(*option)
            return [option]
    return []
