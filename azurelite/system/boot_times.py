"""How long kernel and init system took in this boot, where the system tells: systemd, OpenRC's log, or /proc."""

from __future__ import annotations

import os
import time
from typing import Optional

from azurelite.errors import CommandError
from azurelite.record import Record
from azurelite.system.process import Commands
from azurelite.system.root import Root

_SYSTEMD = "/run/systemd/system"  # exists where systemd is the init system
_STAMPS = ("Firmware", "Loader", "InitRD", "Userspace", "Finish")
_OPENRC_LOG = "/var/log/rc.log"
_PATIENCE = 5.0  # seconds for systemctl
_LOG_LIMIT = 16 * 1024 * 1024  # bytes; OpenRC only appends to it


class Phase(Record):
    """A part of the boot.

    Attributes:
        name: as "kernel".
        start: seconds after the kernel's start; negative before it.
        seconds: how long it took.
    """

    name: str
    start: float
    seconds: float


def boot_phases(root: Root, commands: Commands) -> tuple[Phase, ...]:
    """The phases of this boot in order; empty where nothing tells them. Never raises.

    Args:
        root: the guest, which must be the running system.
        commands: runs `systemctl`.
    """
    if root.stat(_SYSTEMD) is not None:
        options = [word for stamp in _STAMPS for word in ("-p", f"{stamp}TimestampMonotonic")]
        try:
            found = _systemd(commands.run(["systemctl", "show", *options], timeout=_PATIENCE))
        except CommandError:
            found = []
        if found:
            return tuple(found)
    return (*_first_service(root), *_openrc(root))


def _systemd(text: str) -> list[Phase]:
    """From microseconds: of firmware and loader before the kernel's start, of the others after it; 0: not passed."""
    at = dict.fromkeys(_STAMPS, 0.0)
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if value.isascii() and value.isdigit():
            at[key.replace("TimestampMonotonic", "")] = int(value) / 1e6
    if not at["Userspace"]:
        return []
    kernel_end = at["InitRD"] or at["Userspace"]
    phases = [
        Phase("firmware", -at["Firmware"], at["Firmware"] - at["Loader"]),
        Phase("boot loader", -at["Loader"], at["Loader"]),
        Phase("kernel", 0.0, kernel_end),
        Phase("initramfs", kernel_end, at["Userspace"] - kernel_end),
        Phase("systemd until the boot was finished", at["Userspace"], at["Finish"] - at["Userspace"]),
    ]
    return [phase for phase in phases if phase.seconds > 0]


def _first_service(root: Root) -> list[Phase]:
    """Until the start of the oldest running child of process 1: the kernel's time, and the begin of the init's."""
    ticks, earliest = os.sysconf("SC_CLK_TCK"), None
    for name in root.names("/proc"):
        if name.isascii() and name.isdigit():
            fields = root.text(f"/proc/{name}/stat", limit=4096).rpartition(")")[2].split()
            if len(fields) > 19 and fields[1] == "1" and fields[19].isdigit():
                begun = int(fields[19]) / ticks
                earliest = begun if earliest is None else min(begun, earliest)
    return [Phase("kernel, until the first service", 0.0, earliest)] if earliest else []


def _openrc(root: Root) -> list[Phase]:
    """The run levels that OpenRC logged in this boot (`rc_logger="YES"`), in whole seconds."""
    booted = next((line[6:] for line in root.text("/proc/stat").splitlines() if line.startswith("btime ")), "")
    if not (booted.isascii() and booted.isdigit()):
        return []
    phases, began = [], dict[str, float]()
    for line in root.text(_OPENRC_LOG, limit=_LOG_LIMIT).splitlines():
        words = line.split(None, 5)
        if len(words) < 6 or words[0] != "rc" or words[2] != "logging":
            continue
        moment = _moment(words[5])
        if moment is None or moment < int(booted) - 1:  # of an earlier boot
            continue
        level, act = words[1], words[3]
        if act == "started":
            began[level] = moment - int(booted)
        elif level in began:
            start = began.pop(level)
            phases.append(Phase(f"OpenRC {level}", start, moment - int(booted) - start))
    return [phase for phase in phases if phase.seconds >= 0]


def _moment(text: str) -> Optional[float]:
    """The time of a line of the log, in the machine's time zone."""
    try:
        return time.mktime(time.strptime(text.strip(), "%a %b %d %H:%M:%S %Y"))
    except (ValueError, OverflowError):
        return None
