"""NICs as stanzas of /etc/network/interfaces, and the stanzas that are there already.

Debian's ifupdown, ifupdown-ng and BusyBox read this format. None of them can distinguish two devices with the same MAC
(accelerated networking), so stanzas use interface names; a NIC without a name is skipped.
"""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from typing import Container, Iterable

from azurelite.netconf.nics import HEADER, File, Nic

MAIN = "/etc/network/interfaces"
FOLDER = "/etc/network/interfaces.d"
NAME = "azurelite"
PATH = f"{FOLDER}/{NAME}"


def render(nics: Iterable[Nic], *, taken: Container[str], busybox: bool) -> tuple[File, ...]:
    """One file, or none where no stanza is needed.

    Args:
        nics: the NICs.
        taken: interfaces with stanzas in other files; only their secondary addresses are added.
        busybox: the program is BusyBox's. A second stanza for an interface, or DHCP for IPv6, is an error to it, and
            then no interface comes up.
    """
    stanzas = []
    for nic in nics:
        if nic.name is not None and nic.name not in taken:
            stanzas.append(_whole(nic, nic.name, inet6=nic.ipv6 and not busybox))
        elif nic.name is not None and nic.addresses and not busybox:
            stanzas.append(f"iface {nic.name} inet manual\n{_further(nic, nic.name)}")
    return (File(PATH, HEADER + "\n".join(stanzas)),) if stanzas else ()


def problems(nic: Nic, *, taken: Container[str], busybox: bool) -> tuple[str, ...]:
    """What `render` with the same arguments skips for this NIC, and why: one line each."""
    if nic.name is None:
        return (f"NIC {nic.mac} skipped: no interface has this MAC, and ifupdown needs interface names",)
    if nic.name not in taken:
        lacks = busybox and nic.ipv6
        return (f"{nic.name}: no DHCP for IPv6: BusyBox's ifup does not support it",) if lacks else ()
    if busybox and nic.addresses:
        why = "secondary addresses skipped: it has a stanza, and BusyBox allows only one"
        return (f"{nic.name}: {why}. Remove that stanza; azurelite then writes a complete one",)
    return (f"{nic.name} has a stanza already, which is kept; only secondary addresses are added",)


def _whole(nic: Nic, name: str, *, inet6: bool) -> str:
    metric = f"    metric {nic.metric}\n" if nic.metric is not None else ""
    text = f"auto {name}\niface {name} inet dhcp\n{metric}{_further(nic, name)}"
    return text + (f"\niface {name} inet6 dhcp\n" if inet6 else "")


def _further(nic: Nic, name: str) -> str:
    """The secondary addresses. `replace`, not `add`, because an address that is set already is no error."""
    return "".join(f"    up ip address replace {address} dev {name}\n" for address in nic.addresses)


def interfaces_named(texts: Iterable[str]) -> frozenset[str]:
    """The interfaces with an `iface` stanza in one of these files."""
    return frozenset(name for text in texts for name in re.findall(r"^[ \t]*iface[ \t]+([^\s#]+)", text, re.MULTILINE))


def sources(text: str, path: str = MAIN) -> tuple[str, ...]:
    """The files that a file includes by `source` and `source-directory`: absolute paths, possibly glob patterns.

    Args:
        text: the file's text.
        path: the file's path; relative paths in it are relative to its folder.
    """
    found = []
    for word, pattern in re.findall(r"^[ \t]*(source|source-directory)[ \t]+(\S+)", text, re.MULTILINE):
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), pattern))
        found.append(wanted if word == "source" else f"{wanted}/*")
    return tuple(found)


def takes_in(main: str) -> bool:
    """Whether the main file includes azurelite's file in interfaces.d."""
    return any(fnmatchcase(PATH, pattern) for pattern in sources(main))
