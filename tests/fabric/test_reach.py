"""The cause that is named when an Azure address cannot be reached, one machine a row; and binding to an interface."""

from __future__ import annotations

import random
import socket
from typing import Optional

import pytest
from fabric.conftest import Raw, Scripts
from kit import FastClock, Guest

from azurelite.clock import Deadline
from azurelite.errors import ConfigError, TransportError
from azurelite.fabric.connection import check_interface, primary_address
from azurelite.fabric.exchange import Request
from azurelite.fabric.http import HttpClient
from azurelite.fabric.retry import RetryTable
from azurelite.system.network.reach import explain
from azurelite.system.network.routes import read_table, read_trie
from azurelite.system.root import Root

WIRESERVER, IMDS = "168.63.129.16", "169.254.169.254"
HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
DEFAULT_BY_ETH1 = "eth1\t00000000\t0101000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
DEFAULT_BY_BRIDGE = "br0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
NEIGHBOURS = "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
HOST_ROUTE = "eth0\t10813FA8\t0100000A\t0007\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
PROHIBIT = "*\t10813FA8\t00000000\t0205\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
BLACKHOLE = "*\tFEA9FEA9\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
WORSE_BY_ETH1 = "eth1\t00000000\t0101000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
TRIE = """Main:
  +-- 0.0.0.0/0 3 0 6
     |-- {0}
        /32 universe {1}
Local:
  |-- 10.0.0.4
     /32 host LOCAL
"""

TIMEOUT = ("connection timeout", "timed out")
REFUSED = ("connection error", "Connection refused")
UNREACHABLE = ("connection error", "Network is unreachable")
NO_HOST = ("connection error", "No route to host")
FORBIDDEN = ("connection error", "Operation not permitted")
DENIED = ("connection error", "Permission denied")

UP = {"eth0": "up", "eth1": "up"}


def machine(guest: Guest, routes: Optional[str], nics: dict[str, str], files: tuple[str, ...] = ()) -> Root:
    for number, (name, state) in enumerate(nics.items(), 1):
        folder = f"sys/class/net/{name}"
        mac = f"00:0d:3a:00:00:{number:02x}"
        guest.put({f"{folder}/ifindex": f"{number}\n", f"{folder}/address": mac, f"{folder}/operstate": state})
        if state == "up":
            guest.put({f"{folder}/carrier": "1\n"})
        if name.startswith("eth"):
            guest.put({"sys/bus/vmbus/drivers/hv_netvsc/uevent": "", f"{folder}/device/.keep": ""})
            guest.path(f"{folder}/device/driver").symlink_to("/sys/bus/vmbus/drivers/hv_netvsc")
    if routes is not None:
        guest.put({"proc/net/route": HEAD + routes})
    for path in files:
        guest.put({path: "security\n" if path.endswith("names") else ""})
    return Root(guest.root)


