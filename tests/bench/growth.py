"""Growth: the main job with more and more of one thing, for what each further item takes."""

from __future__ import annotations

import base64
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from bench.build import Tools
from bench.fabric import Door, Fabric
from bench.figures import Growth, summary
from bench.measure import rounds, runner
from bench.rows import MAIN_JOB, ROWS, Guest, Place

from azurelite.simulator import Scenario, Simulator

MOST = 0.001  # seconds that one more item may take
MAC = 0x000D3A000000


def keys(count: int) -> Guest:
    """A VM with so many SSH keys."""
    return Guest({"vm": {"ssh_keys": [_key(number) for number in range(count)]}})


def nics(count: int) -> Guest:
    """A VM with so many NICs, and the handler that configures them."""
    interfaces = [
        {
            "ipv4": {
                "ipAddress": [{"privateIpAddress": f"10.{number}.0.4", "publicIpAddress": ""}],
                "subnet": [{"address": f"10.{number}.0.0", "prefix": "24"}],
            },
            "ipv6": {"ipAddress": []},
            "macAddress": f"{MAC + number:012X}",
        }
        for number in range(count)
    ]
    guest = Guest({"vm": {"imds": {"network": {"interface": interfaces}}}})
    return replace(guest, handlers=[*MAIN_JOB, {"network": {"renderer": "networkd"}}])


def handlers(count: int) -> Guest:
    """So many more handlers that find nothing to do."""
    return Guest(handlers=[*MAIN_JOB, *({"write_files": {"id": f"files-{number}"}} for number in range(count))])


def custom_data(kibibytes: int) -> Guest:
    """So much custom data, on a provisioning disc that is a folder, and the handler that keeps it."""
    scenario = {"vm": {"custom_data": _cloud_config(kibibytes) if kibibytes else None}}
    ovf = Simulator(Scenario.from_dict(scenario)).ovf().decode()
    return Guest(
        scenario,
        handlers=[*MAIN_JOB, "custom_data"],
        files={"media/ovf-env.xml": ovf},
        datasource={"media": {"device": "/media"}},
    )


def drop_ins(count: int) -> Guest:
    """So many YAML files beside the main one."""
    text = "datasource:\n  deadline: {}\n"
    return Guest(files={f"etc/azurelite/conf.d/{number:03}.yaml": text.format(900 + number) for number in range(count)})


SERIES: Mapping[str, tuple[Callable[[int], Guest], Sequence[int]]] = {
    "SSH keys": (keys, (1, 100, 500, 1000)),
    "NICs": (nics, (1, 16, 64)),
    "handlers": (handlers, (1, 50, 100)),
    "KiB of custom data": (custom_data, (0, 16, 64)),
    "YAML drop-ins": (drop_ins, (1, 100, 200)),
}


def measured(fabric: Fabric, tools: Tools, scratch: Path, *, count: int) -> list[Growth]:
    """Each series, its sizes alternating in rounds. Raises RunError."""
    provision = next(row for row in ROWS if row.name == "provision")
    found = []
    for title, (guest_of, sizes) in SERIES.items():
        rows, places = [], []
        for size in sizes:
            guest, folder = guest_of(size), scratch / f"{title}-{size}".replace(" ", "-")
            folder.mkdir()
            rows.append(replace(provision, prepare=_maker(guest)))
            places.append(Place(tools, _opened(fabric, guest), folder))
        taken = rounds(rows, places, count, runner(fabric))
        found.append(Growth(title, sizes, [summary(title, samples).wall for samples in taken]))
    return found


def _maker(guest: Guest) -> Callable[[Place], None]:
    return lambda place: guest.make(place.root, place.door)


def _opened(fabric: Fabric, guest: Guest) -> Door:
    scenario: dict[str, Any] = dict(guest.scenario)
    return fabric.open(scenario)


def _cloud_config(kibibytes: int) -> str:
    """User data of a kind that is known, and wishes for nothing."""
    head = "#cloud-config\n# "
    return head + "x" * (1024 * kibibytes - len(head))


def _key(number: int) -> str:
    """An ed25519 key by its shape; nobody has its private half."""
    kind = b"ssh-ed25519"
    blob = struct.pack(">I", len(kind)) + kind + struct.pack(">I", 32) + number.to_bytes(32, "big")
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} key-{number}@example.com"
