"""The simulator as a server: listening sockets, threads, HTTP/1.1 framing, and the log of requests.

This module turns bytes into an Ask and sends answers. It does not decide what the answer is.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import socketserver
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any, Callable, Union

from azurelite.simulator import faults
from azurelite.simulator.disc import disc_image
from azurelite.simulator.fabric import Fabric
from azurelite.simulator.keyring import Certificate
from azurelite.simulator.message import Answer, Ask, text_answer
from azurelite.simulator.ovf import FILE_NAME
from azurelite.simulator.record import Report, Request, json_line
from azurelite.simulator.scenario import Scenario, Vm

Address = tuple[str, int]
Listen = Union[Address, Sequence[Address]]

BODY_LIMIT = 1024 * 1024  # bytes of a request body
_DRAIN_LIMIT = 16 * BODY_LIMIT
_POLL = 0.02  # seconds until a listener notices that it must stop
_log = logging.getLogger(__name__)


class Simulator:
    """A fake Azure fabric on one or several addresses with the same state. Usable as a context manager."""

    def __init__(
        self,
        scenario: Scenario,
        listen: Listen = ("127.0.0.1", 0),
        log: str | os.PathLike[str] | None = None,
        *,
        rate_limit: int | None = 5,
    ) -> None:
        """Open nothing yet.

        `listen`: one (host, port) or several; port 0 picks a free one. `log`: a file to which one JSON line per
        request is appended. `rate_limit`: IMDS requests per second before it answers 429; None: no limit.
        """
        self.scenario = scenario
        self._listen: list[Address] = [listen] if isinstance(listen[0], str) else list(listen)  # type: ignore[list-item, arg-type]
        self._log_path = log
        self._log_file: IO[str] | None = None
        self._fabric = Fabric(scenario, rate_limit=rate_limit, note=self._note)
        self._listeners: list[_Listener] = []
        self._addresses: list[Address] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._started = 0.0

    def start(self) -> None:
        """Bind and serve. Raises OSError where an address or the log cannot be opened, RuntimeError when running."""
        if self._listeners:
            raise RuntimeError("the simulator is already running")
        self._stopping.clear()
        self._started = time.monotonic()
        try:
            if self._log_path is not None:
                self._log_file = open(self._log_path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - see stop()
            for address in self._listen:
                listener = _Listener(address, fabric=self._fabric, stopping=self._stopping, clock=self._clock)
                self._listeners.append(listener)
        except OSError:
            self.stop()
            raise
        self._addresses = [listener.bound for listener in self._listeners]
        for listener in self._listeners:
            thread = threading.Thread(target=listener.serve_forever, args=(_POLL,), name="simulator", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Close every socket, also of delayed answers; do nothing when not running. The record stays readable."""
        self._stopping.set()
        for listener in self._listeners:
            if self._threads:
                listener.shutdown()
            listener.server_close()
            listener.hang_up()
        for thread in self._threads:
            thread.join()
        self._listeners, self._threads = [], []
        log_file, self._log_file = self._log_file, None
        if log_file is not None:
            log_file.close()

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def addresses(self) -> list[Address]:
        """(host, port) of every listening socket, as bound. Raises RuntimeError before the first start."""
        if not self._addresses:
            raise RuntimeError("the simulator has not been started")
        return list(self._addresses)

    @property
    def address(self) -> Address:
        """The first of `addresses`."""
        return self.addresses[0]

    @property
    def url(self) -> str:
        """http://host:port of the first address."""
        return f"http://{_host_port(self.address)}"

    @property
    def datasource(self) -> dict[str, dict[str, str]]:
        """The section `datasource` of a configuration that makes azurelite use this simulator."""
        return {name: {"endpoint": self.url} for name in ("imds", "wireserver")}

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order of arrival; a copy."""
        return self._fabric.requests

    @property
    def reports(self) -> list[Report]:
        """Every well-formed health report so far, refused ones included; a copy."""
        return self._fabric.reports

    @property
    def telemetry(self) -> list[dict[str, str]]:
        """Every telemetry event that was accepted so far, each as name -> value; a copy."""
        return self._fabric.telemetry

    @property
    def vm(self) -> Vm:
        """The VM in its current state, after moves and `assign`."""
        return self._fabric.vm

    def ovf(self, *, prefix: str = "wa") -> bytes:
        """The VM's current provisioning document; see `ovf.ovf_document`."""
        return self._fabric.ovf(prefix=prefix)

    def media(self, kind: str = "udf", *, prefix: str = "wa") -> bytes:
        """The image of a disc with that document; `kind`: udf as on Azure, iso9660 or bridge."""
        return disc_image({FILE_NAME: self.ovf(prefix=prefix)}, kind=kind)

    @property
    def certificates(self) -> list[Certificate]:
        """The VM's certificates, made when they are first asked for. Raises CertificatesError without openssl."""
        return self._fabric.certificates

    def move_incarnation(self) -> None:
        """Increase the goal state's incarnation by one; reports with the old one get 410."""
        self._fabric.move_incarnation()

    def move_container(self) -> None:
        """Give the VM a new container id, as after a migration to another host."""
        self._fabric.move_container()

    def assign(self, **vm_changes: object) -> None:
        """Take the VM out of the pool: change its fields, and serve its new provisioning document as reprovisiondata.

        The marks of a pool VM (`pps_type`, `preprovisioned_*`, `ovf_text`) are reset and the incarnation increases,
        unless the changes set them. Raises ScenarioError, ValueError or CertificatesError; then nothing changes.
        """
        self._fabric.assign(vm_changes)

    def _clock(self) -> float:
        return time.monotonic() - self._started

    def _note(self, request: Request) -> None:
        log_file = self._log_file
        if log_file is not None:
            try:
                log_file.write(json_line(request))
            except (OSError, ValueError) as error:
                # The disk is full, or stop() has closed the file: the fabric still answers.
                _log.debug("simulator: request log not written: %s", error)


