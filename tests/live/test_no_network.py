"""At boot, ahead of the network: what asks too early asks again soon, and is there when the network is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.spawns, pytest.mark.namespaces]

SCRIPT = """
from kit import FastClock
from azurelite.clock import Deadline
from azurelite.errors import TransportError
from azurelite.fabric import retry
from azurelite.fabric.exchange import Request
from azurelite.fabric.http import HttpClient

clock = FastClock()
client = HttpClient(clock)
try:
    client.ask(Request("http://168.63.129.16/", {}, 1.0), table=retry.IMDS, deadline=Deadline(clock, 5.0))
except TransportError as error:
    told = client.exchanges
    print(error.kind, len(told), round(told[0].started + told[0].seconds), len(clock.slept), max(clock.slept), sep="|")
"""


def test_a_machine_without_a_network_asks_ten_times_a_second() -> None:
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    command = ["unshare", "--net", sys.executable, "-c", SCRIPT]
    env = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env, timeout=60)
    kind, told, seconds, tries, longest = done.stdout.split("|")
    assert kind == "connection error"
    assert (told, seconds) == ("1", "5")  # one long wait, for people; not ten lines a second
    assert int(tries) > 40
    assert float(longest) == 0.1
