"""DHCP on Azure's NIC: a client is installed, it starts at boot, and its configuration fits any new VM."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Iterator, Optional

from azurelite.doctor.finding import ERROR, WARNING, Finding
from azurelite.doctor.subject import Subject
from azurelite.record import Record

NIC = "eth0"  # hv_netvsc's name: no naming policy of udev applies to the Hyper-V bus
_CLIENTS = ("dhclient", "dhcpcd", "udhcpc", "NetworkManager", "connmand", "wicked")
_NETWORKD = ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd")
_NETWORKS = ("/etc/systemd/network", "/usr/lib/systemd/network", "/lib/systemd/network")
_CONNECTIONS = ("/etc/NetworkManager/system-connections", "/usr/lib/NetworkManager/system-connections")
_RED_HAT = ("/etc/sysconfig/network-scripts", "/etc/sysconfig/network")
_NETPLAN = ("/etc/netplan", "/usr/lib/netplan", "/lib/netplan")


class Nic(Record):
    """What a file says about a NIC.

    Attributes:
        place: the file.
        name: the NIC's name or a pattern; "" if the file does not name it.
        dhcp: an address comes from a DHCP server.
        mac: the hardware address that the file is bound to, or "".
    """

    place: str
    name: str
    dhcp: bool
    mac: str = ""

    @property
    def fits(self) -> bool:
        """Whether it is about Azure's NIC."""
        patterns = self.name.split() or ["*"]
        return any(fnmatchcase(NIC, pattern) for pattern in patterns)


def client(subject: Subject) -> Iterator[Finding]:
    """A DHCP client is installed."""
    if not subject.system.installed(*_CLIENTS, *_NETWORKD) and not _busybox(subject):
        yield Finding(
            "network.client",
            ERROR,
            "no DHCP client is installed, so the VM gets no address",
            "/usr/sbin",
            "Install dhcpcd, dhclient, udhcpc, NetworkManager or systemd-networkd.",
        )


def enabled(subject: Subject) -> Iterator[Finding]:
    """Something that uses DHCP starts at boot."""
    managers = _managers(subject)
    if "network" in subject.plan() and subject.azurelite_enabled:
        return
    if not managers:
        yield Finding(
            "network.enabled",
            ERROR,
            f"no network service starts at boot (init system: {subject.services.init})",
            "/etc",
            "Enable the service of the DHCP client: networking, dhcpcd, NetworkManager or systemd-networkd.",
        )
        return
    nics = [nic for manager in managers for nic in _nics(subject, manager)]
    if set(managers) & _AUTOMATIC or any(nic.dhcp for nic in nics):  # `right_nic` names those of another NIC
        return
    places = ", ".join(dict.fromkeys(nic.place for nic in nics)) or _EXPECTED[managers[0]]
    yield Finding(
        "network.enabled",
        ERROR,
        f"{managers[0]} starts at boot, but nothing requests an address for {NIC} by DHCP",
        places,
        f"Configure {NIC} for DHCP.",
    )


def right_nic(subject: Subject) -> Iterator[Finding]:
    """No configuration is for another NIC only, or for one hardware address."""
    managers = _managers(subject)
    nics = [nic for manager in managers for nic in _nics(subject, manager)]
    for nic in nics:
        if nic.mac:
            yield Finding(
                "network.nic",
                ERROR,
                f"the configuration is bound to the hardware address {nic.mac}, and each VM has another one",
                nic.place,
                f"Match the name {NIC} instead of an address.",
            )
    dhcp = [nic for nic in nics if nic.dhcp and not nic.mac]
    if dhcp and not any(nic.fits for nic in dhcp):
        automatic = bool(set(managers) & _AUTOMATIC)
        yield Finding(
            "network.nic",
            WARNING if automatic else ERROR,
            f"DHCP is configured for {dhcp[0].name}; Azure's NIC is {NIC}",
            dhcp[0].place,
            f"Configure {NIC}, or a pattern that matches it.",
        )


_AUTOMATIC = {"NetworkManager", "dhcpcd", "connman"}  # without a configuration they use DHCP on every NIC
_EXPECTED = {
    "systemd-networkd": "/etc/systemd/network",
    "networking": "/etc/network/interfaces",
    "network": _RED_HAT[0],
    "NetworkManager": _CONNECTIONS[0],
    "dhcpcd": "/etc/dhcpcd.conf",
    "connman": "/etc/connman",
    "wicked": _RED_HAT[1],
    "netplan": _NETPLAN[0],
    "udhcpc": "/etc",
}
_SERVICES = {
    "systemd-networkd": ("systemd-networkd",),
    "networking": ("networking", "net.eth0", "net.lo"),
    "network": ("network",),
    "NetworkManager": ("NetworkManager", "networkmanager", "network-manager"),
    "dhcpcd": ("dhcpcd", "dhcpcd-eth0", "dhclient"),
    "connman": ("connman", "connmand"),
    "wicked": ("wicked",),
    "udhcpc": ("udhcpc",),
}


def _managers(subject: Subject) -> list[str]:
    found = [name for name, services in _SERVICES.items() if subject.enabled(*services) is True]
    return found or list(_by_scripts(subject))


