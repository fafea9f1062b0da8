"""The kernel's messages about links: what is read from them, and what real ones look like."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
from typing import Any, Callable, Optional

import pytest

from azurelite.errors import MachineError
from azurelite.system.network.links import LOST, LinkEvent, LinkWatch, await_replacement, await_switch, parse_events

NEW, DELETED, GET, SET = 16, 17, 18, 19
NOT_PRESENT, DOWN, BELOW_DOWN, DORMANT, UP = 1, 2, 3, 5, 6
NAME, STATE, MTU = 3, 16, 4


def attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)


def message(kind: int, name: str = "eth0", state: Optional[int] = None, *, family: int = 0, more: bytes = b"") -> bytes:
    """A message as the kernel writes it."""
    body = struct.pack("=BxHiII", family, 1, 2, 0x1003, 0) + attribute(MTU, struct.pack("=I", 1500))
    body += attribute(NAME, name.encode() + b"\0") if name else b""
    body += (attribute(STATE, bytes([state])) if state is not None else b"") + more
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def up(name: str = "eth0") -> LinkEvent:
    return LinkEvent(name, up=True)


def down(name: str = "eth0") -> LinkEvent:
    return LinkEvent(name, down=True)


def gone(name: str = "eth0") -> LinkEvent:
    return LinkEvent(name, gone=True, down=True)


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"", []),
        (message(NEW, state=UP), [up()]),
        (message(NEW, state=DOWN), [down()]),
        (message(NEW, state=BELOW_DOWN), [down()]),
        (message(NEW, state=NOT_PRESENT), [down()]),
        (message(NEW, state=DORMANT), [LinkEvent("eth0")]),
        (message(NEW), [LinkEvent("eth0")]),
        (message(DELETED, state=DOWN), [gone()]),
        (message(DELETED, state=UP), [gone()]),
        (message(GET, state=UP), []),
        (message(SET, state=UP), []),
        (message(NEW, state=UP, family=7), []),  # a port that joins a bridge
        (message(DELETED, state=UP, family=7), []),  # and leaves it: the link is still there
        (message(NEW, "", UP), []),
        (message(NEW, "a-name-of-15-ch", UP), [up("a-name-of-15-ch")]),
        (message(NEW, "x", UP), [up("x")]),
        (message(NEW, state=UP, more=b"\0\0\0"), [up()]),  # too short for an attribute, and of no even length
        (message(NEW, state=UP) + message(DELETED, "eth1"), [up(), gone("eth1")]),
        (message(NEW, state=UP) + message(GET) + message(NEW, state=DOWN), [up(), down()]),
        (message(NEW, state=UP, more=b"\0") + message(NEW, state=DOWN)[:40], [up()]),
    ],
)
def test_what_is_read_from_a_datagram(data: bytes, events: list[LinkEvent]) -> None:
    assert parse_events(data) == events


def test_messages_of_odd_length_are_padded() -> None:
    odd = message(NEW, state=UP)[:-3]  # the kernel leaves the padding of the last attribute out of the length
    odd = struct.pack("=I", len(odd)) + odd[4:]
    assert parse_events(odd + b"\0\0\0" + message(NEW, state=DOWN)) == [up(), down()]


def test_a_torn_message_ends_it_and_what_was_whole_counts() -> None:
    first, second = message(NEW, state=DOWN), message(NEW, state=UP)
    for length in range(len(second)):
        assert parse_events(first + second[:length]) == [down()]


@pytest.mark.parametrize("length", [0, 1, 15, 17, 31, 0xFFFFFFFF])
def test_a_message_that_lies_about_its_length(length: int) -> None:
    assert parse_events(struct.pack("=I", length) + message(NEW, state=UP)[4:]) == []


@pytest.mark.parametrize("length", [0, 3, 0xFFFF])
def test_an_attribute_that_lies_about_its_length_hides_what_is_behind_it(length: int) -> None:
    assert parse_events(message(NEW, more=struct.pack("=HHI", length, STATE, UP))) == [LinkEvent("eth0")]


def test_no_bytes_break_it() -> None:
    chance = random.Random(4)
    honest = message(NEW, state=UP) + message(DELETED, "eth1", DOWN)
    for index in range(len(honest)):
        for value in (0, 1, 0x7F, 0xFF):
            parse_events(honest[:index] + bytes([value]) + honest[index + 1 :])
    for _ in range(2000):
        parse_events(chance.randbytes(chance.randrange(200)))


@pytest.mark.parametrize(
    ("events", "switched"),
    [
        ([down(), up()], True),
        ([down(), LinkEvent("eth0"), up()], True),  # dormant in between
        ([down(), down(), up()], True),
        ([gone(), up()], True),  # the whole NIC, under its old name
        ([LOST], True),
        ([down(), LOST], True),
        ([], False),
        ([up()], False),
        ([down()], False),
        ([up(), down()], False),
        ([up(), LinkEvent("eth0"), up()], False),
        ([down("eth1"), up("eth1")], False),
        ([down("eth1"), up()], False),
        ([down(), up("eth1")], False),
        ([down(), down("eth1"), up("eth1"), up()], True),
    ],
)
def test_a_switch_of_a_link(events: list[LinkEvent], switched: bool) -> None:
    assert await_switch(events, "eth0") is switched


def test_a_switch_of_any_link() -> None:
    assert await_switch([down("a"), up("a")], None)
    assert not await_switch([down("a"), up("b")], None)


@pytest.mark.parametrize(
    ("events", "name"),
    [
        ([gone(), up("eth1")], "eth1"),
        ([gone(), down("eth1")], "eth1"),  # nobody has brought it up yet
        ([gone(), up()], "eth0"),
        ([gone("enP1s1"), gone(), down("eth1")], "eth1"),  # the twin goes with it
        ([LOST], ""),
        ([gone(), LOST], ""),
        ([], None),
        ([gone()], None),
        ([down("eth1"), up("eth1")], None),
        ([up("eth1"), gone()], None),
    ],
)
def test_a_link_that_is_replaced(events: list[LinkEvent], name: Optional[str]) -> None:
    assert await_replacement(events) == name


class TestLinkWatch:
    def test_it_yields_what_comes_and_ends_when_nothing_does(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs, LinkWatch(ours) as watch:
            theirs.send(message(NEW, state=DOWN) + message(NEW, "eth1", UP))
            theirs.send(b"\xff" * 40)
            theirs.send(message(NEW, state=UP))
            assert list(watch.events(wait=0.05)) == [down(), up("eth1"), up()]
        assert ours.fileno() == -1

    def test_a_socket_that_breaks_is_an_error(self) -> None:
        refused = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            refused.connect(closed.getsockname())
        refused.send(b"x")
        with (
            LinkWatch(refused) as watch,
            pytest.raises(MachineError, match="cannot watch network links any longer: Connection refused"),
        ):
            list(watch.events(wait=2))


ABOVE = """
import json, socket, subprocess, sys
from azurelite.system.network.links import LinkWatch

