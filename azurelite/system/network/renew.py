"""Sending the machine's new name to the DHCP server, through the running DHCP client and without taking a link down.

Azure's DNS learns a VM's name from its DHCP requests. The client that holds the lease is found in /proc and /run. No
client is started. A program that asks the client runs in the background.

Three clients cannot be used for it. dhclient has no command for it, udhcpc always sends the name of its command line,
and dhcpcd removes the address for five seconds or more while it probes whether it is free. For them azurelite sends
the request that such a client sends when it rebinds: one datagram. The server answers it; the client ignores the
answer, because it did not ask. The lease does not change.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import threading
from typing import Iterator, Optional

from azurelite.errors import AzureliteError
from azurelite.system.blocks import ended
from azurelite.system.changes import Change
from azurelite.system.files import Files
from azurelite.system.machine import System
from azurelite.system.network.interfaces import NET, interfaces, macs, primary_interface
from azurelite.system.root import Root

LOG = logging.getLogger(__name__)

_SECONDS = 10.0  # limit for a program that asks a client; it runs in the background
# Process names, which the kernel truncates to 15 characters.
_NETWORKD, _NETWORK_MANAGER, _WICKED = "systemd-network", "NetworkManager", "wickedd-dhcp4"
_SMALL = ("dhcpcd", "dhclient", "udhcpc")
_ALL = {_NETWORKD, _NETWORK_MANAGER, _WICKED, *_SMALL}
# networkd's own commands for this ("renew", "forcerenew") send the name that it read at its start.
_PROGRAMS = {
    _NETWORKD: ("networkctl", "reconfigure"),
    _NETWORK_MANAGER: ("nmcli", "--wait", "0", "device", "reapply"),
    _WICKED: ("wicked", "ifup", "--timeout", "5"),
}
_CALLED = {_NETWORKD: "systemd-networkd", _WICKED: "wicked"}
_DHCLIENT_CONF = "/etc/dhcp/dhclient.conf"
_DHCPCD_CONF = "/etc/dhcpcd.conf"
_SEND = r"^[ \t]*send[ \t]+host-name\b[^;]*;"
_SIOCGIFADDR = 0x8915
_DISCOVERED = b"\x63\x82\x53\x63"  # DHCP's magic cookie


def send_name_at_boot(files: Files) -> None:
    """Configure dhclient and dhcpcd, if they have configuration files, to send the current name of the machine.

    A fixed name in dhclient's file was written by an agent for the machine that the image was made from.

    Raises:
        FileError: the file cannot be changed.
    """
    text = files.text(_DHCLIENT_CONF)
    if text is not None:
        sent = re.findall(_SEND, text, re.MULTILINE)
        if not sent:
            text = ended(text) + "send host-name = gethostname();\n"
        elif not any("gethostname" in line or "<hostname>" in line for line in sent):
            text = re.sub(_SEND, "send host-name = gethostname();", text, flags=re.MULTILINE)
        files.rewrite_text(_DHCLIENT_CONF, text)
    text = files.text(_DHCPCD_CONF)
    if text is not None and re.search(r"^[ \t]*hostname\b", text, re.MULTILINE) is None:
        files.rewrite_text(_DHCPCD_CONF, "hostname\n" + text)  # before any `interface` block


def publish(system: System, name: str) -> Optional[threading.Thread]:
    """Send the name to the DHCP server if a known client runs. A failure is only logged.

    Args:
        system: the machine; nothing is done for a foreign root.
        name: the machine's name, already set in the kernel.

    Returns:
        The thread that runs a client's program, if there is one. It logs its errors itself.
    """
    if not system.root.is_host:
        return None
    interface = primary_interface(system.root)
    try:
        client = find_client(system.root, interface) if interface is not None else None
    except OSError as error:
        LOG.warning("Azure's DNS may not have the new name until the next lease: no DHCP client found: %s", error)
        return None
    if interface is None or client is None:
        LOG.info("no known DHCP client is running: Azure's DNS gets the name %s with the next lease", name)
        return None
    called = _CALLED.get(client[0], client[0])
    system.journal.record(Change("service", f"{called} {interface}", "send the new name to the DHCP server"))
    if system.dry_run:
        return None
    if client[0] not in _PROGRAMS:
        announce(system.root, interface, name, client_id=client[0] == "udhcpc" and "-C" not in client[1])
        return None
    argv = (*_PROGRAMS[client[0]], interface)
    thread = threading.Thread(target=_ask, args=(system, argv), name="renew")
    thread.start()
    return thread


def _ask(system: System, argv: tuple[str, ...]) -> None:
    try:
        system.commands.run(argv, timeout=_SECONDS)
    except AzureliteError as error:
        LOG.warning("Azure's DNS may not have the new name until the next lease: %s", error)


def find_client(root: Root, interface: str) -> Optional[tuple[str, list[str]]]:
    """The process that holds the lease of an interface: its name in /proc and the words of its command line.

    Several may run. networkd and NetworkManager list their interfaces in /run; dhcpcd, dhclient and udhcpc name theirs
    on the command line, or handle all.
    """
    found = {comm: pid for pid, comm in _processes(root) if comm in _ALL and _serves(root, pid, comm, interface)}
    index = root.text(f"{NET}/{interface}/ifindex").strip()
    if not _is_networkds(root, index):
        found.pop(_NETWORKD, None)
    managed = "connection-uuid=" in root.text(f"/run/NetworkManager/devices/{index}")
    order = [_NETWORKD, *([_NETWORK_MANAGER] if managed else []), _WICKED, *_SMALL, _NETWORK_MANAGER]
    chosen = next((comm for comm in order if comm in found), None)
    return None if chosen is None else (chosen, _words(root, found[chosen]))


def _is_networkds(root: Root, index: str) -> bool:
    """Whether networkd has a lease or a .network file for that interface. Since systemd 262 no lease is visible."""
    if root.stat(f"/run/systemd/netif/leases/{index}") is not None:
        return True
    link = root.text(f"/run/systemd/netif/links/{index}").splitlines()
    is_up = "ADMIN_STATE=configured" in link or "ADMIN_STATE=configuring" in link
    return is_up and any(line.startswith("NETWORK_FILE=/") for line in link)


def _processes(root: Root) -> Iterator[tuple[str, str]]:
    """Ids and names of DHCP clients in this network namespace. Opens files directly: there may be thousands."""
    proc = root.path.rstrip("/") + "/proc"
    own = _namespace(f"{proc}/self")
    try:
        pids = [pid for pid in os.listdir(proc) if pid.isdigit()]
    except OSError:
        return
    for pid in pids:
        try:
            with open(f"{proc}/{pid}/comm", "rb", buffering=0) as file:
                comm = file.read(64).decode(errors="replace").strip()
        except OSError:  # it has ended
            continue
        if comm == "busybox" and "udhcpc" in _words(root, pid)[1:2]:
            comm = "udhcpc"
        if comm in _ALL and _namespace(f"{proc}/{pid}") == own:
            yield pid, comm


def _namespace(process: str) -> Optional[str]:
    try:
        return os.readlink(f"{process}/ns/net")
    except OSError:
        return None


def _serves(root: Root, pid: str, comm: str, interface: str) -> bool:
    if comm not in _SMALL:
        return True
    words = _words(root, pid)
    named = {other for other in interfaces(root) if other in words or f"-i{other}" in words}
    return not named or interface in named


def _words(root: Root, pid: str) -> list[str]:
    return root.text(f"/proc/{pid}/cmdline").replace("\0", " ").split()


def announce(root: Root, interface: str, name: str, *, client_id: bool) -> None:
    """Send the request of a client that rebinds its lease, with the name; do not wait for an answer.

    Args:
        root: where sysfs is.
        interface: the one whose address is used and through which it is sent.
        name: the name to send.
        client_id: also send the hardware address as client identifier, as udhcpc does and dhclient does not.
    """
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            asked = struct.pack("256s", interface.encode())
            address = fcntl.ioctl(sender.fileno(), _SIOCGIFADDR, asked)[20:24]
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            try:
                sender.bind((socket.inet_ntoa(address), 68))
            except OSError:  # the client uses the port; servers answer to it in any case
                LOG.debug("UDP port 68 is in use by the DHCP client: sending the new name from another port")
            mac = bytes.fromhex(macs(root)[interface].replace(":", ""))
            sender.sendto(request(mac, address, name, client_id=client_id), ("255.255.255.255", 67))
    except (OSError, ImportError, AttributeError, KeyError, ValueError) as error:  # no address, not Linux, no Ethernet
        LOG.warning(
            "Azure's DNS may not have the new name until the next lease: cannot send it on %s: %s", interface, error
        )


def request(mac: bytes, address: bytes, name: str, *, client_id: bool) -> bytes:
    """A DHCPREQUEST for rebinding (RFC 2131): with the client's address, without server and requested address."""
    head = struct.pack("!BBBB4sHH4s12x6s10x192x", 1, 1, 6, 0, os.urandom(4), 0, 0, address, mac)
    options = [(53, b"\x03"), (12, name.encode()), (55, bytes((1, 3, 6, 15)))]
    if client_id:
        options.append((61, b"\x01" + mac))
    body = b"".join(bytes((code, len(value))) + value for code, value in options)
    return (head + _DISCOVERED + body + b"\xff").ljust(300, b"\0")
