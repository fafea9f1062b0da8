"""Runs inside the stage: asks as azurelite asks, takes leases as azurelite takes them, and tells as JSON.

ask ADDRESS [INTERFACE] [UID]    one exchange, and why it failed where it did
lease INTERFACE SECONDS [fail]   an ephemeral lease; with "fail" the block under it raises
serve ADDRESS                    an HTTP server that answers everything, until it is killed
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - urllib3 asks for it late, when the interpreter's files may be out of reach
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Callable

from azurelite.clock import Deadline, SystemClock
from azurelite.errors import AzureliteError, TransportError
from azurelite.fabric.exchange import Request
from azurelite.fabric.http import HttpClient
from azurelite.fabric.retry import RetryTable
from azurelite.system.machine import System
from azurelite.system.network.dhcp import EphemeralDhcp
from azurelite.system.network.reach import explain
from azurelite.system.root import Root

TIMEOUT = 1.5


def ask(address: str, interface: str = "", uid: str = "0") -> dict[str, Any]:
    if uid != "0":
        os.setresuid(int(uid), int(uid), int(uid))
    http = HttpClient(SystemClock(), interface=interface or None)
    try:
        request = Request(f"http://{address}/", {}, TIMEOUT)
        answer = http.ask(request, table=RetryTable({}), deadline=Deadline(SystemClock(), TIMEOUT))
    except TransportError as error:
        return {"failed": str(error), "why": explain(Root("/"), address, error, uid=os.getuid())}
    except AzureliteError as error:
        return {"failed": str(error), "kind": type(error).__name__}
    return {"body": answer.body.decode()}


def look() -> dict[str, str]:
    """All that an ephemeral lease must leave as it was."""
    settings = "cd /proc/sys/net && grep -rs . ipv4/conf/eth0 ipv6/conf/eth0 | sort"
    state = (
        "cat /etc/resolv.conf /etc/hostname; find /var/lib/dhc* /run/dhc* -printf '%y %p %m %U %s\n' 2>/dev/null | sort"
    )
    leases = "find /var/lib/dhc* -type f -printf '%p %T@\n' -exec cat {} + 2>/dev/null | sort"
    commands = [
        "ip addr",
        "ip route show table all",
        settings,
        state,
        leases,
        "find /run /tmp -maxdepth 2 -path '*/azurelite-*/script'",
    ]
    return {
        command: subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout
        for command in commands
    }


def lease(interface: str, seconds: str, how: str = "") -> dict[str, Any]:
    system = System("/", search_path=os.environ["SHIMS"])
    before = look()
    told: dict[str, Any] = {}
    during: dict[str, str] = {}
    try:
        with EphemeralDhcp(system, interface, Deadline(SystemClock(), float(seconds))) as taken:
            told = {"address": taken.address, "prefix": taken.prefix, "wireserver": taken.wireserver}
            told["routes"] = [[route.destination, route.gateway] for route in taken.routes]
            during = look()
            if how == "fail":
                raise KeyboardInterrupt
    except (AzureliteError, KeyboardInterrupt) as error:
        told["failed"] = str(error) or type(error).__name__
    after = look()
    changed = [
        f"{command}:\n{before[command]}\n{after[command]}" for command in before if before[command] != after[command]
    ]
    return {
        **told,
        "changed": changed,
        "addresses": during.get("ip addr"),
        "table": during.get("ip route show table all"),
    }


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def main() -> None:
    verb, *words = sys.argv[1:]
    if verb == "serve":
        server = HTTPServer((words[0], 80), _Handler)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        threading.Thread(target=server.serve_forever).start()
        return
    verbs: dict[str, Callable[..., dict[str, Any]]] = {"ask": ask, "lease": lease}
    json.dump(verbs[verb](*words), sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
