"""Letting the DHCP server know the machine's name anew: by the DHCP client that runs, and never by taking a link down.

Azure's DNS learns a VM's name from its DHCP requests. Which client holds the lease is read from /proc and /run; none
is started, and nobody waits for it: what has to be asked by a program is asked beside the further work.

dhclient knows no way to be asked, udhcpc repeats the name of its own command line for ever, and dhcpcd takes the
address away for five seconds and more while it probes whether it is free. For them the request
that such a client sends when it rebinds is sent from here: one datagram, which the server answers and the client,
which did not send it, ignores. The lease stays as it is.
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

_SECONDS = 10.0  # for a program that asks a client; it is not waited for until the very end
# The names of processes as the kernel cuts them, at 15 characters.
_NETWORKD, _NETWORK_MANAGER, _WICKED = "systemd-network", "NetworkManager", "wickedd-dhcp4"
_SMALL = ("dhcpcd", "dhclient", "udhcpc")
_ALL = {_NETWORKD, _NETWORK_MANAGER, _WICKED, *_SMALL}
# What networkd itself offers for this ("renew", "forcerenew") sends the name that it has read when it started.
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
    """See to it that dhclient and dhcpcd, where they are configured, tell the server the machine's name of that day.

    A fixed name in dhclient's file is the one that an agent wrote for the machine the image was taken of.

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
        files.rewrite_text(_DHCPCD_CONF, "hostname\n" + text)  # ahead of any `interface` block


def publish(system: System, name: str) -> Optional[threading.Thread]:
    """Have the DHCP server told the name, if a client that is known runs; that it cannot be told is no failure.

    Args:
        system: the machine; nothing is done for a foreign root.
        name: what the kernel calls the machine by now.

    Returns:
        What asks a client, where a program has to: it runs on by itself and says what went wrong.
    """
    if not system.root.is_host:
        return None
    interface = primary_interface(system.root)
    try:
        client = find_client(system.root, interface) if interface is not None else None
    except OSError as error:
        LOG.warning("it cannot be told which DHCP client runs: %s", error)
        return None
    if interface is None or client is None:
        LOG.info("no DHCP client runs that could tell Azure's DNS the name %s: the next lease will", name)
        return None
    called = _CALLED.get(client[0], client[0])
    system.journal.record(Change("service", f"{called} {interface}", "tell the DHCP server the new name"))
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
        LOG.warning("Azure's DNS may not know the new name yet: %s", error)


def find_client(root: Root, interface: str) -> Optional[tuple[str, list[str]]]:
    """The process that holds the lease of an interface: its name in /proc and the words of its command line.

    Several may run; networkd and NetworkManager note in /run which interfaces are theirs, the small ones name theirs
    on the command line, or serve all.
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
    """networkd keeps a lease for that interface, or has a file for it: from systemd 262 on no lease is to be seen."""
    if root.stat(f"/run/systemd/netif/leases/{index}") is not None:
        return True
    link = root.text(f"/run/systemd/netif/links/{index}").splitlines()
    is_up = "ADMIN_STATE=configured" in link or "ADMIN_STATE=configuring" in link
    return is_up and any(line.startswith("NETWORK_FILE=/") for line in link)


def _processes(root: Root) -> Iterator[tuple[str, str]]:
    """Process ids and names of those in this network namespace. Read plainly: there may be thousands."""
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
    """Send the request of a client that rebinds its lease, with the name; no answer is waited for.

    Args:
        root: where sysfs is.
        interface: its address and its link are used.
        name: the name to tell.
        client_id: name the client by its hardware address in the request, too, as udhcpc does and dhclient does not.
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
            except OSError:  # the client holds the port; servers answer to it whatever port asked
                LOG.debug("port 68 is taken")
            mac = bytes.fromhex(macs(root)[interface].replace(":", ""))
            sender.sendto(request(mac, address, name, client_id=client_id), ("255.255.255.255", 67))
    except (OSError, ImportError, AttributeError, KeyError, ValueError) as error:  # no address, not Linux, no Ethernet
        LOG.warning("Azure's DNS may not know the new name yet: %s could not be used for DHCP: %s", interface, error)


def request(mac: bytes, address: bytes, name: str, *, client_id: bool) -> bytes:
    """A DHCPREQUEST as RFC 2131 has it for a client that rebinds: its address, no server, no wish for another one."""
    head = struct.pack("!BBBB4sHH4s12x6s10x192x", 1, 1, 6, 0, os.urandom(4), 0, 0, address, mac)
    options = [(53, b"\x03"), (12, name.encode()), (55, bytes((1, 3, 6, 15)))]
    if client_id:
        options.append((61, b"\x01" + mac))
    body = b"".join(bytes((code, len(value))) + value for code, value in options)
    return (head + _DISCOVERED + body + b"\xff").ljust(300, b"\0")
