"""WireServer's address from a DHCP lease: option 245, in the files of each DHCP client.

Azure's DHCP server sends the address in option 245, of length 4. On Azure's public clouds it is 168.63.129.16; on a
platform with another address the lease contains it. So it is an override: azurelite checks once, does not wait for a
lease, and without one uses the well-known address.

These files are read, those of this boot first, in each folder the newest file first:

===============================  ==================================================================================
/run/systemd/netif/leases/*      systemd-networkd: `OPTION_245=a83f8110`
/run/NetworkManager/devices/*    NetworkManager: `private_245=…`, `OPTION_245=…`, if it writes them
/run/udhcpc*, /run/udhcpc/*      BusyBox: its own script stores nothing; other scripts commonly write their
                                 environment, with or without `export` and quotes: `opt245=a83f8110`
/var/lib/NetworkManager/*.lease  of its internal client (`OPTION_245=…`) or of a dhclient that it runs
/var/lib/dhcp/*.leases           ISC dhclient: `option unknown-245 a8:3f:81:10;`; also /var/lib/dhclient
/var/lib/dhcpcd/*.lease          dhcpcd: the server's packet, options from byte 240 on
===============================  ==================================================================================

No function here raises on malformed input: it is treated as absent.
"""

from __future__ import annotations

import calendar
import re
from fnmatch import fnmatch
from typing import Iterator, Optional

from azurelite.system.network.interfaces import dotted, unicast
from azurelite.system.root import Root

_LIMIT = 1024 * 1024  # bytes; dhclient appends to its file and rewrites it now and then, the others write a few hundred
_MOST = 64  # files read in one folder
_OPTION = 245
_LEASE_TIME = 51
_COOKIE, _OPTIONS = b"\x63\x82\x53\x63", 240  # RFC 2131: a packet's options begin after this cookie
_FOREVER = 0xFFFFFFFF

# The option's name in ISC dhclient on Linux, on OpenBSD, and common names that administrators declare.
_NAMES = frozenset({"unknown-245", "option-245", "wireserver", "wireserver-address", "azure-wireserver"})
_KEYS = frozenset(
    {"option_245", "private_245", "unknown_245", "opt245", "dhcp4_private_245", "dhcp4_unknown_245", "new_unknown_245"}
)
_LEXEME = r'"(?:[^"\\]|\\.)*\\?"?|#[^\n]*|[{};]|[^\s{};"#]+'
_ESCAPE = r"\\([0-7]{1,3}|.)"
_DATE = r"(\d{4})/(\d{1,2})/(\d{1,2}) (\d{1,2}):(\d{1,2}):(\d{1,2})"


def from_dhclient(data: bytes, *, now: float) -> Optional[str]:
    """The address in ISC dhclient's leases: from the last lease that has not expired and has the option.

    A value is hex with single digits allowed (`a8:3f:81:10`), a dotted address if the administrator declared the
    option, or, if all four bytes are printable, those characters in quotes with backslash escapes (`"bL6 "`).
    """
    found = None
    for statements in _leases(data.decode("latin-1")):
        address = None
        expired = False
        for words in statements:
            if words[0] == "expire":
                expired = _expired(words[1:], now)
            elif len(words) >= 3 and words[0] == "option" and words[1] in _NAMES:
                address = read_value(words[2])
        if address is not None and not expired:
            found = address
    return found


def from_dhcpcd(data: bytes, *, written: float, now: float) -> Optional[str]:
    """The address in dhcpcd's lease: the server's packet. The lease time starts when the file was written."""
    if data[_OPTIONS - 4 : _OPTIONS] != _COOKIE:
        return None
    options = _packet_options(data)
    seconds = (
        int.from_bytes(options.get(_LEASE_TIME, b""), "big") if len(options.get(_LEASE_TIME, b"")) == 4 else _FOREVER
    )
    if seconds != _FOREVER and written + seconds < now:
        return None
    return unicast(options.get(_OPTION, b""))


def from_keys(data: bytes) -> Optional[str]:
    """The address in lines of KEY=VALUE: of systemd-networkd, NetworkManager, or a saved environment."""
    found = None
    for line in data.decode("latin-1").split("\n"):
        key, equals, value = line.partition("=")
        name = key.strip().lower()
        if name.startswith("export "):
            name = name[7:].strip()
        if equals and name in _KEYS:
            found = read_value(value.strip().strip("'\"")) or found
    return found


