"""The guest's time synchronisation program, and the time servers and reference clock in its configuration files.

azurelite writes a drop-in if the program supports it, else a marked block in the program's own file. Nothing is
restarted here.
"""

from __future__ import annotations

import re
from typing import Optional

from azurelite.record import Record
from azurelite.system.blocks import Block, assign, get
from azurelite.system.files import Files
from azurelite.system.machine import System

HYPERV_CLOCK = "/dev/ptp_hyperv"  # udev's name, which does not depend on the order of drivers
_PTP = "/sys/class/ptp"
_OWN = "azurelite.conf"
_BLOCK = Block("# azurelite: begin", "# azurelite: end")
_OUT = "#azurelite: "  # comments out a line


class TimeKeeper(Record):
    """A time synchronisation program.

    Attributes:
        name: "chrony", "ntp", "openntpd", "timesyncd" or "busybox".
        conf: its configuration file.
        services: the possible names of its service.
    """

    name: str
    conf: str
    services: tuple[str, ...]


# Name, programs, files (one must exist, because three programs are named ntpd), services.
_KNOWN = (
    ("chrony", ("chronyd",), ("/etc/chrony/chrony.conf", "/etc/chrony.conf"), ("chronyd", "chrony")),
    ("ntp", ("ntpd",), ("/etc/ntpsec/ntp.conf", "/etc/ntp.conf"), ("ntpsec", "ntpd", "ntp")),
    ("openntpd", ("ntpd",), ("/etc/openntpd/ntpd.conf", "/etc/ntpd.conf"), ("openntpd", "ntpd")),
    ("busybox", ("ntpd",), ("/etc/conf.d/ntpd",), ("ntpd",)),
)
_TIMESYNCD = ("/usr/lib/systemd/systemd-timesyncd", "/lib/systemd/systemd-timesyncd")
_TIMESYNCD_CONF = "/etc/systemd/timesyncd.conf.d/90-azurelite.conf"


def find_time_keeper(system: System) -> Optional[TimeKeeper]:
    """The installed program, the most capable one first, or None. Raises FileError."""
    for name, programs, confs, services in _KNOWN:
        if system.installed(*programs):
            conf = next((path for path in confs if system.files.exists(path)), None)
            if conf is not None:
                return TimeKeeper(name, conf, services)
    if system.installed(*_TIMESYNCD):
        return TimeKeeper("timesyncd", _TIMESYNCD_CONF, ("systemd-timesyncd",))
    return None


def hyperv_clock(files: Files) -> Optional[str]:
    """The device of the Hyper-V host's clock, or None. Raises FileError."""
    if files.exists(HYPERV_CLOCK):
        return HYPERV_CLOCK
    for name in files.names(_PTP):  # without udev the permanent name does not exist
        if (files.text(f"{_PTP}/{name}/clock_name") or "").strip() == "hyperv":
            return f"/dev/{name}"
    return None


def configure(
    files: Files, keeper: TimeKeeper, *, clock: Optional[str], servers: tuple[str, ...], pools: tuple[str, ...]
) -> bool:
    """Set the time sources.

    Args:
        files: the guest's files.
        keeper: the program.
        clock: device of the host's clock, which only chrony supports; None: do not use it.
        servers: names or addresses that replace the configured ones; these stay if servers and pools are empty.
        pools: names that resolve to several servers.

    Returns:
        True if a file changed.

    Raises:
        FileError: a file cannot be written.
    """
    if keeper.name == "timesyncd":
        return _set_timesyncd(files, (*servers, *pools))
    if keeper.name == "busybox":
        return _set_busybox(files, keeper.conf, (*servers, *pools))
    text = files.text(keeper.conf) or ""
    before = text
    if servers or pools:
        text = _without_sources(text)
    own = _sources(keeper.name, servers, pools)
    if keeper.name != "chrony":
        return files.rewrite_text(keeper.conf, _BLOCK.put(text, own))
    folder = drop_in_folder(files, text)
    own = [*_clock_lines(files, folder, before, clock), *own]
    if folder is None:
        return files.rewrite_text(keeper.conf, _BLOCK.put(text, own))
    changed = files.rewrite_text(keeper.conf, text) if text != before else False
    return _set_drop_in(files, f"{folder}/{_OWN}", own) or changed


def drop_in_folder(files: Files, text: str) -> Optional[str]:
    """The folder from which a chrony.conf includes *.conf, or None. Raises FileError."""
    for match in re.finditer(r"^[ \t]*(?:confdir[ \t]+(.*)|include[ \t]+(\S+)/\*\.conf)[ \t]*$", text, re.MULTILINE):
        for folder in (match[1] or match[2]).split():
            if files.is_dir(folder.rstrip("/")):
                return folder.rstrip("/")
    return None


def _clock_lines(files: Files, folder: Optional[str], text: str, clock: Optional[str]) -> list[str]:
    """The lines for the host's clock, without those that the image already has."""
    if clock is None:
        return []
    others = [_BLOCK.removed(text)]
    if folder is not None:
        paths = [f"{folder}/{name}" for name in files.names(folder) if name.endswith(".conf") and name != _OWN]
        others += [files.text(path) or "" for path in paths]
    there = "\n".join(others)
    lines = []
    if re.search(r"^[ \t]*refclock[ \t]+PHC[ \t]", there, re.MULTILINE | re.IGNORECASE) is None:
        lines.append(f"refclock PHC {clock} poll 3 dpoll -2 offset 0 stratum 2")
    if re.search(r"^[ \t]*makestep\b", there, re.MULTILINE | re.IGNORECASE) is None:
        lines.append("makestep 1.0 -1")  # after a pause or move the clock of a VM is too late for slewing
    return lines


def _sources(name: str, servers: tuple[str, ...], pools: tuple[str, ...]) -> list[str]:
    if name == "openntpd":
        return [f"server {server}" for server in servers] + [f"servers {pool}" for pool in pools]
    return [f"server {server} iburst" for server in servers] + [f"pool {pool} iburst" for pool in pools]


def _without_sources(text: str) -> str:
    """The text with other servers commented out; a reference clock of ntpd (127.127.…) is not a server."""
    part = _BLOCK.lines(text)
    kept = re.sub(
        r"^([ \t]*(?:server|servers|pool|peer)[ \t]+(?!127\.127\.).*)$",
        rf"{_OUT}\1",
        _BLOCK.removed(text),
        flags=re.MULTILINE,
    )
    return _BLOCK.put(kept, part)


def _set_drop_in(files: Files, path: str, lines: list[str]) -> bool:
    if not lines:
        return files.delete(path)
    return files.rewrite_text(path, "".join(f"{line}\n" for line in ("# written by azurelite", *lines)))


def _set_timesyncd(files: Files, servers: tuple[str, ...]) -> bool:
    if not servers:
        return files.delete(_TIMESYNCD_CONF)
    files.mkdirs(_TIMESYNCD_CONF.rpartition("/")[0])
    # The empty assignment removes what other files have set.
    return files.rewrite_text(_TIMESYNCD_CONF, f"# written by azurelite\n[Time]\nNTP=\nNTP={' '.join(servers)}\n")


def _set_busybox(files: Files, path: str, servers: tuple[str, ...]) -> bool:
    if not servers:
        return False
    text = files.text(path) or ""
    words = re.sub(r"-p[ \t]*\S+", "", get(text, "NTPD_OPTS") or "-N").split()
    return files.rewrite_text(path, assign(text, "NTPD_OPTS", " ".join([*words, *(f"-p {name}" for name in servers)])))
