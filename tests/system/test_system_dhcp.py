"""An ephemeral lease: what is understood of a client's words, and what `ip` is told, in which order, on every way out.

The programs are shims, and no others can be found. Real clients in real namespaces are in tests/live/test_reach.py.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from kit import FastClock, Guest, shim

from azurelite.clock import Deadline
from azurelite.errors import MachineError
from azurelite.system.machine import System
from azurelite.system.network.dhcp import CLIENTS, EphemeralDhcp, Lease, read_lease
from azurelite.system.network.interfaces import dotted
from azurelite.system.network.routes import Route, number, read_option
from azurelite.system.process import Commands

pytestmark = pytest.mark.spawns

NIC = "azl-none0"  # no machine has it
GATEWAY = "10.0.0.1"


def to(destination: str, gateway: Optional[str]) -> Route:
    network, _, bits = destination.partition("/")
    return Route(number(dotted(network) or b""), int(bits), gateway=gateway)


AZURE = (to("0.0.0.0/0", GATEWAY), to("168.63.129.16/32", GATEWAY), to("169.254.169.254/32", GATEWAY))
PAIRS = f"0.0.0.0/0 {GATEWAY} 168.63.129.16/32 {GATEWAY} 169.254.169.254/32 {GATEWAY}"
BYTES = "0 10 0 0 1 32 168 63 129 16 10 0 0 1 32 169 254 169 254 10 0 0 1"


def words(*lines: str) -> str:
    return "\n".join([*lines, "end", ""])


BASE = ("address=10.0.0.4", "mask=255.255.255.0")
NO_ROUTE: tuple[Route, ...] = ()


@pytest.mark.parametrize(
    ("text", "routes"),
    [
        pytest.param(PAIRS, AZURE, id="BusyBox and dhcpcd"),
        pytest.param(BYTES, AZURE, id="dhclient"),
        pytest.param("24 10 0 1 10 0 0 1", (to("10.0.1.0/24", GATEWAY),), id="three significant bytes"),
        pytest.param("25 10 0 1 255 10 0 0 1", (to("10.0.1.128/25", GATEWAY),), id="bits of the host part"),
        pytest.param("10.0.1.255/25 10.0.0.1", (to("10.0.1.128/25", GATEWAY),), id="bits of the host part, dotted"),
        pytest.param("10.1.0.0/16 0.0.0.0", (to("10.1.0.0/16", None),), id="on the link"),
        pytest.param("16 10 1 0 0 0 0", (to("10.1.0.0/16", None),), id="on the link, in bytes"),
        pytest.param(f"10.1.0.0/16 {GATEWAY} rubbish", (to("10.1.0.0/16", GATEWAY),), id="up to an odd word"),
        pytest.param(
            f"10.1.0.0/16 {GATEWAY} 10.2.0.0/33 {GATEWAY}", (to("10.1.0.0/16", GATEWAY),), id="up to a bad one"
        ),
        pytest.param("0 10 0 0 1 33 1 2 3 4", AZURE[:1], id="up to a bad length"),
        pytest.param("0 10 0 0 1 32 1 2 3", AZURE[:1], id="cut off"),
        pytest.param("0 10 0 0 256", NO_ROUTE, id="no byte"),
        pytest.param("0 10 0 0 -1", NO_ROUTE, id="a sign"),
        pytest.param("10.0.0.0/٣ 10.0.0.1", NO_ROUTE, id="a digit of another script"),
        pytest.param("/ /", NO_ROUTE, id="slashes"),
        pytest.param("", NO_ROUTE, id="nothing"),
    ],
)
def test_classless_routes(text: str, routes: tuple[Route, ...]) -> None:
    assert read_option(text) == routes


@pytest.mark.parametrize(
    ("text", "lease"),
    [
        pytest.param(
            words(*BASE, "routers=10.0.0.9", f"routes={PAIRS}", "wireserver=a83f8110"),
            Lease("10.0.0.4", 24, AZURE, "168.63.129.16"),
            id="routers are ignored beside classless routes",
        ),
        pytest.param(
            words(*BASE, f"routers={GATEWAY} 10.0.0.9", "wireserver=168.63.129.16"),
            Lease("10.0.0.4", 24, AZURE[:1], "168.63.129.16"),
            id="the first router",
        ),
        pytest.param(
            words(*BASE, "routes=", f"routes={PAIRS}"), Lease("10.0.0.4", 24, AZURE, None), id="Microsoft's option 249"
        ),
        pytest.param(words(*BASE), Lease("10.0.0.4", 24, (), None), id="no way out"),
        pytest.param(words("address=10.0.0.4", "mask=255.0.255.0"), Lease("10.0.0.4", 32, (), None), id="no such mask"),
        pytest.param(words("address=10.0.0.4"), Lease("10.0.0.4", 32, (), None), id="no mask"),
        pytest.param(words(*BASE, "wireserver=7f000001"), Lease("10.0.0.4", 24, (), None), id="no such WireServer"),
        pytest.param(words("mask=255.255.255.0"), None, id="no address"),
        pytest.param(words("address=127.0.0.1"), None, id="no usable address"),
        pytest.param("\n".join(BASE), None, id="not written to its end"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_lease(text: str, lease: Optional[Lease]) -> None:
    assert read_lease(text) == lease


def test_no_text_raises() -> None:
    chance = random.Random(121)
    seed = words(*BASE, f"routes={BYTES}", f"routers={GATEWAY}", "wireserver=a83f8110")
    for _ in range(3000):
        text = list(seed)
        for _ in range(chance.randrange(8)):
            text[chance.randrange(len(text))] = chance.choice("/\n= .99٣²ff-")
        read_lease("".join(text))
        read_option("".join(text[40:]))


class OnlyHere(Commands):
    """Finds no program outside of one folder: no test may start this machine's own DHCP client."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def find(self, name: str) -> Optional[str]:
        candidate = os.path.join(self.folder, name)
        return candidate if os.access(candidate, os.X_OK) else None