ROWS = {
    "no route": (
        NEIGHBOURS,
        UP,
        UNREACHABLE,
        0,
        f"no route to {WIRESERVER} and no default route",
        "datasource.dhcp: ephemeral",
    ),
    "an empty table": ("", UP, UNREACHABLE, 0, "and no default route", "Bring the network up before azurelite starts"),
    "no route and the NIC down": ("", {"eth0": "down"}, UNREACHABLE, 0, "(eth0 is down)", "network up"),
    "no route, no carrier": (
        "",
        {"eth0": "lowerlayerdown"},
        UNREACHABLE,
        0,
        "eth0 is without a carrier",
        "network up",
    ),
    "no NIC": ("", {"lo": "unknown"}, UNREACHABLE, 0, "no network interface", "hv_netvsc"),
    "the other NIC": (
        DEFAULT_BY_ETH1,
        UP,
        TIMEOUT,
        0,
        "uses eth1, but Azure answers only on the primary interface eth0",
        "datasource.interface: eth0",
    ),
    "the other NIC has the worse route": (
        DEFAULT + WORSE_BY_ETH1,
        UP,
        TIMEOUT,
        0,
        f"the route to {WIRESERVER} is fine, but nothing answers",
        "nft list",
    ),
    "the other NIC has the default only": (DEFAULT_BY_ETH1 + HOST_ROUTE, UP, TIMEOUT, 0, "is fine", "nft list"),
    "a bridge": (
        DEFAULT_BY_BRIDGE,
        {"eth0": "up", "br0": "up"},
        REFUSED,
        0,
        "a firewall rule of this machine",
        "nft list",
    ),
    "a foreign bridge": (
        DEFAULT_BY_BRIDGE,
        {**UP, "br0": "up"},
        TIMEOUT,
        0,
        "uses br0",
        "datasource.interface: eth0",
    ),
    "the link went": (DEFAULT, {"eth0": "down"}, TIMEOUT, 0, "uses eth0, which is down", "Wait for its link"),
    "no carrier": (DEFAULT, {"eth0": "dormant"}, TIMEOUT, 0, "without a carrier (state dormant)", "Wait for its link"),
    "time-out as nobody": (DEFAULT, UP, TIMEOUT, 1000, "drops requests of non-root users", "Run as root"),
    "time-out as root": (DEFAULT, UP, TIMEOUT, 0, "nothing answers", "iptables -t security -S OUTPUT"),
    "refused as nobody": (DEFAULT, UP, REFUSED, 1000, "rejects requests of non-root users", "Run as root"),
    "refused as root": (DEFAULT, UP, REFUSED, 0, "rejects requests", "nft list ruleset"),
    "forbidden as nobody": (DEFAULT, UP, FORBIDDEN, 1000, "rejects requests of non-root users", "Run as root"),
    "denied as root": (DEFAULT, UP, DENIED, 0, "rejects requests", "nft list ruleset"),
    "no gateway": (DEFAULT, UP, NO_HOST, 0, "the gateway 10.0.0.1 does not answer on eth0", "this network is Azure's"),
    "unreachable all the same": (
        DEFAULT,
        UP,
        UNREACHABLE,
        0,
        "although a route exists (Network is unreachable)",
        "ip route get 168.63.129.16",
    ),
    "prohibited": (
        DEFAULT + PROHIBIT,
        UP,
        DENIED,
        0,
        f"a route of type unreachable blocks {WIRESERVER}",
        "Remove the route",
    ),
    "silent": (
        DEFAULT,
        UP,
        ("read timeout", "timed out"),
        0,
        "accepted the connection but sent no usable answer",
        "retry later",
    ),
    "too much": ("", UP, ("response too large", "more than 1"), 0, "no usable answer (more than 1)", "retry later"),
    "no time": (
        "",
        UP,
        ("connection timeout", "the deadline has passed"),
        0,
        "the deadline has passed",
        "datasource.deadline",
    ),
    "no procfs": (None, UP, REFUSED, 0, "a firewall rule", "nft list ruleset"),
}


@pytest.mark.parametrize("row", sorted(ROWS))
def test_the_cause_and_the_remedy(guest: Guest, row: str) -> None:
    routes, nics, (kind, detail), uid, cause, remedy = ROWS[row]
    root = machine(guest, routes, nics, ("sys/class/net/br0/lower_eth0",) if row == "a bridge" else ())
    before = guest.snapshot()
    said = explain(root, WIRESERVER, TransportError(kind, url=f"http://{WIRESERVER}/", detail=detail), uid=uid)
    assert cause in said, said
    assert remedy in said, said
    assert said.startswith(("unreachable: ", "no answer: ", "the deadline has passed: "))
    assert said.count(": ") <= 2, said
    assert said.endswith("(proxies are never used for Azure's addresses)")
    assert "\n" not in said
    assert guest.snapshot() == before


def test_what_is_set_already_is_not_advised(guest: Guest) -> None:
    root = machine(guest, "", UP)
    said = [explain(root, WIRESERVER, error(*NO_HOST), uid=0, dhcp=dhcp) for dhcp in (False, True)]
    assert ["datasource.dhcp" in text for text in said] == [True, False]
    assert all("Bring the network up before azurelite starts" in text for text in said)


@pytest.mark.parametrize("kind", ["BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW"])
@pytest.mark.parametrize(
    "sign", ["run/systemd/io.systemd.InstanceMetadata", "usr/lib/systemd/system/systemd-imdsd.socket", None]
)
def test_a_route_that_rejects(guest: Guest, kind: str, sign: Optional[str]) -> None:
    root = machine(guest, DEFAULT, UP, (sign,) if sign else ())
    guest.put({"proc/net/fib_trie": TRIE.format(IMDS, kind)})
    said = explain(root, IMDS, error(*NO_HOST), uid=0)
    assert f"a route of type {kind.lower()} blocks {IMDS}" in said
    assert ("systemd.imds.network=unlocked" in said) == bool(sign)
    assert ("Remove the route" in said) != bool(sign)


def test_systemds_service_is_not_blamed_for_another_address(guest: Guest) -> None:
    root = machine(guest, DEFAULT, UP, ("run/systemd/io.systemd.InstanceMetadata",))
    guest.put({"proc/net/fib_trie": TRIE.format(WIRESERVER, "PROHIBIT")})
    assert "imdsd" not in explain(root, WIRESERVER, error(*DENIED), uid=0)


