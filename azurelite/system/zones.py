"""The time zone of a guest: whether a zone is installed, and the files that set it.

/etc/localtime is written as a link, or as a copy if it is one already. Other files are written only if they exist.
"""

from __future__ import annotations

from typing import Optional

from azurelite.system.blocks import assign, get, uci_set
from azurelite.system.files import Files

ZONEINFO = "/usr/share/zoneinfo"
LOCALTIME = "/etc/localtime"
_NAMED = ("/etc/timezone", "/var/db/zoneinfo")  # Debian, Gentoo; FreeBSD: a line with the zone's name
_SETTINGS = (("/etc/sysconfig/clock", "ZONE"), ("/etc/sysconfig/clock", "TIMEZONE"), ("/etc/rc.conf", "TIMEZONE"))
_POSIX = "/etc/TZ"  # uClibc reads the POSIX rule from there
_OPENWRT = "/etc/config/system"


def zone_data(files: Files, zone: str) -> Optional[bytes]:
    """The compiled zone of a checked name (no dots in it), or None if it is not installed. Raises FileError."""
    path = f"{ZONEINFO}/{zone}"
    data = None if files.is_dir(path) else files.read(path)
    return data if data is not None and data.startswith(b"TZif") else None


def similar_zone(files: Files, zone: str) -> Optional[str]:
    """The installed zone whose name differs only in case, or None. Raises FileError."""
    found = ""
    for part in zone.split("/"):
        names = files.names(f"{ZONEINFO}{found}")
        match = next((name for name in names if name.lower() == part.lower()), None)
        if match is None:
            return None
        found += f"/{match}"
    return found[1:] if zone_data(files, found[1:]) is not None else None


def set_zone(files: Files, zone: str, data: bytes) -> None:
    """Set the zone in all files that this system uses. Raises FileError.

    Args:
        files: the guest's files.
        zone: its name, as "Europe/Berlin".
        data: the compiled zone.
    """
    _set_localtime(files, zone, data)
    for path in _NAMED:
        if files.exists(path):
            files.rewrite_text(path, f"{zone}\n")
    for path, key in _SETTINGS:
        text = files.text(path)
        if text is not None and get(text, key) is not None:
            files.rewrite_text(path, assign(text, key, zone))
    rule = posix_rule(data)
    if rule is not None and files.exists(_POSIX):
        files.rewrite_text(_POSIX, f"{rule}\n")
    text = files.text(_OPENWRT)
    if rule is not None and text is not None:
        text = uci_set(uci_set(text, "system", "timezone", rule) or text, "system", "zonename", zone)
        if text is not None:
            files.rewrite_text(_OPENWRT, text)


def _set_localtime(files: Files, zone: str, data: bytes) -> None:
    target = files.root.link_target(LOCALTIME)
    if target is None and files.exists(LOCALTIME):
        files.rewrite(LOCALTIME, data)  # a copy, for example because /usr is mounted later
    elif target != f"{ZONEINFO}/{zone}":
        files.link(LOCALTIME, f"..{ZONEINFO}/{zone}")


def posix_rule(data: bytes) -> Optional[str]:
    """The rule at the end of a compiled zone, as "CET-1CEST,M3.5.0,M10.5.0/3"; None if it has none."""
    rule = data[:-1].rpartition(b"\n")[2] if data[4:5] >= b"2" and data.endswith(b"\n") else b""
    text = rule.decode("ascii", "replace")
    return text if text and text.isprintable() and not {"'", '"', "\ufffd"} & set(text) else None
