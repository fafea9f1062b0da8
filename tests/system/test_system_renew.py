"""Which DHCP client holds a lease, what it is asked with, and what is said in its place."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Optional

import pytest
from kit import Guest, shim

from azurelite.system.machine import System
from azurelite.system.network.renew import find_client, publish, request, send_name_at_boot
from azurelite.system.root import Root

MAC = "00:0d:3a:11:22:33"
NETWORKD = ("systemd-network", "/usr/lib/systemd/systemd-networkd")
MANAGER = ("NetworkManager", "/usr/sbin/NetworkManager --no-daemon")
LEASE = {"run/systemd/netif/leases/2": "ADDRESS=10.0.0.4\n"}
LINK = "run/systemd/netif/links/2"
OWNED = {"run/NetworkManager/devices/2": "[device]\nconnection-uuid=0\nmanaged=true\n"}


def machine(guest: Guest, processes: list[tuple[str, str]], files: dict[str, str]) -> Guest:
    for index, name in enumerate(("lo", "eth0", "eth1"), 1):
        folder = f"sys/class/net/{name}"
        guest.put({f"{folder}/ifindex": f"{index}\n", f"{folder}/address": MAC, f"{folder}/type": "1\n"})
    for pid, (comm, words) in enumerate(processes, 100):
        guest.put({f"proc/{pid}/comm": f"{comm}\n", f"proc/{pid}/cmdline": words.replace(" ", "\0") + "\0"})
    return guest.put(files).put({"proc/uptime": "1 1\n", "proc/7/status": ""})


CLIENTS: dict[str, tuple[list[tuple[str, str]], dict[str, str], Optional[str]]] = {
    "none": ([("sshd", "sshd -D")], {}, None),
    "networkd": ([NETWORKD], LEASE, "systemd-network"),
    "networkd without a lease here": ([NETWORKD], {}, None),
    "networkd of systemd 262": ([NETWORKD], {LINK: "ADMIN_STATE=configured\nNETWORK_FILE=/etc/x\n"}, "systemd-network"),
    "networkd that is at it": ([NETWORKD], {LINK: "ADMIN_STATE=configuring\nNETWORK_FILE=/etc/x\n"}, "systemd-network"),
    "networkd with no file for it": ([NETWORKD], {LINK: "ADMIN_STATE=configured\nNETWORK_FILE=\n"}, None),
    "networkd that leaves it alone": ([NETWORKD], {LINK: "ADMIN_STATE=unmanaged\nNETWORK_FILE=/etc/x\n"}, None),
    "networkd beside dhclient": ([NETWORKD, ("dhclient", "dhclient eth0")], {}, "dhclient"),
    "NetworkManager": ([MANAGER], OWNED, "NetworkManager"),
    "NetworkManager with dhclient": ([MANAGER, ("dhclient", "dhclient -d eth0")], OWNED, "NetworkManager"),
    "NetworkManager for other NICs": ([MANAGER, ("dhcpcd", "dhcpcd eth0")], {}, "dhcpcd"),
    "an old NetworkManager": ([MANAGER], {}, "NetworkManager"),
    "wicked": ([("wickedd", "wickedd"), ("wickedd-dhcp4", "wickedd-dhcp4")], {}, "wickedd-dhcp4"),
    "dhcpcd for all": ([("dhcpcd", "dhcpcd: [manager] [ip4]")], {}, "dhcpcd"),
    "dhclient for another NIC": ([("dhclient", "dhclient -pf /run/p eth1")], {}, None),
    "one dhclient each": ([("dhclient", "dhclient eth1"), ("dhclient", "dhclient eth0")], {}, "dhclient"),
    "udhcpc": ([("udhcpc", "udhcpc -b -i eth0")], {}, "udhcpc"),
    "udhcpc, short": ([("udhcpc", "udhcpc -b -ieth1")], {}, None),
    "udhcpc as an applet": ([("busybox", "busybox udhcpc -i eth0")], {}, "udhcpc"),
    "another applet": ([("busybox", "busybox ntpd")], {}, None),
}


@pytest.mark.parametrize("case", sorted(CLIENTS))
def test_the_client_that_holds_the_lease(guest: Guest, case: str) -> None:
    processes, files, expected = CLIENTS[case]
    found = find_client(Root(machine(guest, processes, files).root), "eth0")
    assert (found[0] if found else None) == expected


def test_a_client_of_another_network_namespace_is_not_ours(guest: Guest) -> None:
    machine(guest, [("dhclient", "dhclient eth0")], {})
    for process, namespace in (("self", "net:[1]"), ("100", "net:[2]")):
        guest.path(f"proc/{process}/ns").mkdir(parents=True)
        guest.path(f"proc/{process}/ns/net").symlink_to(namespace)
    assert find_client(Root(guest.root), "eth0") is None


def test_without_a_proc_no_client_runs(guest: Guest) -> None:
    assert find_client(Root(guest.root), "eth0") is None


def test_in_a_foreign_root_nobody_is_asked(guest: Guest) -> None:
    system = System(machine(guest, [("dhclient", "dhclient eth0")], {}).root)
    assert publish(system, "vm") is None
    assert len(system.journal) == 0


class Here(System):
    """A folder that is taken for the running system."""

    def __init__(self, guest: Guest, shims: Path, *, dry_run: bool = False) -> None:
        super().__init__(guest.root, dry_run=dry_run, search_path=str(shims))
        self.root.is_host = True


ASKED = {
    "systemd-networkd": ([NETWORKD], LEASE, "networkctl", ["reconfigure", "eth0"]),
    "NetworkManager": ([MANAGER], OWNED, "nmcli", ["--wait", "0", "device", "reapply", "eth0"]),
    "wicked": ([("wickedd-dhcp4", "wickedd-dhcp4")], {}, "wicked", ["ifup", "--timeout", "5", "eth0"]),
}


def hyperv(guest: Guest, name: str = "eth0") -> None:
    guest.put({f"sys/class/net/{name}/device/.keep": "", "sys/bus/vmbus/drivers/hv_netvsc/uevent": ""})
    guest.path(f"sys/class/net/{name}/device/driver").symlink_to("/sys/bus/vmbus/drivers/hv_netvsc")


@pytest.mark.spawns
@pytest.mark.parametrize("called", sorted(ASKED))
def test_the_client_is_asked_in_its_own_words(guest: Guest, tmp_path: Path, called: str) -> None:
    processes, files, program, words = ASKED[called]
    hyperv(machine(guest, processes, files))
    log = tmp_path / "asked"
    shim(tmp_path / "bin", program, script=f'printf "%s\\n" "$@" > {log}')
    dry, real = Here(guest, tmp_path / "bin", dry_run=True), Here(guest, tmp_path / "bin")
    assert publish(dry, "vm") is None
    assert not log.exists()
    asked = publish(real, "vm")
    assert isinstance(asked, threading.Thread)
    asked.join()
    assert log.read_text().splitlines() == words
    assert dry.journal.since(0) == real.journal.since(0)
    assert [str(change) for change in real.journal.since(0)] == [
        f"send the new name to the DHCP server (service {called} eth0)"
    ]


@pytest.mark.spawns
@pytest.mark.parametrize("installed", [True, False])
def test_a_client_that_cannot_be_asked_is_no_failure(
    guest: Guest, tmp_path: Path, caplog: pytest.LogCaptureFixture, installed: bool
) -> None:
    hyperv(machine(guest, [("wickedd-dhcp4", "wickedd-dhcp4")], {}))
    if installed:
        shim(tmp_path / "bin", "wicked", exit_code=3, script="echo no such device >&2")
    asked = publish(Here(guest, tmp_path / "bin"), "vm")
    assert asked is not None
    asked.join()
    assert "Azure's DNS may not have the new name until the next lease: wicked" in caplog.text
    assert ("no such device" if installed else "not installed") in caplog.text


@pytest.mark.spawns
@pytest.mark.parametrize("called", ["dhcpcd", "dhclient", "udhcpc"])
def test_a_client_that_would_take_the_network_away_is_not_asked(
    guest: Guest, tmp_path: Path, caplog: pytest.LogCaptureFixture, called: str
) -> None:
    """The request is sent from here, which is seen by its failure: this machine has no NIC of that name."""
    nic = "no-such-nic"
    folder = f"sys/class/net/{nic}"
    machine(guest, [(called, called)], {f"{folder}/ifindex": "9\n", f"{folder}/address": MAC, f"{folder}/type": "1\n"})
    hyperv(guest, nic)
    log = shim(tmp_path / "bin", called)
    for dry_run in (True, False):
        system = Here(guest, tmp_path / "bin", dry_run=dry_run)
        assert publish(system, "vm") is None
        assert [str(change) for change in system.journal.since(0)] == [
            f"send the new name to the DHCP server (service {called} {nic})"
        ]
    assert f"cannot send it on {nic}: " in caplog.text
    assert not log.exists()


def test_an_unknown_client_is_told_of_in_one_line(
    guest: Guest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    hyperv(machine(guest, [("connmand", "connmand")], {}))
    system = Here(guest, tmp_path)
    assert publish(system, "vm") is None
    assert len(system.journal) == 0
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize("client_id", [True, False])
def test_the_request_of_a_client_that_rebinds(client_id: bool) -> None:
    mac, address = bytes.fromhex(MAC.replace(":", "")), socket.inet_aton("10.0.0.4")
    message = request(mac, address, "vm", client_id=client_id)
    assert len(message) >= 300  # some servers drop what is shorter than BOOTP's
    kind, hardware, length, hops, _, seconds, flags, own = struct.unpack("!BBBB4sHH4s", message[:16])
    assert (kind, hardware, length, hops, seconds, flags) == (1, 1, 6, 0, 0, 0)
    assert own == address
    assert message[28:34] == mac
    assert message[236:240] == b"\x63\x82\x53\x63"
    options: dict[int, Any] = {}
    at = 240
    while message[at] != 255:
        options[message[at]] = message[at + 2 : at + 2 + message[at + 1]]
        at += 2 + message[at + 1]
    assert options[53] == b"\x03"
    assert options[12] == b"vm"
    # RFC 2131, 4.3.2: a server and a wished-for address would make it another kind of request.
    assert not {50, 54} & set(options)
    assert options.get(61) == (b"\x01" + mac if client_id else None)


SEND = "send host-name = gethostname();\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", SEND),
        ("request subnet-mask;", "request subnet-mask;\n" + SEND),
        ('#send host-name "x";\n', '#send host-name "x";\n' + SEND),
        ('send host-name "image";\nrequest routers;\n', SEND + "request routers;\n"),
        ("send host-name = gethostname();\n", SEND),
        ('send host-name "<hostname>";\n', 'send host-name "<hostname>";\n'),
    ],
)
def test_dhclient_sends_the_name_of_the_day(guest: Guest, before: str, after: str) -> None:
    guest.put({"etc/dhcp/dhclient.conf": before})
    for expected in (int(before != after), 0):
        system = System(guest.root)
        send_name_at_boot(system.files)
        assert len(system.journal) == expected
        assert guest.text("etc/dhcp/dhclient.conf") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [("#hostname\ninterface eth1\n", "hostname\n#hostname\ninterface eth1\n"), ("hostname\n", "hostname\n")],
)
def test_dhcpcd_sends_the_name_of_the_day(guest: Guest, before: str, after: str) -> None:
    guest.put({"etc/dhcpcd.conf": before})
    for _ in range(2):
        send_name_at_boot(System(guest.root).files)
        assert guest.text("etc/dhcpcd.conf") == after


def test_where_neither_is_configured_nothing_is_written(guest: Guest) -> None:
    system = System(guest.root)
    send_name_at_boot(system.files)
    assert len(system.journal) == 0
    assert not os.path.exists(guest.path("etc/dhcpcd.conf"))