def config_text(url: str) -> str:
    """The YAML that makes azurelite use a simulator on `url`."""
    return (
        "datasource:\n"
        "  platform: azure\n"
        f'  imds: {{endpoint: "{url}"}}\n'
        f'  wireserver: {{endpoint: "{url}"}}\n'
    )  # fmt: skip


class _Listener(ThreadingHTTPServer):
    """One listening socket, with a daemon thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: Address, *, fabric: Fabric, stopping: threading.Event, clock: Callable[[], float]
    ) -> None:
        self.fabric = fabric
        self.stopping = stopping
        self.clock = clock
        self._open: set[Any] = set()
        self._open_lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    @property
    def bound(self) -> Address:
        host, port = self.socket.getsockname()[:2]
        return str(host), int(port)

    def server_bind(self) -> None:
        # HTTPServer would look up its own name here; the simulator must work without DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.bound

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        # Usually a client closed the connection. The base class would print a traceback to stderr.
        _log.debug("simulator: connection of %s ended", client_address, exc_info=True)

    def hang_up(self) -> None:
        """Close every open connection, so that threads that wait for a client's next request end."""
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_GET(self) -> None:
        """Serve a request with any verb; the endpoint decides which verbs it allows."""
        body, refusal = self._read_body()
        ask = Ask(self.command, self.path, self._joined_headers(), body, _host_port(self.connection.getsockname()))
        verdict = self.server.fabric.decide(ask, at=self.server.clock, refusal=refusal)
        alive = faults.play(
            verdict.answer,
            verdict.fault,
            send=self.wfile.write,
            wait=self.server.stopping.wait,
            bodiless=self.command == "HEAD",
        )
        if not alive or refusal is not None:
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - the base class asks for them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Print nothing; the base class would print to stderr."""

    def _joined_headers(self) -> dict[str, str]:
        joined: dict[str, str] = {}
        for name, value in self.headers.items():
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    def _read_body(self) -> tuple[bytes, Answer | None]:
        """The body; or the error answer for one without a valid length, or too long."""
        if self.headers.get("Transfer-Encoding") is not None:
            return b"", text_answer(411, "A body needs Content-Length.")
        announced = self.headers.get("Content-Length", "0").strip()
        if not re.fullmatch(r"[0-9]{1,18}", announced):
            return b"", text_answer(400, "Content-Length is not a number.")
        length = int(announced)
        if length > BODY_LIMIT:
            # Read the bytes: closing with unread bytes would reset the connection, and the answer would be lost.
            self._drain(min(length, _DRAIN_LIMIT))
            return b"", text_answer(413, f"The body is over {BODY_LIMIT} bytes.")
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            raise ConnectionResetError("the client closed the connection within the body")
        return body, None

    def _drain(self, length: int) -> None:
        while length > 0:
            block = self.rfile.read(min(length, 64 * 1024))
            if not block:
                return
            length -= len(block)


def _host_port(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