def test_a_route_that_rejects_less_closely_than_another_leads_is_none(guest: Guest) -> None:
    root = machine(guest, HOST_ROUTE, UP)
    guest.put({"proc/net/fib_trie": "Main:\n  |-- 168.63.129.0\n     /24 universe BLACKHOLE\n"})
    assert "is fine" in explain(root, WIRESERVER, error(*TIMEOUT), uid=0)


@pytest.mark.parametrize("sign", ["proc/net/ip_tables_names", "etc/systemd/system/waagent-network-setup.service"])
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_agents_rule_is_named_where_there_are_signs_of_it(guest: Guest, sign: str, uid: int) -> None:
    root = machine(guest, DEFAULT, UP, (sign,))
    assert "(the Azure Linux agent, waagent, sets one in table security)" in explain(
        root, WIRESERVER, error(*TIMEOUT), uid=uid
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.4"])
def test_an_address_of_this_machine(guest: Guest, address: str) -> None:
    root = machine(guest, "", UP)
    guest.put({"proc/net/fib_trie": TRIE.format(IMDS, "UNICAST")})
    assert "is an address of this machine" in explain(root, address, error(*REFUSED), uid=0)


def test_a_name_instead_of_an_address(guest: Guest) -> None:
    said = explain(
        Root(guest.root), "wireserver.example", error("connection error", "Name or service not known"), uid=0
    )
    assert "the name 'wireserver.example' was not found" in said


def error(kind: str, detail: str) -> TransportError:
    return TransportError(kind, url="http://168.63.129.16/", detail=detail)


class TestTables:
    def test_lines_that_cannot_be_read_are_skipped(self) -> None:
        bad = "eth0\n\neth0\tX\tY\tZ\t0\t0\t0\t0\neth0\t0000\t0\t0001\t0\t0\t0\t00\n"
        bad += DEFAULT.replace("\t00000000\t0\t0\t0\n", "\t00FF00FF\t0\t0\t0\n")
        (route,) = read_table(HEAD + bad + DEFAULT)
        assert (route.prefix, route.interface, route.gateway, route.metric) == (0, "eth0", "10.0.0.1", 0)

    def test_a_route_that_is_not_up_is_none(self) -> None:
        assert read_table(HEAD + DEFAULT.replace("0003", "0002")) == []

    def test_no_bytes_raise(self, guest: Guest) -> None:
        chance = random.Random(16)
        seeds = [(HEAD + DEFAULT + PROHIBIT + BLACKHOLE).encode(), TRIE.format(IMDS, "BLACKHOLE").encode()]
        for _ in range(3000):
            data = bytearray(chance.choice(seeds))
            for _ in range(4):
                data[chance.randrange(len(data))] = chance.randrange(256)
            read_table(data.decode(errors="replace"))
            read_trie(data.decode(errors="replace"))
        for path in ("proc/net/route", "proc/net/fib_trie", "proc/net/ip_tables_names"):
            guest.put({path: ""}).path(path).write_bytes(HEAD.encode() + bytes(range(256)) * 40)
        assert "unreachable: " in explain(Root(guest.root), WIRESERVER, error(*TIMEOUT), uid=0)


class TestInterface:
    """Exchanges that leave by a named NIC; what only real NICs can show is in tests/live."""

    def test_the_loopback_can_be_named(self, raw: Raw, scripts: type[Scripts]) -> None:
        server = raw(scripts.always(scripts.OK))
        http = HttpClient(FastClock(), interface="lo")
        for _ in range(2):
            assert self.get(http, server.url) == b"ok"
        http.close()
        assert server.connections == 1

    def test_an_unknown_one_is_an_error_of_the_configuration(self, raw: Raw, scripts: type[Scripts]) -> None:
        server = raw(scripts.always(scripts.OK))
        with pytest.raises(ConfigError, match=r"this machine has no 'nic0': set auto or one of .*\blo\b"):
            self.get(HttpClient(FastClock(), interface="nic0"), server.url)
        assert server.connections == 0

    @pytest.mark.parametrize("name", ["", "lo ", "lo\0", "../lo", "x" * 300, "l\xf6"])
    def test_any_text_may_be_given(self, name: str) -> None:
        with pytest.raises(ConfigError):
            check_interface(name)

    def test_making_a_client_looks_at_nothing(self) -> None:
        HttpClient(FastClock(), interface="nic0").close()

    def test_an_address_that_is_not_there_is_said_in_words(self) -> None:
        with pytest.raises(OSError, match="nic0 has no IPv4 address"):
            primary_address("nic0")

    def test_the_loopbacks_address(self) -> None:
        assert socket.inet_aton(primary_address("lo"))[0] == 127

    def get(self, http: HttpClient, url: str) -> bytes:
        deadline = Deadline(FastClock(), 5)
        return http.ask(Request(url, {}, 2), table=RetryTable({}), deadline=deadline).body
