"""An HTTP connection whose every read is bounded in time: a server that drips bytes cannot hold us.

A plain socket time-out starts anew with each byte. Here one limit spans a whole exchange: connecting,
sending, status line, headers and body. This is the only file that knows how urllib3 makes connections.
"""

from __future__ import annotations

import io
import socket
from typing import Any, Optional

from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from azurelite.clock import Clock, Deadline


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
    def __init__(self, *args: Any, limit: Limit, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit = limit

    def connect(self) -> None:
        super().connect()
        self.sock: Any = _BoundedSocket(self.sock, self._limit)


class BoundedPool(HTTPConnectionPool):
    """A kept-alive connection to one server. It reads no proxy settings from anywhere.

    Args:
        host: address of the server.
        port: TCP port.
        limit: bounds every exchange.
    """

    ConnectionCls = _Connection

    def __init__(self, host: str, port: int, limit: Limit) -> None:
        super().__init__(host, port, maxsize=1, limit=limit)
        self.limit = limit