# What each client gives to its script, and how it is told which.
HOOK = "while [ $# -gt 0 ]; do case $1 in -s|-sf|--script) hook=$2;; esac; shift; done"
ANSWERS = {
    "udhcpc": f"""{HOOK}; "$hook" deconfig
export ip=10.0.0.4 subnet=255.255.255.0 router={GATEWAY} staticroutes='{PAIRS}' opt245=a83f8110
"$hook" bound""",
    "dhclient": f"""{HOOK}; reason=PREINIT "$hook"
export new_ip_address=10.0.0.4 new_subnet_mask=255.255.255.0 new_routers={GATEWAY} reason=BOUND
export new_azurelite_routes='{BYTES}' new_azurelite_wireserver=168.63.129.16
"$hook"; sleep 60""",
    "dhcpcd": f"""{HOOK}; reason=CARRIER "$hook"
export new_ip_address=10.0.0.4 new_subnet_mask=255.255.255.0 new_routers={GATEWAY} reason=BOUND
export new_classless_static_routes='{PAIRS}' new_azurelite_wireserver=168.63.129.16
"$hook" """,
}
IP = """case "$*" in
"link show dev "*) echo '2: azl-none0: <BROADCAST,MULTICAST@UP@> mtu 1500 qdisc noop state @UP@ mode DEFAULT';;
"-4 -o addr show dev "*) echo '@ADDRESS@';;
@CASES@
esac"""
ADDRESS_ADD, ADDRESS_DEL = ["-4 addr add 10.0.0.4/24 dev azl-none0"], ["-4 addr del 10.0.0.4/24 dev azl-none0"]
ROUTES_ADD = [f"-4 route add {r.destination} via {r.gateway} dev azl-none0 metric 4242" for r in AZURE]
ROUTES_DEL = [line.replace(" add ", " del ") for line in reversed(ROUTES_ADD)]
LINK_UP, LINK_DOWN = ["link set dev azl-none0 up"], ["link set dev azl-none0 down"]


