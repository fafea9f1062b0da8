"""Runs inside the stage: contrib/shell/azurelite-ready in a live guest, against the simulator on Azure's addresses.

Reads a job as JSON on standard input, writes what happened as JSON.

Job: {"program": "...", "files": {path: text}, "runs": [{"argv": [...], "vm": {...}, "faults": [...], ...}]}

Each run has a fabric of its own, and shell texts for the guest `before` and `after` it. `framing` says how its answers
travel: "plain" is the simulator's own; "chunked", "old" (HTTP/1.0 without a length), "open" (the connection
stays open) and "flood" (without an end) come from a server between the two.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from live import driver

from azurelite.simulator import Scenario, Simulator

ADDRESSES = [("168.63.129.16", 80), ("169.254.169.254", 80)]
PROGRAM = "/usr/local/sbin/azurelite-ready"


def main() -> None:
    """Build the guest, do the runs, tell."""
    job = json.load(sys.stdin)
    driver.build_guest()
    (driver.GUEST / PROGRAM.lstrip("/")).write_text(job["program"])
    (driver.GUEST / PROGRAM.lstrip("/")).chmod(0o755)
    for name, text in job.get("files", {}).items():
        path = driver.GUEST / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    json.dump([_run(run) for run in job["runs"]], sys.stdout)


def _run(run: dict[str, Any]) -> dict[str, Any]:
    subprocess.run(["hostname", "before"], check=True)
    scenario = Scenario.from_dict({"vm": run.get("vm", {}), "faults": run.get("faults", [])})
    dmi = driver.GUEST / "sys/class/dmi/id"
    (dmi / "product_uuid").write_text(run.get("uuid", scenario.vm.vm_id + "\n"))
    (dmi / "chassis_asset_tag").write_text(run.get("tag", driver.CHASSIS_TAG + "\n"))
    with _serving(scenario, run.get("framing", "plain")) as fabric:
        if "before" in run:
            subprocess.run(["chroot", str(driver.GUEST), "sh", "-c", run["before"]], check=True)
        started = time.monotonic()
        done = subprocess.run(
            ["ip", "netns", "exec", "vm", "chroot", str(driver.GUEST), *run["argv"]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=100,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **run.get("env", {})},
        )
        seconds = time.monotonic() - started
        looked = subprocess.run(
            ["chroot", str(driver.GUEST), "sh", "-c", run.get("after", "true")],
            capture_output=True,
            text=True,
            check=False,
        )
    return {
        "code": done.returncode,
        "out": done.stdout,
        "err": done.stderr,
        "seconds": seconds,
        "looked": looked.stdout + looked.stderr,
        "endpoints": [request.endpoint for request in fabric.requests],
        "targets": [request.target for request in fabric.requests],
        "bodies": [request.body.decode(errors="replace") for request in fabric.requests],
        "headers": [dict(request.headers) for request in fabric.requests],
        "reports": [dict(vars(report)) for report in fabric.reports],
        "hostname": os.uname().nodename,
    }


@contextlib.contextmanager
def _serving(scenario: Scenario, framing: str) -> Iterator[Simulator]:
    if framing == "plain":
        with Simulator(scenario, listen=ADDRESSES, rate_limit=None) as fabric:
            yield fabric
        return
    with Simulator(scenario, rate_limit=None) as fabric:
        between = [Between(address, fabric.url, framing) for address in ADDRESSES]
        try:
            yield fabric
        finally:
            for server in between:
                server.stop()


class Between:
    """Passes requests on to the simulator, and its answers back in another form."""

    def __init__(self, address: tuple[str, int], url: str, framing: str) -> None:
        self._url = url
        self._framing = framing
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(address)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Close all sockets."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in (self._listener, *self._open):
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            status, headers, body = self._ask(*_read(sock))
            self._answer(sock, status, headers, body)
        if self._framing != "open":
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _ask(self, line: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        method, target = line.split()[:2]
        kept = {name: value for name, value in headers.items() if name.lower() not in ("host", "connection")}
        request = Request(self._url + target, body or None, kept, method=method)
        try:
            with urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def _answer(self, sock: socket.socket, status: int, headers: dict[str, str], body: bytes) -> None:
        kept = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length")
        if self._framing == "chunked":
            pieces = [body[start : start + 100] for start in range(0, len(body), 100)]
            chunks = b"".join(b"%X;x=y\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            sock.sendall(f"HTTP/1.1 {status} X\r\n{kept}transfer-encoding: Chunked\r\n\r\n".encode() + chunks)
        elif self._framing == "old":
            sock.sendall(f"HTTP/1.0 {status} X\r\n{kept}\r\n".encode() + body)
        elif self._framing == "open":
            sock.sendall(f"HTTP/1.1 {status} X\r\n{kept}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            sock.sendall(f"HTTP/1.1 {status} X\r\n{kept}\r\n".encode() + body)
            while True:
                sock.sendall(b"x" * 65536)


def _read(sock: socket.socket) -> tuple[str, dict[str, str], bytes]:
    stream = sock.makefile("rb")
    line = stream.readline().decode()
    headers: dict[str, str] = {}
    for raw in iter(stream.readline, b"\r\n"):
        name, _, value = raw.decode().partition(":")
        headers[name] = value.strip()
    size = next((int(value) for name, value in headers.items() if name.lower() == "content-length"), 0)
    return line, headers, stream.read(size)


if __name__ == "__main__":
    main()
