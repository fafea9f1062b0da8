"""Servers that speak bytes as a script says, for what no well-built HTTP server would do; a client, ready to ask."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest
from kit import FastClock

from azurelite.clock import Deadline
from azurelite.fabric.client import Fabric
from azurelite.fabric.exchange import Request, Response
from azurelite.fabric.http import HttpClient
from azurelite.fabric.retry import RetryTable
from azurelite.fabric.settings import ImdsSettings, WireServerSettings
from azurelite.simulator import Scenario, Simulator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENT = RetryTable({503: 1}, transport=1)
ONE_TRY = RetryTable({}, transport=30)  # the longest pause that there is


class Link:
    """One connection, from the server's end."""

    def __init__(self, sock: socket.socket, number: int, server: RawServer) -> None:
        self.sock = sock
        self.number = number
        self._server = server

    def read(self) -> bool:
        """Read one request without a body; False when the client has hung up."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                return False
            data += more
        self._server.requests.append(data)
        return True

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, pause: float = 0.05) -> None:
        """Byte by byte, until the client or the test has had enough."""
        for i in range(len(data)):
            self.sock.sendall(data[i : i + 1])
            if self.wait(pause):
                return

    def wait(self, seconds: float) -> bool:
        """Wait; True when the test is over."""
        return self._server.stopping.wait(seconds)

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Link], object]


class RawServer:
    """Plays `script` for every connection; the connection is closed behind it."""

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(Link(sock, self.connections, self),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, link: Link) -> None:
        with link.sock:
            try:
                self._script(link)
            except OSError:
                return  # the client has hung up


def answering(*answers: bytes) -> Script:
    """A script: the n-th request of a connection gets the n-th answer, and after the last one it hangs up."""

    def script(link: Link) -> None:
        for answer in answers:
            if not link.read():
                return
            link.send(answer)

    return script


def always(answer: bytes) -> Script:
    """A script: every request gets that answer, over a connection that stays."""

    def script(link: Link) -> None:
        while link.read():
            link.send(answer)

    return script


def resetting(link: Link) -> None:
    """A script: the request is read and answered with a RST."""
    if link.read():
        link.reset()


class Scripts:
    """The scripts that are ready to use."""

    OK = OK
    answering = staticmethod(answering)
    always = staticmethod(always)
    resetting = staticmethod(resetting)


Raw = Callable[[Script], RawServer]
Simulate = Callable[..., Simulator]
Dial = Callable[..., Fabric]


@pytest.fixture
def raw() -> Iterator[Raw]:
    """Starts a RawServer, as often as a test likes."""
    started: list[RawServer] = []

    def start(script: Script) -> RawServer:
        started.append(RawServer(script))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Starts a fabric with faults (mappings) and a VM (keywords)."""
    started: list[Simulator] = []

    def start(*faults: dict[str, Any], **vm: Any) -> Simulator:
        simulator = Simulator(Scenario.from_dict({"vm": vm, "faults": list(faults)}), rate_limit=None)
        simulator.start()
        started.append(simulator)
        return simulator

    yield start
    for simulator in started:
        simulator.stop()


class Asker:
    """An HttpClient with a GET in one word: one try, with time for it on a busy machine, unless `seconds` are given."""

    def __init__(self, clock: FastClock) -> None:
        self.clock = clock
        self.http = HttpClient(clock)

    def __call__(
        self,
        url: str,
        *,
        seconds: Optional[float] = None,
        timeout: float = 10,
        table: RetryTable = PATIENT,
        body: Optional[bytes] = None,
    ) -> Response:
        if seconds is None:
            seconds, table = 20, ONE_TRY
        request = Request(url, {"Metadata": "true"}, timeout, method="GET" if body is None else "POST", body=body)
        return self.http.ask(request, table=table, deadline=Deadline(self.clock, seconds))


@pytest.fixture
def ask(clock: FastClock) -> Iterator[Asker]:
    """Asks one URL."""
    asker = Asker(clock)
    yield asker
    asker.http.close()


@pytest.fixture
def dial(clock: FastClock) -> Iterator[Dial]:
    """Opens a Fabric on a base URL."""
    opened: list[Fabric] = []

    def open_fabric(url: str, *, seconds: float = 60, timeout: float = 2, imds_deadline: float = 300) -> Fabric:
        imds = ImdsSettings(url, timeout=timeout, deadline=imds_deadline)
        wireserver = WireServerSettings(url, timeout=timeout, dialect="xml")
        fabric = Fabric(seconds, imds=imds, wireserver=wireserver, clock=clock)
        opened.append(fabric)
        return fabric

    yield open_fabric
    for fabric in opened:
        fabric.http.close()


@pytest.fixture
def scripts() -> type[Scripts]:
    """The scripts that are ready to use."""
    return Scripts
