"""NICs as files of systemd-networkd, one per NIC; and one that excludes second devices with the same MACs."""

from __future__ import annotations

from typing import Iterable

from azurelite.netconf.nics import HEADER, File, Nic, with_sections

FOLDER = "/etc/systemd/network"
_BUILT = "bridge bonding team macvlan ipvlan 802.1Q*"  # as the kernel's drivers of such interfaces call themselves


def render(nics: Iterable[Nic]) -> tuple[File, ...]:
    """The files, as /etc/systemd/network/05-azurelite-000d3a5e7b21.network."""
    nics = tuple(nics)
    files = [File(f"{FOLDER}/05-azurelite-{nic.id}.network", _network(nic), mac=nic.mac) for nic in nics]
    for driver in sorted({nic.driver for nic in nics if nic.driver is not None}):
        macs = " ".join(sorted(nic.mac for nic in nics if nic.driver == driver))
        # The VF of accelerated networking has the same MAC; a file that matches all interfaces would configure it.
        # A bridge, bond or VLAN on the NIC may have it too, and is somebody's wish.
        text = f"{HEADER}[Match]\nMACAddress={macs}\nDriver=!{driver} {_BUILT}\n\n[Link]\nUnmanaged=yes\n"
        files.append(File(f"{FOLDER}/05-azurelite-not-{driver}.network", text))
    return tuple(files)


def _network(nic: Nic) -> str:
    match = [f"MACAddress={nic.mac}"] + ([f"Driver={nic.driver}"] if nic.driver else [])
    overrides = [f"RouteMetric={nic.metric}"] if nic.metric is not None else []
    no_dns = ["UseDNS=no"] if nic.rank else []
    sections = [
        ("Match", match),
        ("Link", ["RequiredForOnline=no"] if nic.rank else []),  # boot does not wait for it
        ("Network", ["DHCP=yes" if nic.ipv6 else "DHCP=ipv4", *(f"Address={address}" for address in nic.addresses)]),
        ("DHCPv4", overrides + no_dns),
        ("DHCPv6", no_dns if nic.ipv6 else []),
        ("IPv6AcceptRA", overrides + no_dns if nic.ipv6 else []),
    ]
    return with_sections(sections)
