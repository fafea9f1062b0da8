"""Option 245 out of the leases of each DHCP client, and out of bytes that no client would write."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from kit import Guest

from azurelite.system.network.leases import from_dhclient, from_dhcpcd, from_keys, read_value, wireserver_from_leases
from azurelite.system.root import Root

DATA = Path(__file__).parent.parent / "data" / "leases"
NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
WIRESERVER = "168.63.129.16"


def lease(*statements: str) -> str:
    return "lease {\n" + "".join(f"  {statement};\n" for statement in statements) + "}\n"


def packet(*options: bytes, cookie: bytes = b"\x63\x82\x53\x63") -> bytes:
    return b"\2\1\6\0" + b"\0" * 232 + cookie + b"".join(options) + b"\xff"


OPTION = b"\xf5\x04\xa8\x3f\x81\x10"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a8:3f:81:10", WIRESERVER),
        ("A8:3F:81:10", WIRESERVER),
        ("4:3:2:1", "4.3.2.1"),
        ("a83f8110", WIRESERVER),
        ("168.63.129.16", WIRESERVER),
        ('"bL6 "', "98.76.54.32"),
        (r'"\250?\201\020"', WIRESERVER),
        (r'"b\"6 "', "98.34.54.32"),
        (r'"b\\6 "', "98.92.54.32"),
        ('"a8:3f:81:10"', WIRESERVER),
        ("169.254.1.2", "169.254.1.2"),
        ("10.0.0.1", "10.0.0.1"),
        ("", None),
        ('"', None),
        ('""', None),
        ('"bL6"', None),
        ('"bL6  "', None),
        ("a8:3f:81", None),
        ("a8:3f:81:10:0", None),
        ("a8:3f:81:100", None),
        ("a83f811", None),
        ("g83f8110", None),
        ("168.63.129", None),
        ("168.63.129.256", None),
        ("168.63.129.016", None),
        ("１６８.63.129.16", None),
        ("0.0.0.0", None),
        ("0.1.2.3", None),
        ("127.0.0.1", None),
        ("224.0.0.1", None),
        ("ff:ff:ff:ff", None),
        ("240.0.0.1", None),
        ("168.63.129.16\nx", None),
    ],
)
def test_a_value_is_an_address_that_a_host_can_have_or_nothing(text: str, address: str) -> None:
    assert read_value(text) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param(lease("option unknown-245 a8:3f:81:10", "expire never"), WIRESERVER, id="never"),
        pytest.param(lease("option unknown-245 a8:3f:81:10"), WIRESERVER, id="no word of an end"),
        pytest.param(lease("option option-245 a8:3f:81:10", "expire 2 2023/11/14 22:13:21"), WIRESERVER, id="a second"),
        pytest.param(lease("option unknown-245 a8:3f:81:10", "expire 2 2023/11/14 22:13:19"), None, id="over"),
        pytest.param(lease("option unknown-245 1:2:3:4", "expire epoch 1700000001; # Tue"), "1.2.3.4", id="epoch"),
        pytest.param(lease("option unknown-245 1:2:3:4", "expire epoch 1699999999"), None, id="epoch over"),
        pytest.param(lease("option unknown-245 1:2:3:4", "expire"), None, id="an end that is empty"),
        pytest.param(lease("option unknown-245 1:2:3:4", "expire 2 2023/99/14 22:13:21"), None, id="no such month"),
        pytest.param(lease("option unknown-245 1:2:3:4", "expire epoch " + "9" * 5000), "1.2.3.4", id="a long number"),
        pytest.param(
            lease("option unknown-245 1:2:3:4", "expire never") + lease("option unknown-245 5:6:7:8", "expire never"),
            "5.6.7.8",
            id="the last one",
        ),
        pytest.param(
            lease("option unknown-245 1:2:3:4", "expire never")
            + lease("option unknown-245 5:6:7:8", "expire 2 2020/01/01 00:00:00"),
            "1.2.3.4",
            id="the last one that is not over",
        ),
        pytest.param(
            lease("option unknown-245 1:2:3:4", "expire never") + lease("option routers 10.0.0.1", "expire never"),
            "1.2.3.4",
            id="the last one that has it",
        ),
        pytest.param(
            lease(r'option domain-name "a;b}c{ \" option unknown-245 9:9:9:9;"', "option unknown-245 1:2:3:4"),
            "1.2.3.4",
            id="marks inside a text",
        ),
        pytest.param("# option unknown-245 9:9:9:9;\nlease { option unknown-245 1:2:3:4; }", "1.2.3.4", id="a remark"),
        pytest.param("option unknown-245 1:2:3:4;", None, id="outside of a lease"),
        pytest.param("lease6 { option unknown-245 1:2:3:4; }", None, id="of IPv6"),
        pytest.param("lease { option unknown-245 1:2:3:4;", None, id="cut off"),
        pytest.param('lease { option x "never ends; option unknown-245 1:2:3:4; }', None, id="a text that never ends"),
        pytest.param("lease { option unknown-245; option; ; }", None, id="statements cut off"),
    ],
)
def test_dhclient(text: str, address: str) -> None:
    assert from_dhclient(text.encode(), now=NOW) == address


@pytest.mark.parametrize(
    ("data", "address"),
    [
        pytest.param(packet(OPTION), WIRESERVER, id="alone"),
        pytest.param(packet(b"\x35\x01\x05", b"\0\0", OPTION), WIRESERVER, id="behind others and padding"),
        pytest.param(packet(b"\x33\x04\xff\xff\xff\xff", OPTION), WIRESERVER, id="for ever"),
        pytest.param(packet(b"\x33\x04\0\0\0\x64", OPTION), WIRESERVER, id="still"),
        pytest.param(packet(b"\x33\x04\0\0\0\x09", OPTION), None, id="over"),
        pytest.param(packet(b"\x33\x02\0\x09", OPTION), WIRESERVER, id="a lease time of two bytes"),
        pytest.param(packet(b"\xf5\x03\xa8\x3f\x81"), None, id="three bytes"),
        pytest.param(packet(b"\xf5\x08" + b"\1" * 8), None, id="eight bytes"),
        pytest.param(packet(b"\xf5\x04\x7f\0\0\1"), None, id="loopback"),
        pytest.param(packet(OPTION, cookie=b"abcd"), None, id="no cookie"),
        pytest.param(packet(b"\xff", OPTION), None, id="behind the end"),
        pytest.param(packet()[:-1] + OPTION[:5], None, id="cut off"),
        pytest.param(packet()[:-1] + b"\xf5", None, id="cut off behind the code"),
        pytest.param(packet(b"\x01\xff"), None, id="a length beyond the end"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_dhcpcd(data: bytes, address: str) -> None:
    assert from_dhcpcd(data, written=NOW - 10, now=NOW) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("ADDRESS=10.0.0.4\nOPTION_245=a83f8110\n", WIRESERVER, id="networkd"),
        pytest.param("[dhcp4]\nprivate_245=a8:3f:81:10\n", WIRESERVER, id="NetworkManager"),
        pytest.param("DHCP4_PRIVATE_245=a8:3f:81:10\n", WIRESERVER, id="NetworkManager's dispatcher"),
        pytest.param("interface='eth0'\nexport opt245='a83f8110'\n", WIRESERVER, id="BusyBox"),
        pytest.param('opt245="a83f8110"', WIRESERVER, id="quoted"),
        pytest.param("OPTION_245=1.2.3.4\nOPTION_245=garbage", "1.2.3.4", id="the last one that can be read"),
        pytest.param("OPTION_245", None, id="no value"),
        pytest.param("XOPTION_245=1.2.3.4", None, id="another key"),
        pytest.param("OPTION_249=a83f8110", None, id="another option"),
        pytest.param("1234\n", None, id="a pid file"),
    ],
)
def test_lines_of_keys_and_values(text: str, address: str) -> None:
    assert from_keys(text.encode()) == address


FILES = {
    "run/systemd/netif/leases/2": "OPTION_245=01020301",
    "run/NetworkManager/devices/2": "private_245=1:2:3:2",
    "run/udhcpc/eth0.env": "opt245=01020303",
    "run/udhcpc.eth0.lease": "opt245=01020304",
    "var/lib/NetworkManager/internal-0c1d-eth0.lease": "OPTION_245=01020305",
    "var/lib/NetworkManager/dhclient-0c1d-eth0.lease": lease("option unknown-245 1:2:3:6"),
    "var/lib/dhcp/dhclient.eth0.leases": lease("option unknown-245 1:2:3:7"),
    "var/lib/dhclient/dhclient.leases": lease("option unknown-245 1:2:3:8"),
}


class TestPlaces:
    @pytest.mark.parametrize("path", sorted(FILES))
    def test_each_is_read(self, guest: Guest, path: str) -> None:
        guest.put({path: FILES[path]})
        assert wireserver_from_leases(Root(guest.root), now=NOW) == f"1.2.3.{list(FILES).index(path) + 1}"

    def test_dhcpcds_is_read(self, guest: Guest) -> None:
        guest.put({"var/lib/dhcpcd/.keep": ""}).path("var/lib/dhcpcd/eth0.lease").write_bytes(packet(OPTION))
        assert wireserver_from_leases(Root(guest.root), now=NOW) == WIRESERVER

    def test_this_boots_go_ahead_of_those_on_the_disk(self, guest: Guest) -> None:
        guest.put(FILES)
        assert wireserver_from_leases(Root(guest.root), now=NOW) == "1.2.3.1"

    def test_of_one_folder_the_newest_counts(self, guest: Guest) -> None:
        for name, age, last in (("a", 300, 1), ("b", 100, 2), ("c", 200, 3)):
            path = f"var/lib/dhcp/{name}.leases"
            guest.put({path: lease(f"option unknown-245 1:2:3:{last}")})
            os.utime(guest.path(path), (NOW - age, NOW - age))
        assert wireserver_from_leases(Root(guest.root), now=NOW) == "1.2.3.2"

    def test_what_is_malformed_gives_way_to_the_next(self, guest: Guest) -> None:
        guest.put({**FILES, "run/systemd/netif/leases/2": "OPTION_245=7f000001", "run/NetworkManager/devices/2": "\0"})
        guest.path("run/udhcpc/folder.lease").mkdir()
        os.mkfifo(guest.path("run/udhcpc/fifo"))
        assert wireserver_from_leases(Root(guest.root), now=NOW) == "1.2.3.3"

    def test_a_link_leads_nowhere_outside_of_the_guest(self, guest: Guest, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.write_text("OPTION_245=01020304")
        guest.put({"run/systemd/netif/leases/.keep": ""})
        guest.path("run/systemd/netif/leases/2").symlink_to(outside)
        guest.path("run/systemd/netif/leases/3").symlink_to("3")
        assert wireserver_from_leases(Root(guest.root), now=NOW) is None

    def test_without_leases_there_is_nothing(self, guest: Guest) -> None:
        assert wireserver_from_leases(Root(guest.root), now=NOW) is None


@pytest.mark.parametrize("client", ["dhclient", "dhcpcd"])
def test_what_the_clients_themselves_have_written(client: str) -> None:
    """Written by ISC dhclient 4.4.3 and dhcpcd 9.4.1, asked by a server that sends what Azure's sends."""
    data = (DATA / f"{client}.lease").read_bytes()
    found = from_dhclient(data, now=NOW) if client == "dhclient" else from_dhcpcd(data, written=NOW, now=NOW)
    assert found == WIRESERVER


def test_no_bytes_raise() -> None:
    chance = random.Random(245)
    seeds = [lease("option unknown-245 a8:3f:81:10", "expire never").encode(), packet(OPTION), b"OPTION_245=a83f8110\n"]
    seeds += [rb'lease { option unknown-245 "\250?\201\020"; expire 2 2023/11/14 22:13:21; }']
    for _ in range(4000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = chance.choice(
                [b"", b"\xff", b"\0", b'"', b"\\", b"{", b"}", b";", b"9" * 30]
            )
            data += b"x" if not data else b""
        for found in (
            from_dhclient(bytes(data), now=NOW),
            from_dhcpcd(bytes(data), written=NOW, now=NOW),
            from_keys(bytes(data)),
        ):
            assert found is None or found.count(".") == 3


@pytest.mark.parametrize("filler", [b'"', b"\\", b'"\\', b"{", b"lease {", b"option unknown-245 ", b"#", b"\xff\0"])
def test_a_megabyte_of_marks_takes_no_time(filler: bytes) -> None:
    data = filler * (1_000_000 // len(filler))
    assert from_dhclient(data, now=NOW) is None
    assert from_keys(data) is None
