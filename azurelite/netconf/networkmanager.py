"""NICs as keyfiles of NetworkManager, one per NIC; and a setting that excludes second devices with the same MACs."""

from __future__ import annotations

from typing import Iterable

from azurelite.netconf.nics import HEADER, File, Nic, with_sections

FOLDER = "/etc/NetworkManager/system-connections"
SETTINGS = "/etc/NetworkManager/conf.d"
_BUILT = ";".join(f"except:type:{kind}" for kind in ("bridge", "bond", "team", "macvlan", "vlan"))
_NAMESPACE = "6f3c1f0e-6f0a-5d43-9a54-0d5f1f6f2c11"  # for the UUIDs of the profiles; it must never change


def render(nics: Iterable[Nic]) -> tuple[File, ...]:
    """The files, as /etc/NetworkManager/system-connections/azurelite-000d3a5e7b21.nmconnection."""
    nics = tuple(nics)
    files = [File(f"{FOLDER}/azurelite-{nic.id}.nmconnection", _profile(nic), 0o600, nic.mac) for nic in nics]
    for driver in sorted({nic.driver for nic in nics if nic.driver is not None}):
        macs = ";".join(sorted(f"mac:{nic.mac}" for nic in nics if nic.driver == driver))
        # The VF of accelerated networking has the same MAC; without this NetworkManager would create a profile for it.
        # A bridge, bond or VLAN on the NIC may have it too, and is somebody's wish.
        text = (
            f"{HEADER}[device-azurelite-not-{driver}]\nmatch-device={macs};except:driver:{driver};{_BUILT}\nmanaged=0\n"
        )
        files.append(File(f"{SETTINGS}/50-azurelite-not-{driver}.conf", text))
    return tuple(files)


def _profile(nic: Nic) -> str:
    import uuid

    # The priority is above that of an image's profile for all Ethernet, and above cloud-init's 120.
    identity = [f"id=azurelite-{nic.id}", f"uuid={uuid.uuid5(uuid.UUID(_NAMESPACE), nic.mac)}"]
    common = [f"route-metric={nic.metric}"] if nic.metric is not None else []
    common += ["ignore-auto-dns=true"] if nic.rank else []
    further = {family: [a for a in nic.addresses if (":" in a) == family] for family in (False, True)}
    sections = [
        ("connection", [*identity, "type=ethernet", "autoconnect-priority=200"]),
        ("ethernet", [f"mac-address={nic.mac}"]),
        ("match", [f"driver={nic.driver};"] if nic.driver else []),
        ("ipv4", ["method=auto", *_numbered(further[False]), *common]),
        ("ipv6", ["method=auto", *_numbered(further[True]), *common] if nic.ipv6 else ["method=link-local"]),
    ]
    return with_sections(sections)


def _numbered(addresses: list[str]) -> list[str]:
    return [f"address{number}={address}" for number, address in enumerate(addresses, 1)]