def _by_scripts(subject: Subject) -> Iterator[str]:
    """What the scripts that run before any service start, as those of BusyBox's init and of Debian's runit."""
    if subject.services.init == "systemd":
        return
    if any(re.fullmatch(r"S\d\d(networking|network|ifupdown)", name) for name in subject.names("/etc/rcS.d")):
        yield "networking"
    scripts = [f"/etc/init.d/{name}" for name in subject.names("/etc/init.d") if re.match(r"S\d\d|rcS$", name)]
    scripts += [f"/etc/runit/core-services/{name}" for name in subject.names("/etc/runit/core-services")]
    for path in ("/etc/inittab", "/etc/runit/1", "/etc/rc.local", *scripts):
        text = "\n".join(subject.lines(path))
        if re.search(r"\bifup\b", text):
            yield "networking"
        if re.search(r"\b(udhcpc|dhclient|dhcpcd)\b", text):
            yield "dhcpcd"  # whichever it is, it asks on the NICs that the script names


def _busybox(subject: Subject) -> bool:
    """Whether BusyBox has its client: a link to it need not exist."""
    folders = ("/sbin", "/usr/sbin", "/bin", "/usr/bin")
    if any(subject.system.root.link_target(f"{folder}/udhcpc") for folder in folders):
        return True
    path = subject.first("/bin/busybox", "/usr/bin/busybox")
    return path is not None and b"\0udhcpc\0" in (subject.files.read(path) or b"")


def _nics(subject: Subject, manager: str) -> list[Nic]:
    netplan = list(_by_netplan(subject)) if manager in ("systemd-networkd", "NetworkManager") else []
    readers = {
        "systemd-networkd": _by_networkd,
        "networking": _by_ifupdown,
        "NetworkManager": _by_network_manager,
        "network": _by_red_hat,
        "wicked": _by_red_hat,
    }
    return netplan + (list(readers[manager](subject)) if manager in readers else [])


def _by_networkd(subject: Subject) -> Iterator[Nic]:
    masked: set[str] = set()
    for folder in _NETWORKS:
        for name in subject.names(folder):
            if name.endswith(".network") and name not in masked:
                masked.add(name)
                values = _ini(subject.lines(f"{folder}/{name}"))
                match = values.get("match.name", "")
                mac = values.get("match.macaddress", values.get("match.permanentmacaddress", ""))
                dhcp = values.get("network.dhcp", "no").lower() in ("yes", "true", "ipv4", "both", "1", "on")
                if match or mac or "match.type" in values or "match.driver" in values:
                    yield Nic(f"{folder}/{name}", match, dhcp, mac)


def _by_network_manager(subject: Subject) -> Iterator[Nic]:
    for folder in _CONNECTIONS:
        for name in subject.names(folder):
            values = _ini(subject.lines(f"{folder}/{name}"))
            if values.get("connection.type", "ethernet") in ("ethernet", "802-3-ethernet"):
                mac = values.get("ethernet.mac-address", values.get("802-3-ethernet.mac-address", ""))
                dhcp = values.get("ipv4.method", "auto") == "auto"
                yield Nic(f"{folder}/{name}", values.get("connection.interface-name", ""), dhcp, mac)
    yield from _by_red_hat(subject)


def _by_ifupdown(subject: Subject) -> Iterator[Nic]:
    main, folder = "/etc/network/interfaces", "/etc/network/interfaces.d"
    for path in (main, *(f"{folder}/{name}" for name in subject.names(folder))):
        nic: Optional[Nic] = None
        for line in subject.lines(path):
            words = line.split()
            if words[0] == "iface" and len(words) > 3 and words[1] != "lo" and words[2] == "inet":
                nic = Nic(path, words[1], words[3] == "dhcp")
                yield nic
            elif words[0] == "hwaddress" and nic is not None:
                yield Nic(path, nic.name, nic.dhcp, words[-1])


def _by_red_hat(subject: Subject) -> Iterator[Nic]:
    for folder in _RED_HAT:
        for name in subject.names(folder):
            if name.startswith("ifcfg-") and name != "ifcfg-lo":
                pairs = (line.partition("=") for line in subject.lines(f"{folder}/{name}"))
                values = {key.strip().lower(): value.strip().strip("\"'") for key, _, value in pairs}
                dhcp = values.get("bootproto", "").lower() in ("dhcp", "dhcp4")
                mac = values.get("hwaddr", "")
                yield Nic(f"{folder}/{name}", values.get("device", name[len("ifcfg-") :]), dhcp, mac)


def _by_netplan(subject: Subject) -> Iterator[Nic]:
    import yaml

    for folder in _NETPLAN:
        for name in subject.names(folder):
            if not name.endswith(".yaml"):
                continue
            try:
                read = yaml.safe_load(subject.text(f"{folder}/{name}"))
            except (yaml.YAMLError, RecursionError):
                continue
            cards = _mapping(_mapping(_mapping(read).get("network")).get("ethernets"))
            for key, card in cards.items():
                match = _mapping(_mapping(card).get("match"))
                called = str(match.get("name", "" if match else key))
                mac = str(match.get("macaddress", ""))
                yield Nic(f"{folder}/{name}", called, _mapping(card).get("dhcp4") is True, mac)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _ini(lines: list[str]) -> dict[str, str]:
    """The last value of each key, as "section.key" in lower case."""
    section, found = "", {}
    for line in lines:
        head = re.fullmatch(r"\[(.*)\]", line.strip())
        if head:
            section = head[1].lower()
        else:
            key, sign, value = line.partition("=")
            if sign:
                found[f"{section}.{key.strip().lower()}"] = value.strip()
    return found