class Bench:
    """A machine of shims."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FastClock()
        self.system = System("/")
        self.system.commands = OnlyHere(folder)

    def ip(self, *, up: bool = True, address: str = "", cases: str = "") -> Bench:
        script = IP.replace("@UP@", ",UP" if up else "").replace("@ADDRESS@", address).replace("@CASES@", cases)
        shim(self.folder, "ip", script=script)
        return self

    def client(self, name: str, script: Optional[str] = None, *, exit_code: int = 0) -> Bench:
        shim(self.folder, name, script=ANSWERS[name] if script is None else script, exit_code=exit_code)
        return self

    def lease(self, seconds: float = 30) -> EphemeralDhcp:
        return EphemeralDhcp(self.system, NIC, Deadline(self.clock, seconds))

    def acts(self) -> list[str]:
        """What `ip` was told, without the questions."""
        log = self.folder / "ip.log"
        calls = log.read_text().split("\n--\n") if log.exists() else []
        told = [" ".join(call.split("\n")) for call in calls if call]
        return [call for call in told if " show " not in call]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "bin").mkdir()
    return Bench(tmp_path / "bin")


def left_over() -> set[str]:
    return {
        f"{folder}/{name}"
        for folder in ("/run", "/tmp")
        for name in os.listdir(folder)
        if name.startswith("azurelite-") and os.path.exists(f"{folder}/{name}/script")
    }


@pytest.mark.parametrize("client", CLIENTS)
class TestClients:
    def test_its_lease_is_applied_and_taken_back_in_reverse(self, bench: Bench, client: str) -> None:
        bench.ip().client(client)
        before = left_over()
        with bench.lease() as lease:
            assert lease == Lease("10.0.0.4", 24, AZURE, "168.63.129.16")
            assert bench.acts() == ADDRESS_ADD + ROUTES_ADD
        assert bench.acts() == ADDRESS_ADD + ROUTES_ADD + ROUTES_DEL + ADDRESS_DEL
        assert left_over() <= before

    def test_it_is_told_to_keep_its_hands_off(self, bench: Bench, client: str) -> None:
        bench.ip().client(client)
        with bench.lease():
            pass
        # dhclient is run as a copy, which logs where its original would
        said = (bench.folder / f"{client}.log").read_text().split("\n")
        wanted = {"udhcpc": {"-q", "-f", "-s"}, "dhclient": {"-1", "-d", "-cf", "-lf", "-pf", "-sf"}}
        assert wanted.get(client, {"--noconfigure", "--oneshot", "--config", "--script"}) <= set(said)

    def test_one_that_says_nothing_is_ended_in_time(self, bench: Bench, client: str) -> None:
        bench.ip(up=False).client(client, "sleep 60")
        with pytest.raises(MachineError, match=f"no DHCP lease on {NIC}: {client}: .*was killed"), bench.lease(2.5):
            pass
        assert bench.acts() == LINK_UP + LINK_DOWN

    def test_one_that_fails_gives_its_words(self, bench: Bench, client: str) -> None:
        bench.ip().client(client, "echo no such device >&2", exit_code=1)
        with pytest.raises(MachineError, match="failed with status 1: no such device") as caught, bench.lease():
            pass
        assert caught.value.reason == "failure to obtain DHCP lease"
        assert bench.acts() == []


class TestApplying:
    def test_a_link_that_was_down_goes_down_again_last(self, bench: Bench) -> None:
        bench.ip(up=False).client("udhcpc")
        with bench.lease():
            pass
        applied = LINK_UP + ADDRESS_ADD + ROUTES_ADD
        assert bench.acts() == applied + ROUTES_DEL + ADDRESS_DEL + LINK_DOWN

    def test_an_address_that_was_there_stays(self, bench: Bench) -> None:
        bench.ip(address="2: azl-none0    inet 10.0.0.4/24 brd 10.0.0.255 scope global azl-none0").client("udhcpc")
        with bench.lease():
            pass
        assert bench.acts() == ROUTES_ADD + ROUTES_DEL

    def test_a_like_address_is_another_one(self, bench: Bench) -> None:
        bench.ip(address="2: azl-none0    inet 110.0.0.4/24 scope global azl-none0").client("udhcpc")
        with bench.lease():
            assert bench.acts()[0] == ADDRESS_ADD[0]

    def test_a_route_that_was_there_stays_and_the_others_are_set(self, bench: Bench) -> None:
        bench.ip(cases='*"add 0.0.0.0/0"*) echo RTNETLINK answers: File exists >&2; exit 2;;').client("udhcpc")
        with bench.lease():
            pass
        assert bench.acts() == ADDRESS_ADD + ROUTES_ADD + ROUTES_DEL[:2] + ADDRESS_DEL

    def test_a_gateway_outside_of_the_network_is_on_the_link(self, bench: Bench) -> None:
        answer = ANSWERS["udhcpc"].replace("255.255.255.0", "255.255.255.255")
        bench.ip().client("udhcpc", answer)
        with bench.lease():
            assert bench.acts()[1:] == [f"{line} onlink" for line in ROUTES_ADD]

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, ValueError])
    def test_it_is_taken_back_whatever_happens_under_it(self, bench: Bench, failure: type[BaseException]) -> None:
        bench.ip(up=False).client("udhcpc")
        with pytest.raises(failure), bench.lease():
            raise failure
        assert bench.acts()[-5:] == ROUTES_DEL + ADDRESS_DEL + LINK_DOWN

    def test_an_address_that_is_refused_leaves_the_link_as_it_was(self, bench: Bench) -> None:
        bench.ip(up=False, cases='*"addr add"*) exit 2;;').client("udhcpc")
        with pytest.raises(MachineError), bench.lease():
            pass
        assert bench.acts() == LINK_UP + ADDRESS_ADD + LINK_DOWN

    def test_what_cannot_be_taken_back_keeps_nothing_else_from_it(self, bench: Bench) -> None:
        bench.ip(up=False, cases='*" route del "*) exit 2;;').client("udhcpc")
        with bench.lease():
            pass
        assert bench.acts()[-5:] == ROUTES_DEL + ADDRESS_DEL + LINK_DOWN

    def test_it_can_be_taken_back_when_the_time_is_over(self, bench: Bench) -> None:
        bench.ip().client("udhcpc")
        with bench.lease():
            bench.clock.sleep(3600)
        assert bench.acts()[-1] == ADDRESS_DEL[0]


class TestChoice:
    @pytest.mark.parametrize("links", [(), ("udhcpc",), ("ip",)])
    def test_busybox_without_links_does_as_well(self, bench: Bench, links: tuple[str, ...]) -> None:
        bench.ip().client("udhcpc")
        inside = bench.folder / "inside"
        inside.mkdir()
        for name in {"ip", "udhcpc"} - set(links):
            (bench.folder / name).rename(inside / name)
        run = f'case $1 in --list) printf "ash\\nip\\nudhcpc\\n";; *) exec "{inside}/"$*;; esac'
        shim(bench.folder, "busybox", script=run)
        with bench.lease() as lease:
            assert lease.address == "10.0.0.4"

    def test_a_busybox_without_the_client_does_not_count(self, bench: Bench) -> None:
        shim(bench.ip().folder, "busybox", script="echo ash")
        with pytest.raises(MachineError, match="no DHCP client is installed"), bench.lease():
            pass

    def test_the_next_client_is_tried(self, bench: Bench) -> None:
        bench.ip().client("udhcpc", "", exit_code=1).client("dhclient", "").client("dhcpcd")
        with bench.lease() as lease:
            assert lease.address == "10.0.0.4"

    def test_all_are_named_when_none_has_a_lease(self, bench: Bench) -> None:
        bench.ip()
        for name in CLIENTS:
            bench.client(name, "")
        with pytest.raises(MachineError) as caught, bench.lease():
            pass
        assert all(f"{name}: ended without a lease" in str(caught.value) for name in CLIENTS)

    @pytest.mark.parametrize(
        ("prepare", "said"),
        [
            (lambda bench: bench.ip(), "no DHCP client is installed: add udhcpc, dhclient or dhcpcd"),
            (lambda bench: bench.client("udhcpc"), "needs `ip`, which is not installed: install iproute2 or BusyBox"),
        ],
    )
    def test_what_is_missing_is_named(self, bench: Bench, prepare: Callable[[Bench], Any], said: str) -> None:
        prepare(bench)
        with pytest.raises(MachineError, match=said), bench.lease():
            pass
        assert bench.acts() == []

    def test_an_interface_that_does_not_exist(self, bench: Bench) -> None:
        bench.client("udhcpc")
        shim(bench.folder, "ip", exit_code=1, script="echo Device does not exist. >&2")
        with pytest.raises(MachineError, match=r"Device does not exist"), bench.lease():
            pass
        assert not (bench.folder / "udhcpc.log").exists()

    def test_without_time_nothing_is_asked(self, bench: Bench) -> None:
        bench.ip().client("udhcpc")
        with pytest.raises(MachineError, match="the deadline has passed"), bench.lease(0.5):
            pass
        assert not (bench.folder / "udhcpc.log").exists()

    @pytest.mark.parametrize("how", ["root", "dry"])
    def test_only_the_running_system_is_touched(self, guest: Guest, how: str) -> None:
        system = System(guest.root) if how == "root" else System("/", dry_run=True)
        with (
            pytest.raises(MachineError, match="do not use it with --root or --dry-run"),
            EphemeralDhcp(system, "eth0", Deadline(FastClock(), 9)),
        ):
            pass