def ip(words):
    subprocess.run(["ip", *words.split()], check=True, timeout=9)

def tell(watch):
    print(json.dumps([vars(event) for event in watch.events(wait=0.2)]))
"""


@pytest.fixture
def inside() -> Callable[[str], Any]:
    """Run Python in a network namespace of its own; what it told."""
    namespace = ["unshare", "--net"]
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    if shutil.which("ip") is None:
        pytest.skip("needs `ip`: install iproute2")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel or container does not allow new namespaces")

    def run(script: str) -> Any:
        path = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [*namespace, sys.executable, "-c", ABOVE + script]
        done = subprocess.run(
            command, env={**os.environ, **path}, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return [[LinkEvent(**event) for event in json.loads(line)] for line in done.stdout.splitlines()]

    return run


@pytest.mark.spawns
@pytest.mark.namespaces
class TestKernel:
    def test_a_veth_that_goes_down_up_and_away(self, inside: Callable[[str], Any]) -> None:
        added, dropped, risen, removed = inside(
            "with LinkWatch() as watch:\n"
            "    ip('link add eth7 type veth peer name far7')\n"
            "    ip('link set eth7 up'); ip('link set far7 up'); tell(watch)\n"
            "    ip('link set far7 down'); tell(watch)\n"
            "    ip('link set far7 up'); tell(watch)\n"
            "    ip('link del far7'); tell(watch)\n"
        )
        assert {event.name for event in added} == {"eth7", "far7"}
        assert up("eth7") in added
        assert down("eth7") in dropped
        assert up("eth7") not in dropped
        assert up("eth7") in risen
        assert {gone("eth7"), gone("far7")} <= set(removed)
        assert await_switch([*dropped, *risen], "eth7")
        assert not await_switch([*added, *dropped], "lo")
        assert await_replacement([*removed, *added]) in ("eth7", "far7")

    def test_a_port_that_leaves_a_bridge_is_no_link_that_goes(self, inside: Callable[[str], Any]) -> None:
        (events,) = inside(
            "ip('link add br7 type bridge'); ip('link add eth7 type veth peer name far7')\n"
            "ip('link set br7 up'); ip('link set eth7 up master br7')\n"
            "with LinkWatch() as watch:\n"
            "    ip('link set eth7 nomaster'); tell(watch)\n"
        )
        assert events
        assert not any(event.gone for event in events)

    def test_messages_that_the_kernel_had_to_drop(self, inside: Callable[[str], Any]) -> None:
        (events,) = inside(
            "tiny = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
            "tiny.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1); tiny.bind((0, 1))\n"
            "with LinkWatch(tiny) as watch:\n"
            "    for number in range(4):\n"
            "        ip(f'link add eth{number} type veth peer name far{number}')\n"
            "    tell(watch)\n"
        )
        assert LOST in events
