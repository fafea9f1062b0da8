"""Files that tie an image to one machine: its id, name servers, names of NICs and disks; and its clock."""

from __future__ import annotations

import re
import stat
from typing import Iterator

from azurelite.doctor.finding import ERROR, WARNING, Finding
from azurelite.doctor.subject import Subject
from azurelite.system.disks import fstab
from azurelite.system.timekeeping import find_time_keeper

MACHINE_ID = "/etc/machine-id"
DBUS_ID = "/var/lib/dbus/machine-id"
_RULES = "/etc/udev/rules.d"
_LINKS = "/etc/systemd/network"
_DEVICE = r"/dev/([shv]d|xvd)[a-z]+\d*|/dev/nvme\d+n\d+(p\d+)?|/dev/mmcblk\S*"
_FINE_SERVERS = r"127\.|::1$|168\.63\.129\.16$"
_OPTIONAL = ("nofail", "noauto")


def machine_id(subject: Subject) -> Iterator[Finding]:
    """The image has no machine id, so that each VM makes its own."""
    text = subject.text(MACHINE_ID).strip()
    fixable = not subject.live and subject.system.root.link_target(MACHINE_ID) is None
    if text and text != "uninitialized":
        yield Finding(
            "files.machine-id",
            ERROR,
            "the image has a machine id, which all its VMs would share",
            MACHINE_ID,
            "Run `azurelite generalize` before you capture the image." if subject.live else f"Empty {MACHINE_ID}.",
            "machine-id" if fixable else None,
        )
    found = subject.files.stat(DBUS_ID, beneath=DBUS_ID)
    if found is not None and stat.S_ISREG(found.st_mode) and found.st_size:
        yield Finding(
            "files.machine-id",
            ERROR,
            "D-Bus has a machine id of its own, from which all VMs of this image would take theirs",
            DBUS_ID,
            f"Make it a link to {MACHINE_ID}.",
            "machine-id" if fixable else None,
        )


def name_servers(subject: Subject) -> Iterator[Finding]:
    """No name server of another network is written down."""
    path = "/etc/resolv.conf"
    if subject.system.root.link_target(path) is not None:
        return  # it is made at each boot
    lines = [line.split() for line in subject.lines(path)]
    servers = [words[1] for words in lines if words[0] == "nameserver" and len(words) > 1]
    foreign = [server for server in servers if not re.match(_FINE_SERVERS, server)]
    if foreign and not subject.live:
        yield Finding(
            "files.resolv-conf",
            WARNING,
            f"the image has the name server {foreign[0]}, which the VMs may not reach until DHCP has replaced it",
            path,
            "Empty the file, or make it the link that your DHCP client or resolver expects.",
        )


def nic_names(subject: Subject) -> Iterator[Finding]:
    """No rule gives a name to the NIC with one hardware address."""
    for name in subject.names(_RULES):
        lines = subject.lines(f"{_RULES}/{name}") if name.endswith(".rules") else []
        if any(re.search(r"ATTR\{address\}==", line) and re.search(r"\bNAME\s*:?=", line) for line in lines):
            yield _nic_name(f"{_RULES}/{name}")
    for name in subject.names(_LINKS):
        text = "\n".join(subject.lines(f"{_LINKS}/{name}")) if name.endswith(".link") else ""
        if re.search(r"(?mi)^\s*(Permanent)?MACAddress\s*=\s*\S", text) and re.search(r"(?mi)^\s*Name\s*=", text):
            yield _nic_name(f"{_LINKS}/{name}")


def mounts(subject: Subject) -> Iterator[Finding]:
    """fstab names no disk by the order in which the kernel found it, and needs no disk of one VM."""
    for line in (subject.files.read(fstab.PATH) or b"").split(b"\n"):
        entry = fstab.parse(line)
        if entry is None:
            continue
        optional = bool(set(entry.options.split(",")) & set(_OPTIONAL))
        if b"comment=cloudconfig" in line or entry.device.startswith("/dev/disk/cloud/"):
            yield Finding(
                "files.fstab",
                WARNING,
                f"cloud-init wrote the line for {entry.path}, which belongs to the former VM",
                fstab.PATH,
                "Delete the line.",
            )
        elif re.fullmatch(_DEVICE, entry.device):
            yield Finding(
                "files.fstab",
                WARNING if optional else ERROR,
                f"{entry.path} is mounted from {entry.device}, and Azure's disks may have other names at each boot",
                fstab.PATH,
                "Use UUID=… or LABEL=… instead.",
            )
        elif entry.device.startswith("/dev/disk/azure/resource") and not optional:
            yield Finding(
                "files.fstab",
                ERROR,
                f"{entry.path} needs the resource disk, which many VM sizes do not have",
                fstab.PATH,
                "Add the option nofail.",
            )


def time_sync(subject: Subject) -> Iterator[Finding]:
    """A time synchronisation program is installed and starts at boot."""
    keeper = find_time_keeper(subject.system)
    if keeper is None:
        yield Finding(
            "files.time-sync",
            WARNING,
            "no program keeps the clock right, which drifts on a VM and stands still while it is moved",
            "/usr/sbin/chronyd",
            "Install chrony.",
        )
    elif subject.enabled(*keeper.services) is False:
        yield Finding(
            "files.time-sync",
            WARNING,
            f"{keeper.name} is installed, but does not start at boot",
            keeper.services[0],
            f"Enable the service {keeper.services[0]}.",
        )


def _nic_name(path: str) -> Finding:
    return Finding(
        "files.nic-names",
        ERROR,
        "a rule names NICs by the hardware address, so the NIC of another VM gets another name than eth0",
        path,
        "Delete the file.",
    )