def read_value(text: str) -> Optional[str]:
    """Option 245 in any client's format, as a dotted address; None if a host cannot have that address."""
    if text.startswith('"'):
        text = _unescape(text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:])
        if len(text) == 4:
            return unicast(text.encode("latin-1", "replace"))
    if re.fullmatch(r"[0-9A-Fa-f]{8}", text):
        return unicast(bytes.fromhex(text))
    if re.fullmatch(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){3}", text):
        return unicast(bytes(int(part, 16) for part in text.split(":")))
    return unicast(dotted(text) or b"")


_PLACES = (
    ("/run/systemd/netif/leases", "*", "keys"),
    ("/run/NetworkManager/devices", "*", "keys"),
    ("/run/udhcpc", "*", "keys"),
    ("/run", "udhcpc*", "keys"),
    ("/var/lib/NetworkManager", "*.lease", "keys or dhclient"),
    ("/var/lib/NetworkManager", "*.leases", "keys or dhclient"),
    ("/var/lib/dhcp", "*.leases", "dhclient"),
    ("/var/lib/dhclient", "*.leases", "dhclient"),
    ("/var/lib/dhcpcd", "*.lease", "dhcpcd"),
)


def wireserver_from_leases(root: Root, *, now: float) -> Optional[str]:
    """WireServer's address from the guest's DHCP leases, or None if no lease has a usable one.

    Args:
        root: where the guest's files are.
        now: seconds since 1970. Early in boot it may be wrong; then an expired lease may be used.
    """
    for folder, pattern, form in _PLACES:
        for written, path in _newest_first(root, folder, pattern):
            try:
                data = root.read(path, limit=_LIMIT)
            except OSError:
                continue
            address = _parse(form, data or b"", written=written, now=now)
            if address is not None:
                return address
    return None


def _parse(form: str, data: bytes, *, written: float, now: float) -> Optional[str]:
    if form == "dhcpcd":
        return from_dhcpcd(data, written=written, now=now)
    address = from_keys(data) if form.startswith("keys") else None
    return from_dhclient(data, now=now) if address is None and form.endswith("dhclient") else address


def _newest_first(root: Root, folder: str, pattern: str) -> list[tuple[float, str]]:
    found = []
    try:
        names = [name for name in root.names(folder) if fnmatch(name, pattern)]
    except OSError:
        return []
    for name in names[:_MOST]:
        path = f"{folder}/{name}"
        try:
            status = root.stat(path)
        except OSError:
            continue
        if status is not None:
            found.append((status.st_mtime, path))
    return sorted(found, reverse=True)


def _leases(text: str) -> Iterator[list[list[str]]]:
    """The statements of each `lease { … }`, each a list of words."""
    statements: Optional[list[list[str]]] = None
    words: list[str] = []
    for match in re.finditer(_LEXEME, text, re.DOTALL):
        mark = match.group()
        if mark == "{":
            statements = [] if words == ["lease"] else None
        elif mark == "}":
            if statements is not None:
                yield statements
            statements = None
        elif mark == ";":
            if statements is not None and words:
                statements.append(words)
        elif mark.startswith("#"):
            continue
        else:
            words.append(mark)
            continue
        words = []


def _expired(words: list[str], now: float) -> bool:
    """Whether `never`, `epoch SECONDS` (db-time-format local) or `WEEKDAY YYYY/MM/DD HH:MM:SS` (UTC) is over.

    True if it cannot be read.
    """
    if words[:1] == ["never"]:
        return False
    try:
        if words[:1] == ["epoch"]:
            return int(words[1][:20]) < now
        date = re.fullmatch(_DATE, " ".join(words[1:3]), re.ASCII)
        return date is None or calendar.timegm(tuple(map(int, date.groups()))) < now
    except (ValueError, IndexError, OverflowError):
        return True


def _packet_options(data: bytes) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    at = _OPTIONS
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        end = at + 2 + data[at + 1]
        if end <= len(data):
            options.setdefault(data[at], data[at + 2 : end])
        at = end
    return options


def _unescape(text: str) -> str:
    return re.sub(_ESCAPE, lambda match: _plain(match.group(1)), text, flags=re.DOTALL)


def _plain(escaped: str) -> str:
    if escaped[0] in "01234567":
        return chr(int(escaped, 8) & 0xFF)
    return {"n": "\n", "t": "\t", "r": "\r", "b": "\b"}.get(escaped, escaped)
