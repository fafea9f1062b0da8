"""A dotted address is dialled as it is: no look-up, and no encoding of names."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from azurelite.simulator import Simulator

SCRIPT = """
import sys
looked_up = []
sys.addaudithook(lambda event, _: looked_up.append(event) if event == "socket.getaddrinfo" else None)
from azurelite.clock import SystemClock
from azurelite.fabric.connection import BoundedPool, Limit
limit = Limit(SystemClock())
limit.deadline = limit.deadline.__class__(SystemClock(), 10)
pool = BoundedPool(sys.argv[1], int(sys.argv[2]), limit)
answer = pool.urlopen("GET", "/?comp=versions", retries=False, timeout=10)
print(answer.status, len(looked_up), "encodings.idna" in sys.modules)
"""


def no_localhost() -> bool:
    """Tell whether this machine has no address for localhost: a Debian that mmdebstrap made has no /etc/hosts."""
    try:
        socket.gethostbyname("localhost")
    except OSError:
        return True
    return False


NAME = pytest.mark.skipif(no_localhost(), reason="needs an address for localhost: put it into /etc/hosts")


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("host", "looked_up"), [("127.0.0.1", "0 False"), pytest.param("localhost", "1 True", marks=NAME)]
)
def test_only_a_name_is_looked_up(fabric: Simulator, host: str, looked_up: str) -> None:
    port = fabric.url.rstrip("/").rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, host, port], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == f"200 {looked_up}\n", done.stderr
